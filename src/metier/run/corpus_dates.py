"""Documents whose day of publication is not known, where those of a day and later are held out."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from typing import Any

from rich.markup import escape

from metier.corpus.readers import read_source
from metier.corpus.source import Source
from metier.corpus.text import Tally
from metier.corpus.work import Work
from metier.errors import MetierError
from metier.run.progress import console

_LOOKED_AT = 100  # documents, for one whose date is shown


def undated(work: Work, entries: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each source with documents that ``hold_out.after`` cannot tell apart; each is also printed.

    Raises:
        MetierError: a source whose declared field of dates holds none that can be read.
    """
    notes = []
    for source in work.sources if work.hold_out.after else ():
        row = entries[source.name]
        if not row["undated"]:
            continue
        shown = _as_written(source)
        such = f" (they are written like {shown!r})" if shown else ""
        if source.date and row["undated"] == row["documents"]:
            raise MetierError(
                f"no date of the source '{source.name}' can be read{such}: hold_out.after would hold nothing of it out",
                where=f"recipe, corpus.sources, field 'date: {source.date}'",
                fix="write dates as 2020-01-31 or 31 January 2020, name another field, or leave hold_out.after out",
            )
        count = f"{row['undated']:,} of {row['documents']:,} documents"
        notes.append(f"{source.name}: {count} have no readable date{such}; hold_out.after does not apply to them")
        console.print(f"[yellow]note[/] {escape(notes[-1])}")
    return notes


def _as_written(source: Source) -> str | None:
    """The form of what stands in the declared field of dates, in the first document where it cannot be read.

    Digits are shown as 0 and letters as a: the field may be another than was meant, and what it holds of a person.
    """
    if not source.date:
        return None
    named = replace(source, id=source.date)  # ids are strings as they stand; where there is none, it is the place
    texts = islice(read_source(named, Tally()), _LOOKED_AT)
    found = next((t.id for t in texts if t.date is None and not t.id.startswith(f"{source.name}/")), None)
    return found and re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "0", found[:40]))
