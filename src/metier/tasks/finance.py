"""Readers of finance's odd shapes: wide tables of tags, columns of tokens, conversations over a page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.sources.tables import Row, Value, read_table

Options = Mapping[str, Any]
_DIRECTIONS = {"up": "Price Direction Up", "constant": "Price Direction Constant", "down": "Price Direction Down"}
_OTHERS = {"comparison": "Asset Comparision", "past": "Past Information", "future": "Future Information"}  # as spelt


def headlines(path: Path, options: Options) -> Iterator[Row]:
    """Gold headlines: each headline becomes one row for each of the option ``questions`` (``{tag: question}``).

    The release has six columns of 0 and 1. The paper's nine tags follow from them (Sinha & Khandait 2020, table 1):
    ``price`` where a direction is set; what is said of the past or the future is about a price where ``price`` holds,
    about another event where it does not.
    """
    for row in read_table(path, format="tsv", encoding="utf-8"):
        flags = {name: _flag(row, column, path) for name, column in {**_DIRECTIONS, **_OTHERS}.items()}
        price = any(flags[name] for name in _DIRECTIONS)
        tags = {
            **{name: flags[name] for name in _DIRECTIONS},
            "price": price,
            "past_price": flags["past"] and price,
            "past_event": flags["past"] and not price,
            "future_price": flags["future"] and price,
            "future_event": flags["future"] and not price,
            "comparison": flags["comparison"],
        }
        for tag, question in options["questions"].items():
            text, answer = row.values.get("News"), "yes" if tags[tag] else "no"
            yield Row(row.number, {"headline": text, "question": question, "answer": answer})


def _flag(row: Row, column: str, path: Path) -> bool:
    written = str(row.values.get(column)).strip()
    if written not in ("0", "1"):
        where = f"{path.name}, row {row.number}, column {column!r}"
        raise MetierError(f"a tag is neither 0 nor 1: {written!r}", where=where, fix="fetch the file again, or mend it")
    return written == "1"


def conll(path: Path, options: Options) -> Iterator[Row]:
    """Sentences of a CoNLL file: a token a line with its tag last, blank lines between, ``-DOCSTART-`` first.

    Gives ``text`` (tokens joined by spaces), ``entities`` (``PER: Ann Lee; ORG: Acme Corp`` in text order, or
    ``none``) and ``document``. Options: ``types``, those that count as entities; ``empty`` false leaves out sentences
    without any. A semicolon inside an entity is read as a comma, in the text too: semicolons part entities.
    """
    types, document = list(options["types"]), 0
    for first, tokens in _blocks(path):
        if tokens[0][0] == "-DOCSTART-":
            document += 1
            continue
        tokens = [("," if tag != "O" and token == ";" else token, tag) for token, tag in tokens]
        found = [(kind, text) for kind, text in _entities(tokens, first, path) if kind in types]
        if not found and not options.get("empty", True):
            continue
        values = {"text": " ".join(token for token, _ in tokens), "document": f"{path.stem} {document}"}
        yield Row(first, {**values, "entities": "; ".join(f"{kind.upper()}: {text}" for kind, text in found) or "none"})


def _blocks(path: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """First line and ``(token, tag)`` of each sentence."""
    first, tokens = 0, list[tuple[str, str]]()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MetierError(f"the file cannot be read as UTF-8: {error}", where=path.name) from error
    for number, line in enumerate([*lines, ""], 1):
        parts = line.split()
        if not parts:
            if tokens:
                yield first, tokens
            tokens = []
            continue
        if len(parts) < 2 or not re.fullmatch(r"O|[BI]-[A-Za-z]+", parts[-1]):
            fix = "a line is a token, further columns and a tag such as O or I-ORG"
            raise MetierError(f"not a line of CoNLL: {line!r}", where=f"{path.name}, row {number}", fix=fix)
        first = first if tokens else number
        tokens.append((parts[0], parts[-1]))


def _entities(tokens: Sequence[tuple[str, str]], first: int, path: Path) -> list[tuple[str, str]]:
    """``(type, surface)``: runs of one type; a ``B-`` begins another run of the same type."""
    runs, before = list[tuple[str, list[str]]](), "O"
    for token, tag in tokens:
        if tag != "O":
            kind = tag[2:]
            if tag.startswith("B-") or before[2:] != kind:
                runs.append((kind, []))
            runs[-1][1].append(token)
        before = tag
    found = [(kind, " ".join(words)) for kind, words in runs]
    for _, surface in found:
        if "; " in surface:
            raise MetierError(f"an entity holds '; ', which separates entities: {surface!r}", where=f"{path}:{first}")
    return found


def convfinqa(path: Path, options: Options) -> Iterator[Row]:
    """ConvFinQA as ``{"dev": [conversation, …]}``: one row a turn, with the gold conversation before it.

    ``document`` is the page: text, table, text. ``conversation`` ends with the question of the turn. ``answer`` is the
    answer as it stands in the conversation. ``page`` groups the conversations about one page.
    """
    try:
        parts = json.loads(path.read_text("utf-8"))
        conversations = [entry for part in parts.values() for entry in part]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise MetierError(f"not ConvFinQA's JSON: {error}", where=path.name, fix="fetch it again") from error
    for number, entry in enumerate(conversations, 1):
        try:
            yield from _turns(number, entry)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MetierError(
                f"not a conversation of ConvFinQA: {error!r}", where=f"{path.name}, row {number}"
            ) from error


def _turns(number: int, entry: Mapping[str, Any]) -> Iterator[Row]:
    doc, dialogue = entry["doc"], entry["dialogue"]
    page = "\n\n".join(
        part for part in (doc["pre_text"], linearised(doc["table"]), doc["post_text"]) if part.strip(" .")
    )
    said = ""
    turns = zip(dialogue["conv_questions"], dialogue["conv_answers"], strict=True)
    for turn, (question, answer) in enumerate(turns, 1):
        said += f"Question: {question}"
        about = {"id": f"{entry['id']} turn {turn}", "page": re.sub(r"^[A-Za-z]+_|-\d+$", "", entry["id"])}
        yield Row(number, {**about, "document": page, "conversation": said, "answer": str(answer)})
        said += f"\nAnswer: {answer}\n"


def linearised(table: Mapping[str, Mapping[str, Value]]) -> str:
    """A table given by columns, a line a row: ``name | cell | cell``, the columns' names first."""
    names = dict.fromkeys(name for column in table.values() for name in column)
    lines = [["", *table], *([name, *(_cell(column.get(name)) for column in table.values())] for name in names)]
    return "\n".join(" | ".join(line).strip() for line in lines)


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
