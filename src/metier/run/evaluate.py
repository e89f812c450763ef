"""A finished specialist on something else, with all the statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from metier.errors import MetierError, nearest
from metier.evaluation.averaged import AVERAGE, Slices
from metier.evaluation.calibration import Temperature
from metier.evaluation.choices import answer_choices
from metier.evaluation.evidence import (
    evaluate_choices,
    evaluate_classification,
    merge_scores,
    read_scores,
    write_predictions,
)
from metier.evaluation.groups import in_groups
from metier.evaluation.scores import Prediction
from metier.evaluation.scoring import normalise
from metier.evaluation.written import evaluate_written
from metier.inference.specialist import Specialist
from metier.recipe import Recipe, TaskChoice
from metier.run import standin
from metier.run.answers import label_prediction
from metier.run.classical import classical_answers
from metier.run.data import Data, load
from metier.run.generative import MOST_TOKENS, answer_in_words
from metier.run.progress import bar, console
from metier.run.record import mixed_in, run_record, training_data
from metier.run.selective import measure_shipped
from metier.sources import fetch_file, read_table, table_columns
from metier.tasks import Example, Loaded, Task, prepare
from metier.tasks.cells import cleaned
from metier.tasks.choices import PLACE
from metier.tasks.prepare import key_of
from metier.tasks.records import UnknownLabelError
from metier.tasks.table import input_columns


def evaluate(
    run: Path,
    choice: TaskChoice,
    *,
    names: Mapping[str, str] | None = None,
    data_root: Path | None = None,
    offline: bool = False,
    seed: int = 0,
) -> tuple[str, dict[str, Any], dict[str, int]]:
    """Score a run's specialist on other labelled data, beside majority and TF-IDF fitted on the run's own train part.

    Answers that are written out are scored as in the run, beside the most frequent answer of its train part.

    Rows whose text stood in the train or validation part of the run or of a task mixed in are left out and counted. Of
    a run whose recipe has thresholds, a table may hold scores or the labels' names.

    Args:
        names: from labels of the data to those of the specialist.

    Returns:
        ``(task name, entries a system as in scores.json, counts)``; also written to the run's evidence, never in place
        of what the run measured itself or of another table.

    Errors: :class:`MetierError` for data of another kind, a label or entity type that the specialist does not know, and
    where all rows were learnt from.
    """
    specialist = Specialist.load(run, offline=offline, engine="torch")
    trained = specialist.bundle.task
    recipe, split_hash = run_record(run)
    names = dict(names or {})
    _check_names(names, trained)
    data = training_data(run, recipe, split_hash, data_root, offline)
    fields = _in_order(choice, data.loaded) if choice.file else {}
    choice = _like_the_run(choice, recipe, data.loaded, names, offline)
    loaded = _load(choice, trained, names, data_root, offline, fields)
    for warning in loaded.warnings:
        console.print(f"  note: {warning}", markup=False)
    prepared = prepare(loaded.examples)
    _check_kind(loaded.task, trained)
    standin.refuse(recipe, loaded.task)
    if trained.kind == "classification":
        _check_labels(prepared.examples, specialist.labels, loaded.where)
    learnt = [data, *mixed_in(run, recipe, data, data_root, offline)]
    seen = {key_of(e) for one in learnt for part in one.split.parts if part != "test" for e in one.part(part)}
    examples = [e for e in prepared.examples if key_of(e) not in seen]
    if not examples:
        raise MetierError(
            "every row was already in the run's training data",
            where=loaded.where,
            fix="evaluate on rows that it has not learnt from",
        )
    evidence = run / "evidence"
    name = _name(evidence / "scores.json", recipe, learnt, loaded, choice)
    found = {**classical_answers(data, examples), "specialist": _answers(specialist, examples)}
    answers = {system: in_groups(predictions, examples) for system, predictions in found.items()}
    for system, predictions in answers.items():
        write_predictions(evidence / "predictions" / f"{name}.{system}.parquet", predictions)
    entries = _entries(specialist, answers, Slices.of(loaded.task, examples), seed)
    if choice.file:
        entries = {system: {**entry, "file": _place(choice)} for system, entry in entries.items()}
    for system, entry in entries.items():
        merge_scores(evidence / "scores.json", name, system, entry)
    counts = {
        "rows": len(loaded.examples),
        "duplicates": len(loaded.examples) - len(prepared.examples),
        "in_training": len(prepared.examples) - len(examples),
        "scored": len(examples),
    }
    return name, entries, counts


def _name(scores: Path, recipe: Recipe, learnt: list[Data], loaded: Loaded, choice: TaskChoice) -> str:
    """What the entries are called in ``scores``: other than all that the run measured itself, and than other tables."""
    name = loaded.task.name + (f"-{choice.variant}" if choice.variant else "")
    if name in {*(data.name for data in learnt), *(recipe.retention.tasks if recipe.retention else ())}:
        name += "-elsewhere"
    found, place = read_scores(scores), _place(choice)
    chosen, number = name, 1
    while any(entry.get("file") != place for entry in found.get(chosen, {}).values()):
        number += 1
        chosen = f"{name}-{number}"
    if chosen != name:
        console.print(f"  note: what '{name}' holds may be of other data: this is '{chosen}'", markup=False)
    return chosen


def _place(choice: TaskChoice) -> str | None:
    """Which table it is, from wherever it is named."""
    if not choice.file:
        return None
    path = Path(choice.file)
    return (str(path.resolve()) if path.exists() else choice.file) + (f", {choice.sheet}" if choice.sheet else "")


def _answers(specialist: Specialist, examples: list[Example]) -> list[Prediction]:
    """What the specialist answers, as its task's kind has it."""
    runner, encoder = specialist.runner, specialist.encoder
    if encoder.task.kind == "classification":
        logprobs, seconds = specialist.score_examples(examples)
        share = seconds / len(examples)
        return [
            label_prediction(example, "test", specialist.labels, row, tokens=0, seconds=share)
            for example, row in zip(examples, normalise(logprobs), strict=True)
        ]
    with bar("measure specialist", len(examples)) as tick:
        if encoder.task.kind == "multiple_choice":
            return answer_choices(runner, encoder, examples, tick)
        room = specialist.bundle.answer_tokens or MOST_TOKENS
        trained = specialist.bundle.method != "none"
        return answer_in_words(runner, encoder, examples, "test", room=room, trained=trained, tick=tick)


def _entries(
    specialist: Specialist, answers: dict[str, list[Prediction]], slices: Slices | None, seed: int
) -> dict[str, dict[str, Any]]:
    task, labels = specialist.bundle.task, specialist.labels
    temperature = Temperature(specialist.bundle.temperature, False, 0.0, 0.0, 0)
    entries = {}
    for system, found in answers.items():
        mine = system == "specialist"
        others = {other: p for other, p in answers.items() if other != system} if mine else None
        if task.written:
            entries[system] = evaluate_written(task.kind, found, seed=seed, types=labels, others=others)
        elif task.kind == "multiple_choice":
            warmth = temperature if mine else None
            entries[system] = evaluate_choices(found, seed=seed, others=others, temperature=warmth)
        else:
            entries[system] = evaluate_classification(
                labels, found, seed=seed, others=others, slices=slices, temperature=temperature if mine else None,
                metric=task.metric if slices or task.metric != AVERAGE else "weighted_f1",
            )  # fmt: skip
        if mine and not task.written:
            about = specialist.bundle
            entries[system] |= measure_shipped(about.conformal, about.promise, found, labels, about.temperature, seed)
    return entries


def _in_order(choice: TaskChoice, learnt: Loaded) -> dict[str, str]:
    """From the fields of a table's text columns to those that were learnt, where columns of other names are given: one
    for each field, in their order.
    """
    made, fields = list(input_columns(choice.text)), learnt.task.template.fields()
    wanted = [name for name in fields if not (learnt.task.kind == "multiple_choice" and name == PLACE)]
    same = set(made) == set(wanted) or len(made) != len(wanted) or set(wanted) != set(learnt.examples[0].inputs)
    return {} if same else dict(zip(made, wanted, strict=True))


def _like_the_run(
    choice: TaskChoice, recipe: Recipe, learnt: Loaded, names: dict[str, str], offline: bool
) -> TaskChoice:
    """A table of one's own is read as that of the recipe was: the same kind, labels written the same way, rows in
    groups by the column of that name; and the recipe's own table from the same sheet and header.

    Where one of multiple choice says by number which option is right, these count from where they counted there; its
    options stand in columns of the same names, unless others are given.
    """
    if not choice.file:
        return choice
    own, trained = recipe.needed_task(), learnt.task
    choice = _in_groups(_laid_out(choice, own), own, offline)
    classes, same = trained.kind == "classification", {*input_columns(choice.text)} == {*learnt.examples[0].inputs}
    scored = own.thresholds and not names and _holds_scores(choice, offline)
    if scored:
        console.print(f"  note: column {choice.label!r} is read as scores, by the recipe's thresholds", markup=False)
    return choice.model_copy(
        update={
            "kind": trained.kind,
            "options": choice.options or own.options,
            "answers": own.answers,
            "label_is": learnt.label_is,
            "labels": trained.labels if classes else own.labels,
            "label_map": {**(own.label_map or {}), **names} or None,
            "thresholds": own.thresholds if scored else None,
            # the specialist has its prompt, which names its own fields; a table of written answers is not read without
            "instruction": (own.instruction if same else None) or (None if classes else "as the specialist was told"),
        }
    )


_LAYOUT = {"format", "encoding", "delimiter", "sheet", "header_row"}


def _laid_out(choice: TaskChoice, own: TaskChoice) -> TaskChoice:
    """How the recipe's own table is to be read is known, unless something is said of it now."""
    same = own.file and Path(own.file).resolve() == Path(str(choice.file)).resolve()
    if not same or any(value is not None for value in choice.model_dump(include=_LAYOUT).values()):
        return choice
    return choice.model_copy(update=own.model_dump(include=_LAYOUT))


def _in_groups(choice: TaskChoice, own: TaskChoice, offline: bool) -> TaskChoice:
    """With the recipe's column of groups, where the table has it: its rows are no more independent than those were."""
    table = fetch_file(str(choice.file), offline=offline).path
    if not own.group or own.group not in table_columns(table, nested=True, **choice.model_dump(include=_LAYOUT)):
        return choice
    console.print(f"  note: rows come in groups by column {own.group!r}, as in the recipe", markup=False)
    return choice.model_copy(update={"group": own.group})


def _holds_scores(choice: TaskChoice, offline: bool) -> bool:
    """Whether there are numbers in the gold column of a table, and not names of labels."""
    table, reading = fetch_file(str(choice.file), offline=offline).path, choice.model_dump(include=_LAYOUT)
    rows = read_table(table, wanted=[choice.label], **reading)
    return any(_is_number(row.values.get(choice.label)) for row in rows)


def _is_number(cell: object) -> bool:
    try:
        return math.isfinite(float(str(cell)))
    except ValueError:
        return False


def _check_names(names: Mapping[str, str], trained: Task) -> None:
    if names and trained.kind != "classification":
        raise MetierError(
            f"only labels of classes can be mapped, the specialist was made for {trained.kind}",
            where="--map",
            fix="leave it out",
        )
    for known in names.values():
        if known not in trained.labels:
            what = f"the label '{known}' is not one the specialist knows"
            raise MetierError(what, where="--map", fix=nearest(known, trained.labels))


def _load(
    choice: TaskChoice,
    trained: Task,
    names: Mapping[str, str],
    data_root: Path | None,
    offline: bool,
    fields: Mapping[str, str],
) -> Loaded:
    """The data, its labels and ``fields`` under the specialist's names."""
    try:
        loaded = load(choice, data_root=data_root, lock=None, offline=offline)
    except UnknownLabelError as error:
        raise MetierError(error.what, where=error.where, fix=_map_onto(trained.labels)) from error
    if choice.file:  # a table's labels are mapped as it is read; its texts are cleaned as those that were learnt
        steps = trained.reading.clean
        read = [
            replace(e, inputs={fields.get(name, name): cleaned(text, steps) for name, text in e.inputs.items()})
            for e in loaded.examples
        ]
        task = loaded.task.model_copy(update={"template": trained.template}) if fields else loaded.task
        return replace(loaded, task=task, examples=read)
    return replace(loaded, examples=[replace(e, target=names.get(e.target, e.target)) for e in loaded.examples])


def _map_onto(labels: list[str]) -> str:
    return f"the specialist knows {', '.join(labels)}: map yours onto these, --map GIVEN=KNOWN (repeat it)"


def _check_kind(task: Task, trained: Task) -> None:
    if task.kind != trained.kind:
        raise MetierError(
            f"'{task.name}' is a task of kind {task.kind}, the specialist was made for {trained.kind}",
            fix="evaluate it on a task of its own kind",
        )
    if unknown := sorted(set(task.labels) - set(trained.labels)) if task.kind == "extraction" else []:
        raise MetierError(
            f"the entity type '{unknown[0]}' is not one the specialist knows",
            fix=f"it knows {', '.join(trained.labels)}",
        )
    if set(task.template.fields()) - {"options"} != set(trained.template.fields()) - {"options"}:
        raise MetierError(
            f"the specialist reads {', '.join(trained.template.fields())}; found {', '.join(task.template.fields())}",
            fix="name the columns with --column, one for each in this order",
        )


def _check_labels(examples: list[Example], labels: list[str], where: str) -> None:
    strange = sorted({e.target for e in examples} - set(labels))
    if strange:
        row = next(e.source_row for e in examples if e.target == strange[0])
        raise MetierError(
            f"the label '{strange[0]}' is not one the specialist knows",
            where=f"{where}, {row}",
            fix=_map_onto(labels),
        )
