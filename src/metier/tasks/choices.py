"""Multiple choice: a user's own table of questions and options, and questions whose options cannot be told apart."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from metier.errors import MetierError, nearest
from metier.sources.tables import Row
from metier.tasks.example import Example
from metier.tasks.options import LETTERS, check_options, show
from metier.tasks.task import Task, Template
from metier.tasks.templates import default_input, own_template

BY_LETTER = "Answer the multiple-choice question with the letter of the right option, and nothing else."
BY_TEXT = "Answer the question."
PLACE = "options"
"""The field of the template that the options stand in."""

Answers = Literal["letter", "text"]
Scheme = Literal["text", "letter", "number", "number from 0"]


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
        if made.input == default_input([*fields, PLACE]):  # the wording names no field
            made = made.model_copy(update={"input": default_input(fields)})
    if not lettered:
        return made
    shown = made.input if PLACE in made.fields() else made.input + "\n{options}"
    return made.model_copy(update={"input": shown, "options": "lettered"})


def choice_rows(
    rows: Sequence[Row], options: str | Sequence[str], label: str, columns: Sequence[str], file: str
) -> tuple[list[Row], int, Scheme]:
    """Rows with ``choice1`` … and an ``answer`` that names one of them, for :func:`metier.tasks.records.to_examples`.

    Args:
        options: the columns of the options, all filled in every row; or one column that holds a list.
        label: the column of the right one: its letter, its number (from 1, or from 0 where a 0 occurs), or its text.

    Returns:
        The rows, the largest number of options, and how the answers were read: for all rows alike.

    Raises:
        MetierError: a missing column, options missing or twice, an answer that is none of the options; with its row.
    """
    named = [options] if isinstance(options, str) else list(options)
    if not isinstance(options, str) and len(named) == 1:
        options = named[0]
    for column in (*named, label):
        if column not in columns:
            fix = f"{nearest(column, columns)} (the file's columns: {', '.join(columns)})"
            raise MetierError(f"there is no column {column!r}", where=file, fix=fix)
    texts = [read_options(row.values, options, f"{file}, row {row.number}") for row in rows]
    golds = [_cell(row.values.get(label)) for row in rows]
    for row, gold in zip(rows, golds, strict=True):
        if not gold:
            raise MetierError(
                "the label is empty", where=_at(file, row, label), fix="give the right option, or delete it"
            )
    scheme = _scheme(texts, golds)
    found = []
    for row, choices, gold in zip(rows, texts, golds, strict=True):
        place = _place(choices, gold, scheme)
        if place is None:
            raise MetierError(
                f"the answer '{gold}' is not the {scheme} of one of the options ({', '.join(choices)})",
                where=_at(file, row, label),
                fix=f"the others are read by their {scheme}: write letters, numbers or texts, alike in every row",
            )
        named_choices = {f"choice{i}": text for i, text in enumerate(choices, 1)}
        found.append(Row(row.number, {**row.values, **named_choices, "answer": f"choice{place + 1}"}))
    return found, max(map(len, texts), default=0), scheme


def read_options(values: Mapping[str, object], options: str | Sequence[str], where: str) -> list[str]:
    """The options of one row: the cells of several columns, or the list in one.

    Errors: :class:`MetierError` with the row and the column for options missing, twice, or too many for letters.
    """
    if isinstance(options, str):
        found, column = _listed(values.get(options), f"{where}, column {options!r}"), options
    else:
        found, column = [_cell(values.get(name)) for name in options], ""
        empty = [name for name, text in zip(options, found, strict=True) if not text]
        if empty:
            raise MetierError(
                f"an option is missing: {len(options)} columns of options are named",
                where=f"{where}, column {empty[0]!r}",
                fix="fill it; where questions differ in the number of options, give them as a list in one column",
            )
    place = f"{where}, column {column!r}" if column else f"{where}, columns {', '.join(options)}"
    check_options(found, place)
    return found


_MARK = re.compile(r"^\(?([A-Za-z])[.):]\s+(?=\S)")


def _listed(value: object, where: str) -> list[str]:
    """A list in one cell: JSON (also an object by letter), or lines, ``|`` or ``;`` between the options."""
    text = _cell(value)
    if not text:
        raise MetierError("the options are missing", where=where, fix="fill the cell, or delete the row")
    if text[0] in "[{":
        try:
            read = json.loads(text)
        except ValueError:
            try:
                read = ast.literal_eval(text)  # a Python list, as many scripts write it
            except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
                fix = 'write a JSON list: ["first option", "second option"]'
                raise MetierError(f"the options are no list: {text[:60]!r}", where=where, fix=fix) from error
        if isinstance(read, dict) and isinstance(read.get("text"), list):
            read = read["text"]
        parts = [_cell(part) for part in (read.values() if isinstance(read, dict) else read)]
    else:
        mark = next((mark for mark in ("\n", "|", ";") if mark in text), None)
        if mark is None:
            fix = 'write a JSON list ["first", "second"], or put "|" between the options'
            raise MetierError(f"one option only: {text[:60]!r}", where=where, fix=fix)
        parts = [part.strip() for part in text.split(mark)]
        parts = [part for part in parts if part] if mark == "\n" else parts
    if not all(parts):
        raise MetierError("an option is empty", where=where, fix="fill it, or leave it out of the list")
    letters = [match[1].upper() if (match := _MARK.match(part)) else "" for part in parts]
    return [_MARK.sub("", part) for part in parts] if letters == list(LETTERS[: len(parts)]) else parts


def _scheme(texts: Sequence[Sequence[str]], golds: Sequence[str]) -> Scheme:
    """How the answers are written: the first way in which all of them can be read, else the one that most can."""
    numbers: Scheme = "number from 0" if "0" in golds else "number"
    ways: tuple[Scheme, ...] = ("text", "letter", numbers)
    pairs = list(zip(texts, golds, strict=True))
    read = {way: sum(_place(choices, gold, way) is not None for choices, gold in pairs) for way in ways}
    return max(ways, key=lambda way: (read[way], -ways.index(way)))


def _place(choices: Sequence[str], gold: str, scheme: Scheme) -> int | None:
    if scheme == "text":
        folded = [choice.casefold() for choice in choices]
        if gold in choices:
            return list(choices).index(gold)
        return folded.index(gold.casefold()) if folded.count(gold.casefold()) == 1 else None
    if scheme == "letter":
        letter = gold.strip("().: ").upper()
        place = LETTERS.find(letter) if len(letter) == 1 else -1
    else:
        place = int(gold) - (scheme == "number") if re.fullmatch(r"\d{1,3}", gold) else -1
    return place if 0 <= place < len(choices) else None


def same_count(examples: Sequence[Example]) -> int | None:
    """The number of options, if all questions have the same."""
    counts = {len(example.choices) for example in examples}
    return counts.pop() if len(counts) == 1 else None


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()


def _at(file: str, row: Row, column: str) -> str:
    return f"{file}, row {row.number}, column {column!r}"
