"""What a user did wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MetierError(Exception):
    """A fault that the user can mend: shown without a traceback, with exit code 2.

    Args:
        what: what happened, in one sentence, with what was found.
        where: the file, row and field it was found in.
        fix: what to change.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        parts = [what]
        if where:
            parts.append(f"  where: {where}")
        if fix:
            parts.append(f"  fix:   {fix}")
        super().__init__("\n".join(parts))


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt ``name``: "did you mean 'x'?", the list of what is known, or both where in doubt.

    A known name that begins with what was given, or else contains it, comes before one that is spelt like it.
    """
    names = sorted(known)
    lowered = {n.lower(): n for n in names}
    listed = "known: " + ", ".join(names)
    wanted = name.lower()
    within = [n for n in lowered if wanted in n] if len(wanted) > 2 else []
    if within:
        best = min(within, key=lambda n: (not n.startswith(wanted), len(n)))
        return f"did you mean '{lowered[best]}'?"
    for cutoff, more in ((0.6, ""), (0.5, f" {listed}")):
        if close := difflib.get_close_matches(wanted, list(lowered), n=1, cutoff=cutoff):
            return f"did you mean '{lowered[close[0]]}'?{more}"
    return listed
