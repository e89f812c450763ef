"""A table's cell as text: in training, and wherever a specialist is asked later."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Literal

Step = Literal["entities", "outer_quotes", "spaces"]


def plain(value: object) -> str:
    """A cell as text: spreadsheets keep whole numbers as 1.0, JSON has true and false; an empty cell is no text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def cleaned(text: str, steps: Sequence[str]) -> str:
    """The text without spaces around it, after ``steps`` of :data:`CLEANERS`."""
    text = text.strip()
    for step in steps:
        text = CLEANERS[step](text).strip()
    return text


def _spaces(text: str) -> str:
    return " ".join(text.split())


def _outer_quotes(text: str) -> str:
    """Remove pairs of double quotes around the whole text."""
    while len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    return text


CLEANERS: dict[str, Callable[[str], str]] = {
    "entities": html.unescape,
    "outer_quotes": _outer_quotes,
    "spaces": _spaces,
}
