"""The evaluation items that are looked for in a corpus: of a task, a table, a recipe, or a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metier.errors import MetierError, nearest
from metier.evaluation.choices import without_options
from metier.evaluation.evidence import read_predictions, read_scores
from metier.evaluation.scores import Prediction
from metier.evaluation.written import is_right
from metier.files import sha256_file
from metier.recipe import TaskChoice, load_recipe
from metier.run.data import Data, load, prepare_data
from metier.run.record import run_record, training_data
from metier.sources import Lock, fetch_file, read_table, table_columns
from metier.tasks import Example, Task, get, names
from metier.tasks.cells import plain
from metier.tasks.choices import PLACE
from metier.tasks.dialogues import as_text
from metier.tasks.example import BETWEEN


@dataclass(frozen=True)
class Item:
    """A question, with everything that belongs to it but options and answer: one text a field."""

    id: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """The items of a task; of a run also which of them each system answered rightly, and the files that say so."""

    name: str
    where: str
    items: list[Item]
    right: dict[str, dict[str, bool]] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """Where the items come from: exactly one of a run, a recipe, a task of the catalogue, and a table.

    Attributes:
        columns: of the table, ``text`` if none is named; of the task, its inputs, all if none is named.
        reading: how the table is read; options of :func:`~metier.sources.read_table`.

    Errors: :class:`MetierError` where none of the four is given, or several, and for columns of a run or a recipe.
    """

    run: Path | None
    recipe: Path | None
    task: str | None
    variant: str | None
    table: Path | None
    columns: tuple[str, ...]
    reading: Mapping[str, Any]

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.run, self.task, self.table, self.recipe)) != 1:
            raise MetierError(
                "say what to look for", fix="one of: a run, --task NAME, --in FILE --column TEXT, --recipe FILE"
            )
        if self.columns and (self.run or self.recipe):
            what = f"{'a run' if self.run else 'a recipe'} has its own inputs: all of them are looked for"
            raise MetierError(what, where="--column", fix="leave it out, or use --in FILE or --task NAME")


def wanted_items(wanted: Wanted, *, data_root: Path | None, offline: bool) -> list[Asked]:
    """The items, by task.

    Raises:
        MetierError: whatever reading them meets.
    """
    if wanted.run:
        return of_run(wanted.run, data_root=data_root, offline=offline)
    if wanted.recipe:
        return of_recipe(wanted.recipe, data_root=data_root, offline=offline)
    if wanted.task:
        return [of_task(wanted.task, wanted.variant, wanted.columns, data_root=data_root, offline=offline)]
    columns = wanted.columns or ("text",)
    return [of_table(str(wanted.table), columns, offline=offline, options=wanted.reading)]


def of_table(path: str, columns: Sequence[str], *, offline: bool, options: Mapping[str, Any]) -> Asked:
    """Every row of a table, in the columns named; no label is needed. A dialogue is read as its turns.

    Raises:
        MetierError: whatever :func:`~metier.sources.read_table` meets; a column that is not there.
    """
    file = fetch_file(path, offline=offline).path
    known = table_columns(file, nested=True, **options)
    if missing := next((name for name in columns if name not in known), None):
        raise MetierError(f"there is no column {missing!r}", where=path, fix=nearest(missing, known))
    items = []
    for row in read_table(file, wanted=columns, **options):
        texts = (plain(as_text(row.values.get(name))[0]) for name in columns)
        items.append(Item(str(row.number), tuple(text for text in texts if text)))
    return Asked(Path(path).name.split(".")[0], f"file: {path}", items)


def of_task(
    name: str, variant: str | None, columns: Sequence[str], *, data_root: Path | None, offline: bool
) -> Asked:  # fmt: skip
    """A task of the catalogue: its test examples where the data say which these are, else all."""
    choice = TaskChoice.model_validate({"name": name, "variant": variant})
    loaded = load(choice, data_root=data_root, lock=None, offline=offline)
    test = [example for example in loaded.examples if example.split == "test"]
    return Asked(name, loaded.where, _items(test or loaded.examples, columns))


def of_recipe(path: Path, *, data_root: Path | None, offline: bool) -> list[Asked]:
    """What the recipe measures on: the test part of its task and of those mixed in, and its general tasks.

    Raises:
        MetierError: it measures on nothing.
    """
    recipe = load_recipe(path)
    found = []
    for choice in [*([recipe.task] if recipe.task else []), *(recipe.mix.tasks if recipe.mix else [])]:
        data = prepare_data(
            recipe.model_copy(update={"task": choice}), data_root=data_root, lock=Lock(), offline=offline
        )
        found.append(Asked(data.name, data.loaded.where, _items(data.part("test"))))
    if recipe.retention and (recipe.task or "retention" in recipe.model_fields_set):
        from metier.run.retention import retention_data  # imports torch

        general, _ = retention_data(recipe.retention, recipe.seed, data_root=data_root, lock=Lock(), offline=offline)
        found += [Asked(one.task.name, one.where, _items(one.examples)) for one in general]
    if not found:
        fix = "name a task: --task NAME, or --in FILE --column TEXT"
        raise MetierError("the recipe measures on no task", where=str(path), fix=fix)
    return found


def of_run(run: Path, *, data_root: Path | None, offline: bool) -> list[Asked]:
    """Every task that the run has predictions for, with what each system got right.

    The items of its own task are read again; of others the text is taken that the evidence holds. Options are left out.

    Raises:
        MetierError: no such run, none with a task; its data have changed since.
    """
    recipe, kept = run_record(run)
    data = training_data(run, recipe, kept, data_root, offline)
    found = []
    for task, entries in read_scores(run / "evidence" / "scores.json").items():
        answers: dict[str, list[Prediction]] = {}
        evidence = {}
        for system, entry in entries.items():
            file = run / "evidence" / "predictions" / f"{task}.{system}.parquet"
            if entry.get("status") == "ok" and set(entry["metrics"]) != {"bits_per_byte"} and file.is_file():
                answers[system] = [p for p in read_predictions(file) if p.split == "test"]
                evidence[file.name] = sha256_file(file)
        if answers:
            right = {system: _right(_task(task, data).kind, given) for system, given in answers.items()}
            found.append(Asked(task, str(run), _asked(task, data, answers), right, evidence))
    if not found:
        raise MetierError("the run has no predictions", where=str(run), fix="run its recipe again")
    return found


def _task(name: str, data: Data) -> Task:
    """A task of the catalogue, else one that is as the run's own."""
    return get(name) if name != data.name and name in names() else data.task


def _right(kind: str, given: Sequence[Prediction]) -> dict[str, bool]:
    written = kind in ("extraction", "generation")
    return {p.example_id: is_right(kind, p) if written else p.correct for p in given}


def _asked(task: str, data: Data, answers: Mapping[str, Sequence[Prediction]]) -> list[Item]:
    if task == data.name:
        return _items(data.part("test"))
    texts = {p.example_id: p.text for given in answers.values() for p in given}
    return [Item(id, _inputs(_task(task, data), text)) for id, text in texts.items()]


def _inputs(task: Task, text: str) -> tuple[str, ...]:
    """The inputs of an example, out of the one string that evidence holds."""
    choosing = task.kind == "multiple_choice"
    fields = [name for name in task.template.fields() if not (choosing and name == PLACE)]
    return tuple((without_options(text) if choosing else text).split(BETWEEN, max(0, len(fields) - 1)))


def _items(examples: Sequence[Example], columns: Sequence[str] = ()) -> list[Item]:
    if missing := next((name for name in columns if examples and name not in examples[0].inputs), None):
        fix = nearest(missing, examples[0].inputs)
        raise MetierError(f"the task has no input {missing!r}", where="--column", fix=fix)
    return [Item(example.id, tuple(example.inputs[name] for name in columns or example.inputs)) for example in examples]
