"""What a field of a recipe takes, in plain words instead of the schema's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from metier.errors import nearest

_EXPECTED = {  # by how pydantic's names of faults begin
    "int_": "a whole number",
    "float_": "a number",
    "finite_number": "a finite number",
    "bool_": "true or false",
    "string_type": "text",
    "string_pattern": "a name of {allowed}, with a letter or digit first",
    "date_": "a day such as 2024-05-31",
    "list_": "a list",
    "tuple_": "a list",
    "dict_": "a mapping",
    "model_": "a mapping of fields",
    "literal_": "one of {expected}",
    "greater_than_equal": "{ge:g} or more",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "{le:g} or less",
    "less_than": "less than {lt:g}",
    "too_short": "at least {min_length} entries",
}


def expected(fault: Mapping[str, Any]) -> str | None:
    """What one of pydantic's faults wanted to find; None where its message is a sentence of our own."""
    kind = next((kind for kind in _EXPECTED if fault["type"].startswith(kind)), None)
    if kind is None:
        return None
    context = fault.get("ctx", {})
    signs = "letters, digits, dots, dashes and underscores"
    allowed = signs if "A-Z" in context.get("pattern", "") else "small letters, digits and dashes"
    words = _EXPECTED[kind].format(**context, allowed=allowed).replace("at least 1 entries", "at least one entry")
    return words if len(choices(fault)) != 1 else words.removeprefix("one of ")


def choices(fault: Mapping[str, Any]) -> list[str]:
    """The values that are taken, where there are only so many."""
    return re.findall(r"'([^']*)'", fault["ctx"]["expected"]) if fault["type"] == "literal_error" else []


def told(faults: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
    """What is wrong with one field, and how to mend it.

    Args:
        faults: pydantic's; several where the field takes one of several kinds of values and this is none of them.
    """
    found = faults[0].get("input")
    shown = "" if isinstance(found, dict) else ", found nothing" if found is None else f", found {found!r}"
    wanted = list(dict.fromkeys(words for fault in faults if (words := expected(fault))))
    if not wanted:
        return faults[0]["msg"].removeprefix("Value error, ") + shown, None
    known = [choice for fault in faults for choice in choices(fault)]
    guess = nearest(str(found), known).split(" known: ")[0] if known else ""
    words = " or ".join(wanted)
    return f"expected {words}{shown}", guess if guess.startswith("did you") else f"write {words}"
