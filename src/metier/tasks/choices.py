"""Multiple choice: a user's own table of questions and options, and questions whose options cannot be told apart."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from metier.errors import MetierError, nearest
from metier.sources.tables import Row
from metier.tasks.cells import plain
from metier.tasks.example import Example
from metier.tasks.options import LETTERS, check_options, show
from metier.tasks.records import Columns, Read, check_columns, to_examples
from metier.tasks.task import Task, Template
from metier.tasks.templates import default_input, own_template

BY_LETTER = "Answer the multiple-choice question with the letter of the right option, and nothing else."
BY_TEXT = "Answer the question."
PLACE = "options"
"""The field of the template that the options stand in."""
CHOICE, RIGHT = "metier: choice ", "metier: right"
"""Names of the columns that are made here: a table may have a text column that is called ``answer``."""

Answers = Literal["letter", "text"]
Scheme = Literal["name", "text", "letter", "number", "number from 0"]
"""How a table says which option is right; ``number`` is counted from 1, ``name`` is that of a column or a key."""


def asked(task: Task, examples: Sequence[Example]) -> list[Example]:
    """Examples as a model sees them: of multiple choice the options in their field, answers as they are to be given.

    Errors: as :func:`metier.tasks.options.show`; another number of options than the task has.
    """
    if task.kind != "multiple_choice":
        return list(examples)
    found = []
    for example in examples:
        check_count(task, len(example.choices), example.source_row or f"question '{example.id}'")
        shown = show(task.template, example)
        found.append(replace(example, inputs=shown.inputs, target=shown.answers[shown.gold], choices=shown.answers))
    return found


def check_count(task: Task, count: int, where: str) -> None:
    """Refuse another number of options than the task's questions have."""
    if task.option_count is not None and count != task.option_count:
        raise MetierError(
            f"a question has {count} options where '{task.name}' has {task.option_count}",
            where=where,
            fix=f"give {task.option_count} options in every row, or keep such questions in a table of their own",
        )


def alike_left_out(task: Task, examples: Sequence[Example]) -> tuple[list[Example], list[str]]:
    """Examples without those that hold one option twice, and a note that counts them: published sets have a few.

    In a user's own table they are a fault; published data is not ours to mend.
    """
    if task.kind != "multiple_choice":
        return list(examples), []
    alike = [example for example in examples if len(set(example.choices)) < len(example.choices)]
    if not alike:
        return list(examples), []
    rows = ", ".join(example.source_row for example in alike[:5]) + (", …" if len(alike) > 5 else "")
    kept = [example for example in examples if len(set(example.choices)) == len(example.choices)]
    return kept, [f"{len(alike)} of {len(examples)} questions hold the same option twice: left out ({rows})"]


def with_answers(template: Template, answers: Answers | None) -> Template:
    """The template with answers given by letter or by text; its own way if that is left open."""
    way = {"letter": "lettered", "text": "hidden"}.get(answers or "", template.options)
    if way == template.options:
        return template
    if way == "lettered":
        shown = template.input if PLACE in template.fields() else template.input + "\n{options}"
        return template.model_copy(update={"options": "lettered", "input": shown, "instruction": BY_LETTER})
    lines = [line for line in template.input.splitlines() if "{options}" not in line]
    return template.model_copy(update={"options": "hidden", "input": "\n".join(lines), "instruction": BY_TEXT})


def own_choice_template(instruction: str | None, fields: Sequence[str], answers: Answers | None) -> Template:
    """The prompt of a user's own questions: options lettered below the question, unless answers are by text."""
    lettered = answers != "text"
    if PLACE in fields:
        raise MetierError("a text column is named 'options', which is the place of the options", fix="rename it")
    if not instruction:
        made = Template(instruction=BY_LETTER if lettered else BY_TEXT, input=default_input(fields))
    else:
        made = own_template(instruction, [*fields, PLACE] if lettered else fields)
        if made.instruction == instruction.strip():  # the wording names no field
            made = made.model_copy(update={"input": default_input(fields)})
        elif not set(fields) & set(made.fields()):
            raise MetierError(
                "the instruction names {options} and no text column: the question would not be shown",
                where="recipe, task.instruction",
                fix=f"name {', '.join('{' + name + '}' for name in fields)} too, or leave {{options}} out, which then "
                "stands below the question",
            )
    if not lettered:
        return made
    shown = made.input if PLACE in made.fields() else made.input + "\n{options}"
    return made.model_copy(update={"input": shown, "options": "lettered"})


def choice_examples(
    rows: Sequence[Row],
    source: Columns,
    options: str | Sequence[str],
    columns: Sequence[str],
    file: str,
    known: Scheme | None = None,
) -> tuple[Read, Scheme]:
    """Questions of a user's own table as examples, and how their right answers are written.

    Arguments and errors are those of :func:`choice_rows` and :func:`metier.tasks.records.to_examples`.
    """
    check_columns(columns, source, file)
    found, most, scheme = choice_rows(rows, options, str(source.label), columns, file, known)
    names = tuple(f"{CHOICE}{place}" for place in range(1, most + 1))
    chosen = source.model_copy(update={"label": RIGHT, "choices": names})
    return to_examples(found, chosen, file, columns=[*columns, *names, RIGHT]), scheme


def choice_rows(
    rows: Sequence[Row],
    options: str | Sequence[str],
    label: str,
    columns: Sequence[str],
    file: str,
    known: Scheme | None = None,
) -> tuple[list[Row], int, Scheme]:
    """Rows with a column of each option (``CHOICE``, numbered) and ``RIGHT``, which names one of these columns, for
    :func:`metier.tasks.records.to_examples`.

    Args:
        options: the columns of the options, all filled in every row; or one column that holds a list.
        label: the column of the right one: its letter, its number, its text, or the name of its column or key.
        known: how right ones are written as far as that is known; else, and where it fits worse, the rows tell.

    Returns:
        The rows, the largest number of options, and how the answers were read: for all rows alike.

    Raises:
        MetierError: a missing column, options missing or twice, an answer that is none of the options; with its row.
            Numbers that could be counted from 0 as well as from 1.
    """
    named = [options] if isinstance(options, str) else list(options)
    if not isinstance(options, str) and len(named) == 1:
        options = named[0]
    for column in (*named, label):
        if column not in columns:
            fix = f"{nearest(column, columns)} (the file's columns: {', '.join(columns)})"
            raise MetierError(f"there is no column {column!r}", where=file, fix=fix)
    held = [_options(row.values, options, f"{file}, row {row.number}") for row in rows]
    golds = [plain(row.values.get(label)) for row in rows]
    for row, gold in zip(rows, golds, strict=True):
        if not gold:
            raise MetierError(
                "the label is empty", where=_at(file, row, label), fix="give the right option, or delete it"
            )
    scheme, places = _scheme(held, golds, known, f"{file}, column {label!r}")
    found = []
    for row, choices, gold, place in zip(rows, held, golds, places, strict=True):
        if place is None:
            none_read = all(other is None for other in places)
            way = "letter, number or text" if none_read else f"the {scheme}"
            read = "" if none_read else f"{'they' if scheme == known else 'the others'} are read by their {scheme}: "
            raise MetierError(
                f"the answer '{gold}' is not {way} of one of the options ({', '.join(choices.texts)})",
                where=_at(file, row, label),
                fix=f"{read}write letters, numbers or texts, alike in every row",
            )
        named_choices = {f"{CHOICE}{i}": text for i, text in enumerate(choices.texts, 1)}
        found.append(Row(row.number, {**row.values, **named_choices, RIGHT: f"{CHOICE}{place + 1}"}))
    return found, max((len(choices.texts) for choices in held), default=0), scheme


@dataclass(frozen=True)
class _Options:
    """The options of one row, and what they are called there: by their column or key, empty where by nothing."""

    names: tuple[str, ...]
    texts: tuple[str, ...]


def read_options(values: Mapping[str, object], options: str | Sequence[str], where: str) -> list[str]:
    """The options of one row: the cells of several columns, or the list in one.

    Errors: :class:`MetierError` with the row and the column for options missing, twice, or too many for letters.
    """
    return list(_options(values, options, where).texts)


def _options(values: Mapping[str, object], options: str | Sequence[str], where: str) -> _Options:
    if isinstance(options, str):
        found, column = _listed(values.get(options), f"{where}, column {options!r}"), options
    else:
        found, column = _Options(tuple(options), tuple(plain(values.get(name)) for name in options)), ""
        empty = [name for name, text in zip(options, found.texts, strict=True) if not text]
        if empty:
            raise MetierError(
                f"an option is missing: {len(options)} columns of options are named",
                where=f"{where}, column {empty[0]!r}",
                fix="fill it; where questions differ in the number of options, give them as a list in one column",
            )
    place = f"{where}, column {column!r}" if column else f"{where}, columns {', '.join(options)}"
    check_options(found.texts, place)
    return found


_MARK = re.compile(r"^\(?([A-Za-z])[.):]\s+(?=\S)")


def _listed(value: object, where: str) -> _Options:
    """A list in one cell: JSON (also an object by letter), or lines, ``|`` or ``;`` between the options."""
    text = plain(value)
    if not text:
        raise MetierError("the options are missing", where=where, fix="fill the cell, or delete the row")
    if text[0] in "[{":
        names, parts = _written(text, where)
    else:
        mark = next((mark for mark in ("\n", "|", ";") if mark in text), None)
        if mark is None:
            fix = 'write a JSON list ["first", "second"], or put "|" between the options'
            raise MetierError(f"one option only: {text[:60]!r}", where=where, fix=fix)
        parts = [part.strip() for part in text.split(mark)]
        parts = [part for part in parts if part] if mark == "\n" else parts
        names = []
    if not all(parts):
        raise MetierError("an option is empty", where=where, fix="fill it, or leave it out of the list")
    letters = [match[1].upper() if (match := _MARK.match(part)) else "" for part in parts]
    if not names and _begun(letters) == LETTERS:
        names, parts = letters, [_MARK.sub("", part) for part in parts]
    return _in_order(names or [""] * len(parts), parts)


def _written(text: str, where: str) -> tuple[list[str], list[str]]:
    """Names (if there are any) and texts of a list or an object as JSON or Python writes it."""
    try:
        read = json.loads(text)
    except ValueError:
        try:
            read = ast.literal_eval(text)  # a Python list, as many scripts write it
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            read = None
    if not isinstance(read, (list, dict)):
        fix = 'write a JSON list: ["first option", "second option"]'
        raise MetierError(f"the options are no list: {text[:60]!r}", where=where, fix=fix)
    if isinstance(read, list) and read and all(pairs := [_pair(option) for option in read]):
        read = dict(zip(("label", "text"), map(list, zip(*filter(None, pairs), strict=True)), strict=True))
    names: list[object] = []
    if isinstance(read, dict) and isinstance(read.get("text"), list):
        names, read = read.get("label") or [], read["text"]
        if names and not (isinstance(names, list) and len(set(map(plain, names))) == len(names) == len(read)):
            what = f"the labels of the options do not fit: {len(read)} texts, labelled {json.dumps(names)[:60]}"
            raise MetierError(what, where=where, fix="give each option a label of its own, or leave the labels out")
    elif isinstance(read, dict):
        names, read = list(read), list(read.values())
    if nested := next((part for part in read if isinstance(part, (list, dict))), None):
        raise MetierError(
            f"an option is no text: {json.dumps(nested, default=str)[:60]}",
            where=where,
            fix='write a JSON list of texts: ["first option", "second option"]',
        )
    return [plain(name) for name in names], [plain(part) for part in read]


_NAMED, _WORDED = ("key", "label", "letter", "id"), ("value", "text", "option", "content")


def _pair(option: object) -> tuple[object, object] | None:
    """Name and text of an option that is an object of these two alone, such as ``{"key": "A", "value": "…"}``."""
    if not isinstance(option, dict) or len(option) != 2:
        return None
    name = next((field for field in _NAMED if field in option), None)
    text = next((field for field in _WORDED if field in option), None)
    return (option[name], option[text]) if name and text else None


def _begun(names: Sequence[str]) -> Sequence[str] | None:
    """The sequence that ``names`` begin, in whatever order: letters, numbers from 1, numbers from 0."""
    own = {name.upper() for name in names}
    ways = (LETTERS, *([str(n) for n in range(first, len(names) + first)] for first in (1, 0)))
    return next((way for way in ways if own == set(way[: len(names)]) and len(own) == len(names)), None)


def _in_order(names: Sequence[str], texts: Sequence[str]) -> _Options:
    """Options that are called A, B, C … or numbered, in that order: so the letters shown are those they have."""
    way = _begun(names) or ()
    pairs = list(zip(names, texts, strict=True))
    if way:
        pairs.sort(key=lambda pair: way.index(pair[0].upper()))
    return _Options(tuple(name for name, _ in pairs), tuple(text for _, text in pairs))


_NUMBERS: tuple[Scheme, Scheme] = ("number", "number from 0")


def _scheme(
    held: Sequence[_Options], golds: Sequence[str], known: Scheme | None, where: str
) -> tuple[Scheme, list[int | None]]:
    """How the answers are written, and their places: the way that reads most of them; of equals the known one.

    Numbers are never read from 0 where they are known to be from 1, or the other way round: that would shift them all.
    """
    ways: tuple[Scheme, ...] = ("name", "text", "letter", *_NUMBERS)
    if known in _NUMBERS:
        ways = tuple(way for way in ways if way == known or way not in _NUMBERS)
    pairs = list(zip(held, golds, strict=True))
    places = {way: [_place(choices, gold, way) for choices, gold in pairs] for way in ways}
    read = {way: sum(place is not None for place in places[way]) for way in ways}
    best = max(ways, key=lambda way: (read[way], way == known, -ways.index(way)))
    if best == "name":  # which says what letters or numbers would, where options are called so
        best = next((way for way in ways[2:] if places[way] == places[best]), best)
    elif best in _NUMBERS and known not in _NUMBERS and all(read[way] == len(golds) for way in _NUMBERS):
        raise MetierError(
            "the right options are given by number, and no row tells whether these count from 0 or from 1",
            where=where,
            fix="write letters or the options' texts; or say it in the recipe, under task: "
            "`label_is: number` (from 1) or `label_is: number from 0`",
        )
    return best, places[best]


def _place(options: _Options, gold: str, scheme: Scheme) -> int | None:
    if scheme in ("name", "text"):
        held = options.names if scheme == "name" else options.texts
        folded = [each.casefold() for each in held]
        if gold in held:
            return held.index(gold)
        return folded.index(gold.casefold()) if folded.count(gold.casefold()) == 1 else None
    if scheme == "letter":
        letter = gold.strip("().: ").upper()
        # an option that is called by a letter has that one, wherever it stands
        called = all(re.fullmatch("[A-Za-z]", name) for name in options.names)
        place = ("".join(options.names).upper() if called else LETTERS).find(letter) if len(letter) == 1 else -1
    else:
        number = re.fullmatch(r"(\d{1,3})(?:\.0)?", gold)  # pandas writes 1.0 where a cell of the column was empty
        place = int(number[1]) - (scheme == "number") if number else -1
    return place if 0 <= place < len(options.texts) else None


def same_count(examples: Sequence[Example]) -> int | None:
    """The number of options, if all questions have the same."""
    counts = {len(example.choices) for example in examples}
    return counts.pop() if len(counts) == 1 else None


def _at(file: str, row: Row, column: str) -> str:
    return f"{file}, row {row.number}, column {column!r}"
