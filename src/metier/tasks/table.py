"""A user's own labelled table as a task."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from metier.errors import MetierError
from metier.sources import Lock, fetch_file, read_table, table_columns
from metier.sources.tables import Row, table_format
from metier.tasks import dialogues, remarks
from metier.tasks.choices import BY_LETTER, Answers, Scheme, choice_examples, own_choice_template, same_count
from metier.tasks.entities import parse_entities
from metier.tasks.example import Example, Loaded
from metier.tasks.labels import check_labels, declared_labels, inferred_labels
from metier.tasks.records import Columns, check_columns, to_examples, unique_ids
from metier.tasks.task import Reading, Task, Template
from metier.tasks.templates import default_input, default_instruction, own_question, own_template


def from_table(
    name: str,
    path: str | Path,
    *,
    text: str | Sequence[str] = "text",
    label: str = "label",
    kind: Literal["classification", "multiple_choice", "extraction", "generation"] = "classification",
    options: str | Sequence[str] | None = None,
    answers: Answers | None = None,
    label_is: Scheme | None = None,
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
    language: str | None = None,
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
            for what is no letter or digit). A list of messages or texts in a cell is read as lines.
        label: the column of labels, or of scores if there are thresholds. Of generation also the column of ``text``,
            where it holds dialogues: the last turn of the assistant or doctor is the answer to those before it. A
            list of one message of theirs is what it says.
        kind: what the label column holds: a class; the right one of ``options``; entities as ``PER: Ann Lee; ORG: Acme
            Corp`` or ``none``; any text.
        options: of multiple choice: the columns of the options, or one column with a list.
        answers: of multiple choice: ``letter`` shows the options with letters (as it is if left out), ``text`` hides
            them and takes the likeliest one.
        label_is: of multiple choice: how the label says which option is right; None finds it out from the rows.
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
        title, language, licence, commercial: for the report and the card.
        lock, offline: as in :func:`metier.sources.fetch_file`.

    Raises:
        MetierError: a missing column (with the nearest), empty texts or labels, cells that are not text, options
            missing or twice, a right answer that is none of them, numbers of right answers that may count from 0 or
            from 1, an unknown or a lone label, a column that is both text and label, labels that look like free text,
            labels that differ only in letter case, entities in another form than the one above, labels declared for
            answers that are written out, which then need an instruction.
    """
    choosing = kind == "multiple_choice"
    if kind != "classification":
        _refuse_labels(kind, labels, label_map, thresholds, instruction or (BY_LETTER if choosing else None))
    _check_options(choosing, options, answers or label_is)
    inputs = input_columns(text)
    _refuse_shown_answer(inputs, label, kind)
    template = _own_template(kind, instruction, tuple(inputs), answers)  # its faults show before any reading
    mapping = {str(key): str(value) for key, value in (label_map or {}).items()}
    declared = declared_labels(labels, mapping, thresholds)
    source = _columns(
        thresholds, inputs=inputs, label=label, labels=declared, group=group, id=id, split=split, agreement=agreement,
        weight=weight, label_map=mapping,
    )  # fmt: skip
    file = fetch_file(str(path), lock=lock, offline=offline).path
    reading: dict[str, Any] = {"format": format, "encoding": encoding, "delimiter": delimiter}
    reading |= {"sheet": sheet, "header_row": header_row}
    examples, warnings, label_is = _read(file, source, options, label_is, reading, written=kind == "generation")
    found, told = _labels(kind, declared, examples, file.name, label, mapping)
    if template is None:
        made = default_instruction(found, domain, question or own_question(inputs))
        template = Template(instruction=made, input=default_input(tuple(inputs)))
    warnings += remarks.not_shown(template, inputs)
    warnings += told + (remarks.without_group(examples, group) if group else remarks.shared_texts(examples))
    task = Task(
        name=name, version=1, kind=kind, title=title or name, description=f"Examples from {Path(str(path)).name}",
        domain=domain or "own", language=language, labels=list(found), template=template, metric=_METRICS[kind],
        option_count=same_count(examples) if choosing else None, licence=licence, commercial=commercial,
        reading=Reading(answered=label in inputs.values()),
    )  # fmt: skip
    return Loaded(task, list(unique_ids(examples)), f"file: {path}", warnings, label_is=label_is)


_METRICS = {
    "classification": "weighted_f1",
    "multiple_choice": "accuracy",
    "extraction": "entity_f1",
    "generation": "exact_match",
}


def _check_options(choosing: bool, options: object, others: object) -> None:
    if choosing and options is None:
        raise MetierError(
            "multiple choice needs to know where the options are",
            where="recipe, task.options",
            fix="name their columns, options: [A, B, C, D], or one column that holds a list, options: choices",
        )
    if not choosing and (options is not None or others):
        raise MetierError(
            "'options', 'answers' and 'label_is' are for multiple choice",
            where="recipe, task.options",
            fix="write kind: multiple_choice beside them, or leave them out",
        )


def _own_template(
    kind: str, instruction: str | None, fields: tuple[str, ...], answers: Answers | None
) -> Template | None:
    """The prompt as far as it is known without the labels."""
    if kind == "multiple_choice":
        return own_choice_template(instruction, fields, answers)
    return own_template(instruction, fields) if instruction else None


def _labels(
    kind: str,
    declared: Sequence[str] | None,
    examples: Sequence[Example],
    file: str,
    column: str,
    mapping: Mapping[str, str],
) -> tuple[Sequence[str], list[str]]:
    """The labels of a classification or the types of an extraction, and what is to be said of them."""
    if kind == "classification":
        found = declared or inferred_labels(examples, file, column)
        return found, check_labels(found, examples, file, column, mapping)
    return _entity_types(examples, column) if kind == "extraction" else (), []


def _read(
    path: Path,
    source: Columns,
    options: str | Sequence[str] | None,
    label_is: Scheme | None,
    reading: dict[str, Any],
    *,
    written: bool,
) -> tuple[list[Example], list[str], Scheme | None]:
    """The rows as examples, what is to be said of how they were read, and how right options were written.

    ``written``: what is learnt is the text of the label column.
    """
    told, label = list[str](), str(source.label)
    with _other_sheets(path, reading["format"], reading["sheet"]):
        columns = table_columns(path, nested=True, **reading)
        rows: Iterable[Row] = read_table(path, wanted=_looked_at(source, options), **reading)
        if options is not None:
            read, label_is = choice_examples(list(rows), source, options, columns, path.name, label_is)
            told.append(f"the right options in column {label!r} are read by their {label_is}")
            told += remarks.same_place(read.examples)
        elif label in source.inputs.values():
            check_columns(columns, source, path.name)
            told.append(f"column {label!r} holds dialogues: the last turn of the assistant or doctor is the answer")
            source = source.model_copy(update={"label": f"{label}, last turn"})
            rows = dialogues.last_answers(rows, label, f"{label}, last turn", path.name)
            read = to_examples(rows, source, path.name, columns=[*columns, f"{label}, last turn"])
        else:
            if written and label not in columns:
                raise _no_answers(rows, source, columns, path.name)
            read = to_examples(rows, source, path.name, columns=columns)
    told += remarks.objects(source, columns)
    told += [f"{n} rows labelled {was!r} are read as {now!r}" for (was, now), n in sorted(read.recased.items())]
    for column, kind in read.listed.items():
        if column != label:
            told.append(f"column {column!r} holds {kind}: each is read as its {_LINES[kind]}")
    return read.examples, told, label_is


def _no_answers(rows: Iterable[Row], source: Columns, columns: Sequence[str], file: str) -> MetierError:
    """What to write where a table has no column of answers; dialogues hold theirs."""
    first, texts = next(iter(rows), None), list(source.inputs.values())
    if first and len(texts) == 1 and dialogues.answered(first.values.get(texts[0])):
        fix = (
            f"write `label: {texts[0]}` (--gold {texts[0]}): that column holds dialogues, and the last turn of the "
            "assistant or doctor is then the answer"
        )
    else:
        fix = (
            f"name the column of the answers under label (the file's columns: {', '.join(columns)}); if one holds "
            "dialogues, as messages or as lines that begin with who speaks (Patient: …, Doctor: …), name it under both "
            "text and label: their last answer is learnt"
        )
    return MetierError(
        f"there is no column {source.label!r}, which would hold the answers to write", where=file, fix=fix
    )


def _looked_at(source: Columns, options: str | Sequence[str] | None) -> list[str]:
    """Every column that the task names."""
    own = (source.label, source.group, source.id, source.split, source.agreement, source.weight)
    listed = [options] if isinstance(options, str) else options or []
    return [*source.inputs.values(), *(name for name in own if name), *listed]


_LINES: dict[dialogues.Kind, str] = {
    "dialogues": "turns, each on a line of its own, further lines indented",
    "lists of texts": "texts, one a line",
}


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


def _refuse_shown_answer(inputs: Mapping[str, str], label: str, kind: str) -> None:
    """One column as text and label is a dialogue whose last turn is written; anything else would show the answer."""
    if label in inputs.values() and (kind != "generation" or len(inputs) > 1):
        raise MetierError(
            f"the column {label!r} is both text and label: the prompt would hold the answer",
            where="recipe, task.label",
            fix="name the column of the answers under label, or leave this one out of text",
        )


_SAID = {
    "extraction": "List the companies as ORG: name; ORG: name, or none.",
    "generation": "Answer the question in one sentence.",
}


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
            fix=f"say what the answer is: {_SAID.get(kind, _SAID['generation'])!r}",
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


def _columns(thresholds: Sequence[tuple[float, str]] | None, **fields: Any) -> Columns:
    pairs = None if thresholds is None else tuple((float(bound), str(name)) for bound, name in thresholds)
    try:
        return Columns(**fields, thresholds=pairs)
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
    fields = {field_name(column, place): column for place, column in enumerate(names, 1)}
    if len(fields) < len(names):
        raise MetierError(f"two of the text columns give the same field name: {', '.join(names)}", fix="rename one")
    return fields


def field_name(column: str, place: int) -> str:
    """What the ``place``-th of several text columns is called in the template."""
    name = re.sub(r"\W+", "_", column).strip("_")
    return name if name.isidentifier() else f"column_{place}_{name}".rstrip("_")
