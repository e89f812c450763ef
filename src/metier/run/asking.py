"""``metier ask``: strategies on a task of the catalogue for a base, or on a run's test part for its specialist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from metier.errors import MetierError
from metier.evaluation.asked import evaluate_asked
from metier.evaluation.evidence import read_predictions, write_scores
from metier.evaluation.groups import in_groups
from metier.inference.specialist import Specialist
from metier.inference.strategies import Loaded
from metier.models.bases import resolve
from metier.models.device import choose_device, prepare_process
from metier.models.forward import Runner
from metier.models.load import fitting, load_model, load_tokenizer
from metier.recipe import Strategy, TaskChoice
from metier.run.data import load, solved_pool
from metier.run.progress import console
from metier.run.record import run_record, training_data
from metier.run.stages import RunDirectory, open_run, versions
from metier.run.strategies import REFERENCE, ask, asked_as, check_strategy, keep, sampled, with_reference
from metier.sources import Lock
from metier.tasks import Example, Task, names, prepare
from metier.tasks.choices import Scheme


@dataclass(frozen=True)
class Subject:
    """Who is asked what.

    Attributes:
        pool: solved examples that few-shot chooses from.
        key: what the answers depend on besides the strategy.
        label_is: how a table of one's own writes which option is right.
    """

    who: str
    model: Loaded
    task: Task
    examples: list[Example]
    pool: list[Example]
    key: Any
    label_is: Scheme | None = None


def ask_target(
    target: str,
    choices: Sequence[Strategy],
    *,
    questions: int | None,
    base: str,
    out: Path,
    variant: str | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
    data_root: Path | None = None,
    offline: bool = False,
) -> dict[str, dict[str, Any]]:
    """Ask a task of the catalogue, or a finished run's specialist on its test part, by each strategy and by zero-shot.

    What was asked in ``out`` before, in the same way, is not asked again.

    Returns:
        The entries of ``scores.json``, by system; also written to ``out/evidence``, beside predictions and samples.

    Errors: :class:`MetierError` for an unknown task, a strategy that does not fit it, a budget too small.
    """
    where: dict[str, Any] = {"data_root": data_root, "offline": offline}
    lock = Lock.load(out / "lock.json")
    if Path(target).is_dir():
        subject = _specialist(Path(target), questions, seed, **where)
    else:
        subject = _base(target, variant, base, max_tokens, questions, seed, lock=lock, **where)
    found = {choice.called: choice for choice in with_reference(choices)}
    for choice in found.values():
        check_strategy(
            choice, subject.task, subject.pool, roots=_roots(data_root), offline=offline, label_is=subject.label_is
        )
    with open_run(out) as directory:  # not before: a wrong name leaves no folder behind
        lock.save(out / "lock.json")
        directory.record(task=subject.task.model_dump(mode="json", exclude={"sources"}), versions=versions(),
                         subject=subject.key, questions=[example.id for example in subject.examples])  # fmt: skip
        for called, choice in found.items():
            _stage(directory, subject, called, choice, seed=seed, **where)
        entries = _scores(directory, subject, list(found), seed)
        write_scores(out / "evidence" / "scores.json", {subject.task.name: entries})
    return entries


def _stage(
    directory: RunDirectory, subject: Subject, called: str, choice: Strategy, *, seed: int, data_root: Path | None,
    offline: bool,
) -> None:  # fmt: skip
    files = _files(directory, subject, called)

    def work() -> dict[str, Any]:
        before = subject.model.truncated
        spent = ask(
            choice, subject.model, subject.task, subject.examples, subject.pool, seed=seed, roots=_roots(data_root),
            offline=offline, title=f"{subject.who}-{called}", label_is=subject.label_is,
        )  # fmt: skip
        cut = subject.model.truncated - before
        return {"facts": keep(spent, subject.examples, *files, choice=choice, truncated=cut, seed=seed)}

    reads = [subject.key, [e.id for e in subject.examples], *asked_as(choice), seed]
    if not directory.stage(f"strategy-{subject.who}-{called}", reads, files[:1], work):
        console.print(f"  [dim]{subject.who}-{called}: done before[/]")


def _roots(data_root: Path | None) -> list[Path]:
    """Where a corpus is looked for."""
    return [Path(), *([data_root] if data_root else [])]


def _scores(directory: RunDirectory, subject: Subject, called: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
    reference = f"{subject.who}-{REFERENCE}"
    zero = in_groups(read_predictions(_files(directory, subject, REFERENCE)[0]), subject.examples)
    entries = {}
    for name in called:
        system = f"{subject.who}-{name}"
        found = in_groups(read_predictions(_files(directory, subject, name)[0]), subject.examples)
        entries[system] = evaluate_asked(
            subject.task, found, seed=seed,
            cost=directory.manifest["stages"][f"strategy-{system}"]["facts"],
            reference=None if name == REFERENCE else (reference, zero),
        )  # fmt: skip
    return entries


def _files(directory: RunDirectory, subject: Subject, called: str) -> tuple[Path, Path]:
    name = f"{subject.task.name}.{subject.who}-{called}.parquet"
    evidence = directory.path / "evidence"
    return evidence / "predictions" / name, evidence / "samples" / name


def _base(
    target: str, variant: str | None, name: str, max_tokens: int, questions: int | None, seed: int, *, lock: Lock,
    data_root: Path | None, offline: bool,
) -> Subject:  # fmt: skip
    if target not in names() and ("/" in target or target.startswith(".")):
        raise MetierError(
            f"'{target}' is neither a run directory nor a task", fix="give a folder that `metier run` wrote, or a task"
        )
    choice = TaskChoice.model_validate({"name": target, "variant": variant})
    loaded = load(choice, data_root=data_root, lock=lock, offline=offline)
    prepared = prepare(loaded.examples).examples
    test = [e for e in prepared if e.split == "test"] or [e for e in prepared if e.split != "train"]
    chosen = sampled(test, questions, seed)
    asked = {example.id for example in chosen}
    # without a training part, what is not asked may be shown solved
    pool = [e for e in prepared if e.split == "train"] or [e for e in test if e.id not in asked]
    base = resolve(name, lock=lock, offline=offline)
    device = choose_device("auto", "auto")
    prepare_process(device.device)
    console.print(f"[bold]{loaded.task.title}[/]: {len(chosen)} of {len(test)} questions, base {base.name}")
    runner = Runner(load_model(base.path, dtype=device.torch_dtype, device=device.device))
    model = Loaded(runner, load_tokenizer(base.path), fitting(base.path, max_tokens))
    task = loaded.task.model_dump(mode="json", exclude={"sources", "variants"})
    key = {"base": base.sha256, "name": base.name, "dtype": device.dtype, "device": device.device,
           "max_tokens": max_tokens, "task": task, "variant": variant, "pool": [e.id for e in pool]}  # fmt: skip
    return Subject("base", model, loaded.task, chosen, pool, key)


def _specialist(
    run: Path, questions: int | None, seed: int, *, data_root: Path | None, offline: bool
) -> Subject:  # fmt: skip
    specialist = Specialist.load(run, offline=offline, engine="torch")
    data = training_data(run, *run_record(run), data_root, offline)
    chosen = sampled(data.part("test"), questions, seed)
    bundle = specialist.bundle
    model = Loaded(specialist.runner, specialist.encoder.tokenizer, bundle.max_tokens, bundle.method != "none")
    asked = f"{len(chosen)} of {len(data.part('test'))} questions, {run}"
    console.print(f"[bold]{escape(bundle.task.title)}[/]: {escape(asked)}")
    key = {"run": str(run.resolve()), "base": bundle.base["sha256"], "method": bundle.method, "dtype": bundle.dtype,
           "data": data.to_json()["hash"], "weights": _hashes(bundle.folder), "max_tokens": bundle.max_tokens,
           "task": bundle.task.model_dump(mode="json", exclude={"sources", "variants"})}  # fmt: skip
    return Subject("specialist", model, bundle.task, chosen, solved_pool(data, chosen), key, data.loaded.label_is)


def _hashes(folder: Path) -> list[str]:
    from metier.files import sha256_file

    return [sha256_file(file) for file in sorted(folder.glob("*.safetensors"))]
