"""Column names as they stand in a header."""

from __future__ import annotations

from collections.abc import Sequence

from metier.errors import MetierError


def clean_header(cells: Sequence[str], where: str) -> list[str]:
    """Names without surrounding spaces; a blank one becomes ``column_<n>`` (n from 1); one used twice is an error."""
    names = [cell.strip() or f"column_{n}" for n, cell in enumerate(cells, 1)]
    for n, name in enumerate(names, 1):
        if name in names[: n - 1]:
            first = names.index(name) + 1
            fix = "give each column its own name"
            raise MetierError(f"the header names {name!r} twice, in columns {first} and {n}", where=where, fix=fix)
    return names
