"""Cells that hold a dialogue, as chat data has them, or a list of texts: read as lines of plain text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from metier.errors import MetierError
from metier.sources.tables import Row

Turns = list[tuple[str, str]]
"""Who speaks, with a capital, and what is said, on one line."""

Kind = Literal["dialogues", "lists of texts"]
_SPELLINGS = (("role", "content"), ("from", "value"))
_NAMES = {"human": "User", "gpt": "Assistant"}
ANSWERING = ("assistant", "doctor", "physician", "model", "bot", "chatbot", "agent", "therapist")


def dialogue(value: object) -> Turns | None:
    """The turns of a list of messages, as JSON: ``{"role", "content"}`` or ``{"from", "value"}`` each; else None."""
    messages = _list(value)
    for role, content in _SPELLINGS:
        if messages and all(isinstance(m, dict) and _is_message(m, role, content) for m in messages):
            said = [(m[role].strip(), " ".join((m[content] or "").split())) for m in messages]
            return [(_NAMES.get(who.lower(), who[:1].upper() + who[1:]), words) for who, words in said if words]
    return None


def as_text(value: object) -> tuple[object, Kind | None]:
    """A cell as it is read, and what it held, if that was no plain value: one turn or one text a line."""
    if turns := dialogue(value):
        return written(turns), "dialogues"
    texts = _list(value)
    if texts and all(isinstance(text, str) for text in texts):
        return "\n".join(texts), "lists of texts"
    return value, None


def written(turns: Turns) -> str:
    """``User: …`` and so on, one turn a line."""
    return "\n".join(f"{who}: {words}" for who, words in turns)


def last_answers(rows: Iterable[Row], column: str, answer: str, file: str) -> Iterator[Row]:
    """Rows whose ``column`` ends before the last turn of an assistant or a doctor, which becomes ``answer``.

    Errors: :class:`MetierError` for a cell that is no dialogue, or holds no such turn behind another.
    """
    for row in rows:
        turns = dialogue(row.values.get(column)) or []
        place = max((i for i, (who, _) in enumerate(turns) if who.lower() in ANSWERING), default=0)
        if not place:
            raise MetierError(
                f"the column {column!r} is both text and label, but here no dialogue that an assistant answers",
                where=f"{file}, row {row.number}, column {column!r}",
                fix='write messages such as [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}], '
                "or name another column under label",
            )
        yield Row(row.number, {**row.values, column: written(turns[:place]), answer: turns[place][1]})


def _list(value: object) -> list[Any]:
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return []
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _is_message(message: dict[str, Any], role: str, content: str) -> bool:
    said = message.get(content)
    return isinstance(message.get(role), str) and content in message and (said is None or isinstance(said, str))
