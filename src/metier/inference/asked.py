"""What a specialist is asked: texts, or mappings of its template's fields, refused before the model sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metier.errors import MetierError
from metier.tasks.cells import cleaned


def listed(texts: Iterable[str | Mapping[str, Any]]) -> list[str | Mapping[str, Any]]:
    """The texts as a list. Errors: :class:`MetierError` for one text alone, a table, a file, and what is no list."""
    if hasattr(texts, "columns") or getattr(texts, "ndim", 1) > 1:
        raise MetierError("a list of texts is needed, this is a table", fix='give a column of it: table["text"]')
    if hasattr(texts, "read"):
        raise MetierError("a list of texts is needed, this is a file", fix="give its lines: file.read().splitlines()")
    if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable) or getattr(texts, "ndim", 1) == 0:
        found = "one text" if isinstance(texts, (str, Mapping)) else f"a value of type {type(texts).__name__}"
        raise MetierError(f"a list of texts is needed, this is {found}", fix='give a list, such as ["the text"]')
    return list(texts)


def refuse_unreadable(texts: Sequence[str]) -> None:
    """Errors: :class:`MetierError` for the first text that is blank or no whole characters."""
    for number, text in enumerate(texts, 1):
        refuse_broken(text, f"text {number} of {len(texts)}")
        if not text.strip():
            raise _blank(f"text {number} of {len(texts)}")


def refuse_broken(text: str, name: str) -> None:
    """Errors: :class:`MetierError` for a lone surrogate: half a character, or a byte of the command line."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        fix = "give it as UTF-8, in whole characters"
        raise MetierError(f"{name} is not UTF-8: {text[:60]!r}", fix=fix) from None


def text_fields(fields: Sequence[str], given: object, name: str, clean: Sequence[str] = ()) -> dict[str, str]:
    """The ``fields`` of one text, or of a mapping that may hold more; ``name`` says which it is, such as "text 2 of 3".

    Texts are cleaned as those that were learnt, by the steps ``clean``.

    Errors: :class:`MetierError` for a missing field, a value that is not text or no whole characters, and where all
    fields are blank.
    """
    reads = f"this specialist reads {', '.join(fields)}"
    if isinstance(given, str):
        if len(fields) != 1:
            raise MetierError(
                f"this specialist reads several fields: {', '.join(fields)}",
                fix="give a mapping with these fields, or --in a table with these columns",
            )
        given = {fields[0]: given}
    if not isinstance(given, Mapping):
        fix = "give a text (str)" + ("" if len(fields) == 1 else f", or a mapping of {', '.join(fields)}")
        raise MetierError(f"{name} is not a text, it is of type {type(given).__name__}", fix=fix)
    if missing := [field for field in fields if field not in given]:
        raise MetierError(f"the field '{missing[0]}' is missing", where=name, fix=reads)
    for field in fields:
        if not isinstance(given[field], str):
            what = f"the field '{field}' is not a text, it is of type {type(given[field]).__name__}"
            raise MetierError(what, where=name, fix="give a text (str)")
        refuse_broken(given[field], name if len(fields) == 1 else f"the field '{field}' of {name}")
    read = {field: cleaned(given[field], clean) for field in fields}
    if not any(read.values()):
        raise _blank(name)
    return read


def _blank(name: str) -> MetierError:
    return MetierError(f"{name} is empty", fix="give it words, or leave it out")
