"""Cells that hold a dialogue, as chat data has them, or a list of texts: read as lines of plain text."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from metier.errors import MetierError
from metier.sources.tables import Row

Turns = list[tuple[str, str]]
"""Who speaks, with a capital, and what is said, with its line breaks."""

Kind = Literal["dialogues", "lists of texts"]
_SPELLINGS = (("role", "content"), ("from", "value"))
_NAMES = {"human": "User", "gpt": "Assistant"}
_PARTS = ("text", "input_text", "output_text")
ANSWERING = ("assistant", "doctor", "physician", "model", "bot", "chatbot", "agent", "therapist", "clinician")
_ASKING = ("user", "human", "patient", "client", "customer", "caller", "parent")
# a line that begins with who speaks, as transcripts have it: "Patient: …"
_SPOKEN = re.compile(rf"^[ \t]*({'|'.join((*ANSWERING, *_ASKING))})[ \t]*:", re.IGNORECASE | re.MULTILINE)


def dialogue(value: object) -> Turns | None:
    """The turns of a list of messages, as JSON: ``{"role", "content"}`` or ``{"from", "value"}`` each, or texts that
    all begin with who speaks (``"patient: …"``); else None.

    What is said is a text, or a list of parts that are all of type text.
    """
    messages = _list(value)
    if messages and all(isinstance(m, str) and _SPOKEN.match(m) for m in messages):
        return [turn for message in messages for turn in _spoken(message, lines=False)]
    for role, content in _SPELLINGS:
        if messages and all(isinstance(m, dict) and _is_message(m, role, content) for m in messages):
            said = [(m[role].strip(), (_said(m[content]) or "").strip()) for m in messages]
            return [(_NAMES.get(who.lower(), who[:1].upper() + who[1:]), words) for who, words in said if words]
    return None


def _turns(value: object) -> Turns | None:
    """The turns of a dialogue, also of one that is written out: lines of plain text that begin with who speaks."""
    if (turns := dialogue(value)) is not None:
        return turns
    text = value.strip() if isinstance(value, str) else ""
    return _spoken(text) if _SPOKEN.match(text) else None


def _spoken(text: str, *, lines: bool = True) -> Turns:
    """The turns of a text that begins with who speaks; ``lines``: every line that does so begins another."""
    found = list(_SPOKEN.finditer(text)) if lines else [_SPOKEN.match(text)]
    begins = [match for match in found if match]
    ends = [*(match.start() for match in begins[1:]), len(text)]
    said = [(m[1].lower(), textwrap.dedent(text[m.end() : end]).strip()) for m, end in zip(begins, ends, strict=True)]
    return [(_NAMES.get(who, who.capitalize()), words) for who, words in said if words]


def without_speakers(text: str) -> str:
    """The text without who speaks at the beginning of its lines, whatever it is."""
    return re.sub(rf"{_SPOKEN.pattern}[ \t]*", "", text, flags=_SPOKEN.flags)


def as_text(value: object) -> tuple[object, Kind | None]:
    """A cell as it is read, and what it held, if that was no plain value; a list of texts is one text a line.

    Of objects in a list, such as the snippets of a question, it is their ``text``.
    """
    if turns := dialogue(value):
        return written(turns), "dialogues"
    texts: list[Any] = [one.get("text") if isinstance(one, dict) else one for one in _list(value)]
    if texts and all(isinstance(text, str) for text in texts):
        return "\n".join(texts), "lists of texts"
    return value, None


def written(turns: Turns) -> str:
    """``User: …`` and so on. A turn begins its line, the other lines of what it says are indented.

    What a user says alone stands for itself: so it is asked without a dialogue, too.
    """
    if len(turns) == 1 and turns[0][0] == "User":
        return turns[0][1]
    return "\n".join(f"{who}: {textwrap.indent(words, '  ')[2:]}" for who, words in turns)


def answers(turns: Turns) -> list[int]:
    """The places of the turns of an assistant, a doctor or the like."""
    return [place for place, (who, _) in enumerate(turns) if who.lower() in ANSWERING]


def lone_answer(value: object) -> str | None:
    """What an assistant says in a dialogue of this one turn; None for any other."""
    turns = dialogue(value) or []
    return turns[0][1] if len(turns) == 1 and answers(turns) else None


def before_answer(value: object) -> tuple[object, bool]:
    """The cell without its last turn, where that is an assistant's, and whether it was; others as they are.

    One that is written out as plain text becomes what it is in training, with further lines indented.
    """
    turns = _turns(value) or []
    if len(turns) - 1 in answers(turns):
        return _cell(turns[:-1]) if turns[1:] else "", True
    return (_cell(turns) if turns and not dialogue(value) else value), False


def answered(value: object) -> bool:
    """Whether a cell holds a dialogue in which an assistant or a doctor says something behind another turn."""
    return max(answers(_turns(value) or []), default=0) > 0


def last_answers(rows: Iterable[Row], column: str, answer: str, file: str) -> Iterator[Row]:
    """Rows whose ``column`` ends before the last turn of an assistant or a doctor, which becomes ``answer``.

    Errors: :class:`MetierError` for a cell that is no dialogue, or holds no such turn behind another.
    """
    for row in rows:
        turns = _turns(row.values.get(column)) or []
        if not (place := max(answers(turns), default=0)):
            raise MetierError(
                f"the column {column!r} is both text and label, but here no dialogue that an assistant answers",
                where=f"{file}, row {row.number}, column {column!r}",
                fix='write messages such as [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}], '
                "or lines that begin with who speaks (Patient: …, Doctor: …), or name another column under label; "
                "content is a text, or parts of type text alone",
            )
        yield Row(row.number, {**row.values, column: _cell(turns[:place]), answer: turns[place][1]})


def _cell(turns: Turns) -> str:
    """Turns as the cell that they are read from."""
    return json.dumps([{"role": who, "content": words} for who, words in turns], ensure_ascii=False)


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
    return isinstance(message.get(role), str) and content in message and (said is None or _said(said) is not None)


def _said(content: object) -> str | None:
    """The words of a message; None where it has none, or holds something else (an image, a call) beside them."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(p, dict) and p.get("type") in _PARTS for p in content):
        return None
    texts = [part.get("text") for part in content]
    return "\n".join(texts) if all(isinstance(text, str) for text in texts) else None
