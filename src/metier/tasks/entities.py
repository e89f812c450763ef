"""Entities as text: ``PER: Ann Lee; ORG: Acme Corp``, and ``none`` where there is none."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from metier.errors import MetierError

NONE = "none"
_TYPE = re.compile(r"[^\W\d_][\w-]*")

Entity = tuple[str, str]
"""Type in capitals, and the words as they stand in the text."""


def parse_entities(text: str, types: Collection[str] = ()) -> list[Entity] | None:
    """Read entities, in any order, whatever the letter case of a type and however much white space there is.

    Args:
        text: ``TYPE: surface`` joined by ``;``, or ``none``. A surface may hold a colon, but no semicolon.
        types: the types there are; none takes any single word for a type.

    Returns:
        None for anything else: no colon, an empty piece, a type that is no word or that there is not.
    """
    flat = " ".join(text.split())
    if flat.casefold() == NONE:
        return []
    known = {name.casefold() for name in types}
    entities = []
    for piece in flat.split(";"):
        name, colon, surface = (part.strip() for part in piece.partition(":"))
        if not (colon and surface and _TYPE.fullmatch(name)) or (known and name.casefold() not in known):
            return None
        entities.append((name.upper(), surface))
    return entities


def format_entities(entities: Sequence[Entity]) -> str:
    """The canonical text of ``entities``, in the order given.

    Errors: :class:`MetierError` for a type or a surface that could not be read back.
    """
    text = "; ".join(f"{name}: {surface}" for name, surface in entities) or NONE
    wanted = [(name.upper(), " ".join(surface.split())) for name, surface in entities]
    if parse_entities(text) != wanted:
        raise MetierError(f"these entities cannot be written as text: {text[:100]}", fix="a surface must hold no ';'")
    return text
