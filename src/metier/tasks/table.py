"""A user's own labelled table as a task."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from metier.errors import MetierError, nearest
from metier.sources import Lock, fetch_file, read_table, table_columns
from metier.sources.tables import Row, table_format
from metier.tasks.choices import BY_LETTER, Answers, choice_rows, own_choice_template, same_count
from metier.tasks.entities import parse_entities
from metier.tasks.example import Example, Loaded
from metier.tasks.prepare import normalised
from metier.tasks.records import Columns, check_columns, to_examples, unique_ids
from metier.tasks.task import Task, Template
from metier.tasks.templates import default_input, default_instruction, own_question, own_template

MOST_LABELS = 50
"""More different labels than this are taken for free text."""


def from_table(
    name: str,
    path: str | Path,
    *,
    text: str | Sequence[str] = "text",
    label: str = "label",
    kind: Literal["classification", "multiple_choice", "extraction", "generation"] = "classification",
    options: str | Sequence[str] | None = None,
    answers: Answers | None = None,
    labels: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    thresholds: Sequence[tuple[float, str]] | None = None,
    group: str | None = None,
    id: str | None = None,
    split: str | None = None,
    agreement: str | None = None,
    weight: str | None = None,
    format: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    sheet: str | None = None,
    header_row: int | None = None,
    instruction: str | None = None,
    domain: str | None = None,
    question: str | None = None,
    title: str | None = None,
    licence: str = "not stated",
    commercial: bool | None = None,
    lock: Lock | None = None,
    offline: bool = False,
) -> Loaded:
    """Read a labelled table.

    Args:
        name: of the task, for the run directory.
        path: a file in a supported format, or a reference (``pypi:…!member``, ``hf:…!path``).
        text: the column to read, which is the field ``{text}``; or several, each a field of its own name (with ``_``
            for what is no letter or digit).
        label: the column of labels, or of scores if there are thresholds.
        kind: what the label column holds: a class; the right one of ``options``; entities as ``PER: Ann Lee; ORG: Acme
            Corp`` or ``none``; any text.
        options: of multiple choice: the columns of the options, or one column with a list.
        answers: of multiple choice: ``letter`` shows the options with letters (as it is if left out), ``text`` hides
            them and takes the likeliest one.
        labels: the labels in the order to report; None takes those of the map, the thresholds or the file (sorted).
        label_map: from what the file holds (as text: ``"0"``, ``"true"``) to label names.
        thresholds: turn a score into a label: ``(upper bound, label)`` in rising order, the last bound infinite.
        group: the column of what must stay in one part of a split. Letter case and punctuation do not count.
        id: the column of unique ids; None makes ids from what the rows say.
        split: the column of the data's own split: train, validation, test.
        agreement: the column of the share of annotators who gave the label (0.75 or 75%).
        weight: the column of how many times as often as others a row is learnt from; 1 where it is empty.
        format, encoding, delimiter, sheet, header_row: as in :func:`metier.sources.read_table`.
        instruction: wording of the prompt, with or without ``{text}``; None makes one from the labels.
        domain: completes "Read the text about …" in the instruction that is made.
        question: replaces "Which label fits it best?" there.
        title, licence, commercial: for the report and the card.
        lock, offline: as in :func:`metier.sources.fetch_file`.

    Raises:
        MetierError: a missing column (with the nearest), empty texts or labels, cells that are not text, options
            missing or twice, a right answer that is none of them, an unknown or
            a lone label, labels that look like free text, labels that differ only in letter case, entities in another
            form than the one above, labels declared for answers that are written out, which then need an instruction.
    """
    choosing = kind == "multiple_choice"
    if kind != "classification":
        _refuse_labels(kind, labels, label_map, thresholds, instruction or (BY_LETTER if choosing else None))
    if choosing != (options is not None) or (answers and not choosing):
        _refuse_options(choosing)
    inputs = input_columns(text)
    # its faults show before any reading
    if choosing:
        template: Template | None = own_choice_template(instruction, tuple(inputs), answers)
    else:
        template = own_template(instruction, tuple(inputs)) if instruction else None
    mapping = {str(key): str(value) for key, value in (label_map or {}).items()}
    declared = _declared(labels, mapping, thresholds)
    source = _columns(inputs, label, declared, group, id, split, agreement, weight, mapping, thresholds)
    fetched = fetch_file(str(path), lock=lock, offline=offline)
    reading: dict[str, Any] = {"format": format, "encoding": encoding, "delimiter": delimiter}
    reading |= {"sheet": sheet, "header_row": header_row}
    file, told = fetched.path.name, list[str]()
    with _other_sheets(fetched.path, format, sheet):
        columns = table_columns(fetched.path, **reading)
        rows: Iterable[Row] = read_table(fetched.path, **reading)
        if options is not None:
            check_columns(columns, source, file)
            rows, most, scheme = choice_rows(list(rows), options, label, columns, file)
            names = tuple(f"choice{i}" for i in range(1, most + 1))
            source = source.model_copy(update={"label": "answer", "choices": names})
            columns = [*columns, *names, "answer"]
            told.append(f"the right options in column {label!r} are read by their {scheme}")
        read = to_examples(rows, source, file, columns=columns)
    warnings = told + [
        f"{n} rows labelled {was!r} are read as {now!r}" for (was, now), n in sorted(read.recased.items())
    ]
    found: Sequence[str] = ()
    if kind == "classification":
        found = declared or _inferred(read.examples, file, label)
        warnings += _check_labels(found, read.examples, file, label)
    elif kind == "extraction":
        found = _entity_types(read.examples, label)
    if template is None:
        made = default_instruction(found, domain, question or own_question(inputs))
        template = Template(instruction=made, input=default_input(tuple(inputs)))
    warnings += _shared_texts(read.examples) if not group else []
    task = Task(
        name=name,
        version=1,
        kind=kind,
        title=title or name,
        description=f"Examples from {Path(str(path)).name}",
        domain=domain or "own",
        labels=list(found),
        template=template,
        metric=_METRICS[kind],
        option_count=same_count(read.examples) if choosing else None,
        licence=licence,
        commercial=commercial,
    )
    return Loaded(task, list(unique_ids(read.examples)), f"file: {path}", warnings)


_METRICS = {
    "classification": "weighted_f1",
    "multiple_choice": "accuracy",
    "extraction": "entity_f1",
    "generation": "exact_match",
}


def _refuse_options(choosing: bool) -> None:
    if choosing:
        raise MetierError(
            "multiple choice needs to know where the options are",
            where="recipe, task.options",
            fix="name their columns, options: [A, B, C, D], or one column that holds a list, options: choices",
        )
    raise MetierError(
        "'options' and 'answers' are for multiple choice",
        where="recipe, task.options",
        fix="write kind: multiple_choice beside them, or leave them out",
    )


@contextlib.contextmanager
def _other_sheets(path: Path, format: str | None, sheet: str | None) -> Iterator[None]:
    """Where the first sheet of several was read and did not fit, the others are named."""
    try:
        yield
    except MetierError as error:
        if sheet is not None or table_format(path, format) != "xlsx":
            raise
        from metier.sources.binary import sheets_of  # openpyxl takes a while to import

        names = sheets_of(path)
        if len(names) < 2:
            raise
        more = f"the first sheet was read; choose another with `sheet:` ({', '.join(names)}), and `header_row:`"
        raise MetierError(error.what, where=error.where, fix=f"{error.fix}; {more}" if error.fix else more) from error


def _refuse_labels(kind: str, labels: object, label_map: object, thresholds: object, instruction: str | None) -> None:
    for name, value in (("labels", labels), ("label_map", label_map), ("thresholds", thresholds)):
        if value is not None:
            raise MetierError(
                f"'{name}' is for classification",
                where=f"recipe, task.{name}",
                fix=f"a task of kind {kind} has none: leave it out",
            )
    if not instruction:
        raise MetierError(
            f"a task of kind {kind} needs an instruction: what to write cannot be told from labels",
            where="recipe, task.instruction",
            fix="say what the answer is: 'List the companies as ORG: name; ORG: name, or none.'",
        )


def _entity_types(examples: Sequence[Example], column: str) -> list[str]:
    """The types that occur, sorted."""
    types: set[str] = set()
    for example in examples:
        entities = parse_entities(example.target)
        if entities is None:
            raise MetierError(
                f"not a list of entities: {example.target[:80]!r}",
                where=f"{example.source_row}, column {column!r}",
                fix="write TYPE: words, joined by ';' (PER: Ann Lee; ORG: Acme Corp), or none; a type is one word",
            )
        types |= {name for name, _ in entities}
    if not types:
        raise MetierError("no row holds an entity", where=f"column {column!r}", fix="name the column of entities")
    return sorted(types)


def _columns(
    inputs: dict[str, str],
    label: str,
    labels: tuple[str, ...] | None,
    group: str | None,
    identity: str | None,
    split: str | None,
    agreement: str | None,
    weight: str | None,
    mapping: dict[str, str],
    thresholds: Sequence[tuple[float, str]] | None,
) -> Columns:
    pairs = None if thresholds is None else tuple((float(bound), str(name)) for bound, name in thresholds)
    try:
        return Columns(
            inputs=inputs,
            label=label,
            labels=labels,
            group=group,
            id=identity,
            split=split,
            agreement=agreement,
            weight=weight,
            label_map=mapping,
            thresholds=pairs,
        )
    except ValidationError as error:
        said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        fix = "write rising bounds with their labels: [[-0.1, negative], [0.1, neutral], [.inf, positive]]"
        raise MetierError(f"the thresholds cannot be used: {said}", fix=fix) from error


def input_columns(text: str | Sequence[str]) -> dict[str, str]:
    """Columns by field of the template; one column alone is the field ``text``."""
    names = [text] if isinstance(text, str) else list(text)
    if not names:
        raise MetierError("no text column is named", fix="name at least one column under text")
    if len(names) == 1:
        return {"text": names[0]}
    fields = {_field(column, place): column for place, column in enumerate(names, 1)}
    if len(fields) < len(names):
        raise MetierError(f"two of the text columns give the same field name: {', '.join(names)}", fix="rename one")
    return fields


def _field(column: str, place: int) -> str:
    name = re.sub(r"\W+", "_", column).strip("_")
    return name if name.isidentifier() else f"column_{place}_{name}".rstrip("_")


def _declared(
    labels: Sequence[str] | None, mapping: Mapping[str, str], thresholds: Sequence[tuple[float, str]] | None
) -> tuple[str, ...] | None:
    """The labels as the caller orders them: given, or those that a map or thresholds make; None if none are known."""
    made = tuple(dict.fromkeys([*mapping.values(), *(str(name) for _, name in thresholds or ())]))
    if labels is None:
        return made or None
    stated = tuple(str(label).strip() for label in labels)
    for label in made:
        if label not in stated:
            where = "label_map or thresholds, against labels"
            raise MetierError(f"the label {label!r} is made but not declared", where=where, fix=nearest(label, stated))
    if len({label.casefold() for label in stated}) != len(stated) or len(stated) < 2:
        raise MetierError(f"at least two labels are needed, each once; declared: {', '.join(stated)}", where="labels")
    return stated


def _inferred(examples: Sequence[Example], file: str, column: str) -> tuple[str, ...]:
    """The labels that the file holds, sorted (as numbers if all are)."""
    counts = Counter(example.target for example in examples)
    where = f"{file}, column {column!r}"
    numeric = all(_number(label) is not None for label in counts)
    if len(counts) > MOST_LABELS:
        few = ", ".join(repr(label[:30]) for label in list(counts)[:3])
        fix = "give thresholds that turn the scores into labels" if numeric else "name the column that holds the labels"
        raise MetierError(f"{len(counts)} different labels, such as {few}: this is not a class", where=where, fix=fix)
    folded: dict[str, str] = {}
    for label in counts:
        other = folded.setdefault(label.casefold(), label)
        if other != label:
            found = f"{other!r} ({counts[other]} rows) and {label!r} ({counts[label]} rows)"
            names = ", ".join(dict.fromkeys(label.casefold() for label in counts))
            fix = f"declare the labels, whose letter case then does not matter, such as labels: [{names}]"
            raise MetierError(f"two labels differ only in letter case: {found}", where=where, fix=fix)
    return tuple(sorted(counts, key=lambda label: (_number(label) or 0.0 if numeric else 0.0, label)))


def _check_labels(labels: Sequence[str], examples: Sequence[Example], file: str, column: str) -> list[str]:
    """Warnings about the labels.

    Raises:
        MetierError: all rows have the same label.
    """
    counts = Counter(example.target for example in examples)
    if len(counts) < 2:
        raise MetierError(
            f"all {len(examples)} rows have the label {next(iter(counts))!r}",
            where=f"{file}, column {column!r}",
            fix="a classifier needs at least two classes: add rows of another, or name another label column",
        )
    warnings = [f"no row is labelled {label!r}" for label in labels if label not in counts]
    if all(_number(label) is not None for label in labels):
        listed = ", ".join(labels)
        warnings.append(f"the labels are bare numbers ({listed}); a language model reads names better: add a label_map")
    return warnings


def _shared_texts(examples: Sequence[Example]) -> list[str]:
    """A warning where one of several inputs repeats: its rows can come into different parts of a split."""
    if len(examples[0].inputs) < 2:
        return []
    longest = max(examples[0].inputs, key=lambda name: sum(len(example.inputs[name]) for example in examples))
    counts = Counter(normalised(example.inputs[longest]) for example in examples)
    repeated = sum(count for count in counts.values() if count > 1)
    if not repeated:
        return []
    return [f"{repeated} rows share their {longest!r} with another row: name it as group to keep such rows together"]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
