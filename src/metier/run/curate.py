"""``metier curate``: from a recipe's sources to token shards and the ledger."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from metier.corpus.clean import VERSION
from metier.corpus.encoder import tokenizer_encoder
from metier.corpus.holdout import HoldOut
from metier.corpus.ledger import ledger, reasons
from metier.corpus.mixture import Mixture
from metier.corpus.overlap import Questions
from metier.corpus.shards import TokenShards
from metier.corpus.source import Source, left_out, told_left_out
from metier.corpus.work import Work, spread
from metier.errors import MetierError
from metier.files import sha256_file, sha256_json, write_json, write_text
from metier.recipe import CorpusChoice, Recipe, load_recipe
from metier.report.corpus import write_data_card
from metier.run.checked import checked, is_done, record
from metier.run.corpus_dates import undated
from metier.run.corpus_sources import changes_since, inputs_of, sources_of
from metier.run.corpus_tokenizer import tokenizer_file, train_in_run
from metier.run.data import load
from metier.run.progress import bar, console
from metier.run.stages import RunDirectory, open_run
from metier.sources import Lock

_TOLD = 10  # changes that are printed


@dataclass(frozen=True)
class Curated:
    """A finished curation: its folder, the ledger, and what changed in the inputs since the last."""

    folder: Path
    ledger: dict[str, Any]
    changes: list[str]
    done: int


def curate(
    recipe_path: Path,
    *,
    out: Path | None = None,
    data_root: Path | None = None,
    offline: bool = False,
    processes: int | None = None,
) -> Curated:
    """Curate the corpus of a recipe into ``<run>/corpus``. What was done with the same inputs is not done again.

    Raises:
        MetierError: a recipe without a corpus; sources that are not there or cannot be read; nothing left of them.
    """
    recipe = load_recipe(recipe_path)
    if recipe.corpus is None:
        fix = "add: corpus: {sources: [a folder, a glob or a file]}"
        raise MetierError(f"the recipe '{recipe.name}' has no corpus", where=f"{recipe_path}, field 'corpus'", fix=fix)
    with open_run(out or Path("runs") / recipe.name) as run:
        write_text(run.path / "recipe.yaml", recipe_path.read_text(encoding="utf-8"))
        folder = run.path / "corpus"
        roots = [recipe_path.parent, Path(), *([data_root] if data_root else [])]
        sources = sources_of(recipe, roots, folder, offline)
        _check_weights(recipe.corpus, sources, recipe_path)
        inputs = inputs_of(sources)
        changes = changes_since(folder / "inputs.json", inputs)
        for change in _few(changes):
            console.print(f"[yellow]changed[/] {escape(change)}")
        notes = _left_out(recipe.corpus, sources, roots)
        questions, tasks = _questions(recipe, data_root, offline)
        tokenizer = None if recipe.tokenizer else tokenizer_file(recipe, run.path, roots, offline)
        work = Work(
            folder,
            tuple(sources),
            tokenizer_encoder(tokenizer) if tokenizer else None,
            _hold_out(recipe),
            questions,
            recipe.corpus.world_size,
        )
        processes = processes or os.cpu_count() or 1
        keys = _keys(work, inputs, sha256_json(tasks))
        done = _judge(work, run, keys, processes)
        if recipe.tokenizer:
            done += train_in_run(recipe.tokenizer, work, run, keys)
            work = replace(work, encoder=tokenizer_encoder(tokenizer_file(recipe, run.path, roots, offline)))
        done += _pack(work, run, keys, processes)
        _remove_others(work, run)
        write_json(folder / "inputs.json", inputs)
        counts = {task: len(texts) for task, texts in tasks.items()}
        found = _account(recipe, work, counts, {"changes": changes, "notes": notes})
        write_json(run.path / "ledger.json", found)
        write_data_card(run.path)
    return Curated(folder, found, changes, done)


def _keys(work: Work, inputs: dict[str, Any], tasks: str) -> list[str]:
    """For each source, the hash of all that its cleaned texts depend on."""
    return [
        sha256_json([VERSION, source.settings(), inputs[source.name], tasks, work.world_size])
        for source in work.sources
    ]


def _judge(work: Work, run: RunDirectory, keys: list[str], processes: int) -> int:
    """Clean texts and mark duplicates; returns how many units were done now."""
    units = [(n, rank) for n in range(len(work.sources)) for rank in range(work.world_size)]

    def stage(unit: tuple[int, int]) -> tuple[str, str, list[Path]]:
        return f"corpus/clean/{work.sources[unit[0]].name}/{unit[1]}", keys[unit[0]], work.clean_files(*unit)

    todo = [unit for unit in units if not is_done(run, *stage(unit))]
    jobs = [(work.clean, unit) for unit in todo]
    _spread("reading and judging", jobs, processes, lambda number: record(run, *stage(todo[number])))
    marks = [work.marks(source, rank) for source in work.sources for rank in range(work.world_size)]
    marks += [work.duplicate_samples(source) for source in work.sources]
    return len(todo) + checked(run, "corpus/duplicates", keys, marks, work.deduplicate)


def _pack(work: Work, run: RunDirectory, keys: list[str], processes: int) -> int:
    assert work.encoder is not None
    done = 0
    encoder = [work.encoder.sha256, work.encoder.vocabulary, work.encoder.end]
    for number, source in enumerate(work.sources):
        marks = [sha256_file(work.marks(source, rank)) for rank in range(work.world_size)]
        about = [source.domain, source.licence, source.redistributable]
        reads = [keys[number], marks, encoder, vars(work.hold_out), about]
        stage, row = f"corpus/tokens/{source.name}", [work.entry_file(source)]
        if is_done(run, stage, reads, row) and _whole(work, source.name):
            continue
        start = time.perf_counter()
        jobs = [(work.pack, (number, rank)) for rank in range(work.world_size)]
        _spread(f"tokenizing {source.name}", jobs, processes)
        work.assemble(number)
        record(run, stage, reads, row, start)
        done += 1
    return done


def _remove_others(work: Work, run: RunDirectory) -> None:
    """Neither files nor records of sources and parts that the recipe has no more: a text that was taken out is out."""
    work.remove_others()
    mine = {f"corpus/clean/{source.name}/{rank}" for source in work.sources for rank in range(work.world_size)}
    mine |= {f"corpus/tokens/{source.name}" for source in work.sources}
    stages = run.manifest["stages"]
    for name in [name for name in stages if name.startswith(("corpus/clean/", "corpus/tokens/")) and name not in mine]:
        run.forget(name)


def _whole(work: Work, name: str) -> bool:
    """Whether the shards that the source's row speaks of are there and undamaged."""
    try:
        for split in json.loads((work.tokens / f"{name}.json").read_text("utf-8"))["splits"]:
            TokenShards.open(work.tokens / split / name)
    except MetierError as error:
        console.print(f"[yellow]again[/] {escape(error.what)}: {escape(str(error.where))}")
        return False
    return True


def _spread(title: str, jobs: list[Any], processes: int, done: Callable[[int], None] = lambda number: None) -> None:
    def tick(number: int) -> None:
        done(number)
        advance(1)

    if jobs:
        with bar(title, len(jobs)) as advance:
            spread(jobs, processes, tick)


def _account(recipe: Recipe, work: Work, tasks: dict[str, int], told: dict[str, list[str]]) -> dict[str, Any]:
    assert recipe.corpus is not None
    assert work.encoder is not None
    entries = work.entries()
    if not any(found["splits"].get("train") for found in entries.values()):
        raise _all_held_out(work, entries)
    samples = []
    for source in work.sources:
        tallies = [work.clean_folder(source) / f"{rank}.json" for rank in range(work.world_size)]
        found = [json.loads(file.read_text("utf-8"))["samples"] for file in tallies]
        for by_reason in [*found, json.loads(work.duplicate_samples(source).read_text("utf-8"))]:
            for reason, kept in by_reason.items():
                samples += [{"source": source.name, "reason": reason, **one} for one in kept]
    write_text(work.folder / "dropped.jsonl", "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in samples))
    more = {
        "tokenizer": {key: getattr(work.encoder, key) for key in ("vocabulary", "end", "sha256")},
        "hold_out": vars(work.hold_out),
        "weights": recipe.corpus.weights,
        "stop": (recipe.pretrain or recipe.corpus).stop,
        "mixture": _mixture(recipe, work, entries),
        "evaluation_texts": tasks,
        "changes": told["changes"],
        "notes": [*told["notes"], *undated(work, entries)],
        "token_counts": "with the end-of-text token of every document; all splits together",
    }
    return ledger(recipe.name, entries, more)


def _all_held_out(work: Work, entries: dict[str, Any]) -> MetierError:
    what, fix = "every document is held out", "hold out less: hold_out.share, hold_out.after"
    if dropped := sum((Counter(row["dropped"]) for row in entries.values()), Counter[str]()):
        kept, told = sum(row["documents"] for row in entries.values()), reasons(dropped)
        what += f" of the {kept:,} that are left; {dropped.total():,} others were dropped ({told})"
        fix += "; or see what was dropped in clean/<source>/<rank>.json, and drop less: quality, language, min_words"
    return MetierError(what, where=str(work.folder), fix=fix)


def _mixture(recipe: Recipe, work: Work, entries: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """By mix and source: weight, tokens, and the epochs that the planned tokens take, None where none are planned."""
    assert recipe.corpus is not None
    names = sorted(name for name, row in entries.items() if "train" in row["splits"])
    if recipe.pretrain is None:
        sizes = {name: entries[name]["splits"]["train"]["tokens"] for name in names}
        weights = recipe.corpus.weights or sizes
        total = sum(weights.values())
        return {"mixed": {n: {"weight": weights[n] / total, "tokens": sizes[n], "epochs": None} for n in names}}
    from metier.run.pretrain_parts import planned_sources  # imports torch

    choice, found = recipe.pretrain, {}
    shards = {name: TokenShards.open(work.tokens / "train" / name, verify=False) for name in names}
    mixes: Mapping[str, dict[str, float] | None] = choice.mixes or {"mixed": recipe.corpus.weights}
    for mix, own in mixes.items():
        try:
            mixed = {name: shards[name] for name in own or names if name in shards}
            mixture = Mixture(mixed, own, choice.sequence_length, recipe.seed, choice.stop)
            found[mix] = planned_sources(choice, mixture)
        except MetierError as error:  # the corpus is there all the same
            console.print(
                f"[yellow]note[/] the recipe's pretraining cannot learn this corpus yet: {escape(str(error))}"
            )
    return found


def _few(changes: list[str]) -> list[str]:
    """The first few of them; the ledger has all."""
    more = len(changes) - _TOLD
    return changes if more <= 1 else [*changes[:_TOLD], f"and {more:,} more: see changes in ledger.json"]


def _left_out(corpus: CorpusChoice, sources: list[Source], roots: list[Path]) -> list[str]:
    """A sentence for each source whose folder holds files that are not read, by their names; each is also printed."""
    notes = []
    for source, choice in zip(sources, corpus.sources, strict=True):
        paths = [choice.path] if isinstance(choice.path, str) else choice.path
        if files := [file for path in paths for file in left_out(path, roots)]:
            notes.append(f"{source.name}: {told_left_out(files)}")
            console.print(f"[yellow]note[/] {escape(notes[-1])}")
    return notes


def _questions(recipe: Recipe, data_root: Path | None, offline: bool) -> tuple[Questions | None, dict[str, list[str]]]:
    """The texts of every task that the recipe trains or measures, by name; options and answers are left out."""
    choices = [recipe.task] if recipe.task else []
    choices += recipe.mix.tasks if recipe.mix else []
    tasks: dict[str, list[str]] = {}
    for choice in choices:
        loaded = load(choice, data_root=data_root, lock=Lock(), offline=offline)
        tasks[loaded.task.name] = [text for e in loaded.examples for text in e.inputs.values()]
    if recipe.retention and (recipe.task or "retention" in recipe.model_fields_set):
        from metier.tasks import load_task

        for name in recipe.retention.tasks:
            loaded = load_task(name, data_root=data_root, lock=Lock(), offline=offline)
            tasks[name] = [text for e in loaded.examples for text in e.inputs.values()]
    tasks = {name: list(dict.fromkeys(texts)) for name, texts in tasks.items()}
    return (Questions(tasks) if tasks else None), tasks


def _hold_out(recipe: Recipe) -> HoldOut:
    assert recipe.corpus is not None
    after = recipe.corpus.hold_out.after
    return HoldOut(recipe.corpus.hold_out.share, after.isoformat() if after else None, recipe.seed)


def _check_weights(corpus: CorpusChoice, sources: list[Source], path: Path) -> None:
    names = {source.name for source in sources}
    if corpus.weights is not None and set(corpus.weights) != names:
        wrong = ", ".join(sorted(set(corpus.weights) ^ names))
        fix = f"give one weight to each of {', '.join(sorted(names))}"
        raise MetierError(f"weights and sources differ: {wrong}", where=f"{path}, corpus.weights", fix=fix)
