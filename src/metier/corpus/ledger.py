"""The ledger: what the corpus is made of, and what became of everything that was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from metier.corpus.duplicates import EXACT, NEAR
from metier.corpus.holdout import SPLITS
from metier.corpus.source import Source
from metier.corpus.text import Tally

if TYPE_CHECKING:
    from rich.table import Table

_SUMS = ("documents", "bytes", "characters", "tokens")


def entry(
    source: Source, tally: Tally, duplicates: dict[str, int], splits: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """One source's row. Tokens include the end-of-text token of each document.

    Raises:
        AssertionError: documents read are not documents kept and dropped: an account that does not add up.
    """
    dropped = Counter(tally.dropped) + Counter(duplicates)
    total = {name: sum(split[name] for split in splits.values()) for name in _SUMS}
    assert tally.read["documents"] == total["documents"] + dropped.total(), (source.name, tally.read, total, dropped)
    days = [split[end] for split in splits.values() for end in ("first", "last") if split[end]]
    overlap = {task: {width: len(found) for width, found in widths.items()} for task, widths in tally.overlap.items()}
    return {
        "domain": source.domain,
        "licence": source.licence,
        "redistributable": source.redistributable,
        "files": len(source.files),
        "read": {"documents": tally.read["documents"], "bytes": tally.read["bytes"]},
        **total,
        "characters_per_token": _ratio(total["characters"], total["tokens"]),
        "first": min(days, default=None),
        "last": max(days, default=None),
        "undated": sum(split["undated"] for split in splits.values()),
        "dropped": dict(sorted(dropped.items())),
        "replaced": dict(tally.replaced),
        "overlap": overlap,
        "splits": {name: splits[name] for name in SPLITS if name in splits},
    }


def ledger(name: str, entries: dict[str, dict[str, Any]], more: dict[str, Any]) -> dict[str, Any]:
    """Sources in order, with their shares of all tokens; subtotals by domain; the total."""
    all_tokens = sum(found["tokens"] for found in entries.values())
    for found in entries.values():
        found["share"] = _ratio(found["tokens"], all_tokens)
    domains: dict[str, list[dict[str, Any]]] = {}
    for found in entries.values():
        domains.setdefault(found["domain"], []).append(found)
    return {
        "name": name,
        "sources": entries,
        "domains": {domain: _subtotal(rows, all_tokens) for domain, rows in domains.items()},
        "total": _subtotal(list(entries.values()), all_tokens),
        **more,
    }


def _subtotal(rows: Sequence[dict[str, Any]], all_tokens: int) -> dict[str, Any]:
    total = {name: sum(row[name] for row in rows) for name in _SUMS}
    dropped = sum((Counter(row["dropped"]) for row in rows), Counter[str]())
    days = [row[end] for row in rows for end in ("first", "last") if row[end]]
    return {
        **total,
        "share": _ratio(total["tokens"], all_tokens),
        "characters_per_token": _ratio(total["characters"], total["tokens"]),
        "first": min(days, default=None),
        "last": max(days, default=None),
        "read": {key: sum(row["read"][key] for row in rows) for key in ("documents", "bytes")},
        "dropped": dict(sorted(dropped.items())),
    }


def _ratio(above: int, below: int) -> float | None:
    return round(above / below, 4) if below else None


def ledger_table(found: dict[str, Any]) -> Table:
    """The columns of BloombergGPT's table 1 (documents, characters a document, characters a token, tokens, share) and
    dates, licence, drops; sources stand under the subtotal of their domain, the largest first.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("source", no_wrap=True)
    for column in ("docs", "chars/doc", "chars", "chars/tok", "tokens", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("dates", "licence", "redistributable", "dropped"):
        table.add_column(column, overflow="fold")
    domains = sorted(found["domains"].items(), key=lambda one: -one[1]["tokens"])
    for domain, subtotal in domains:
        table.add_row(*_cells(domain, subtotal), style="bold")
        rows = [(name, row) for name, row in found["sources"].items() if row["domain"] == domain]
        for name, row in sorted(rows, key=lambda one: -one[1]["tokens"]):
            may = {True: "yes", False: "no", None: "unknown"}[row["redistributable"]]
            table.add_row(*_cells(f"  {name}", row), row["licence"], may, reasons(row["dropped"]))
    table.add_row(*_cells("total", found["total"]), style="bold")
    return table


def mixture_table(found: dict[str, dict[str, dict[str, Any]]]) -> Table:
    """By mix and source: the weight, the tokens there are, and how many epochs of them will be learnt."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("mix" if len(found) > 1 else "mixture", no_wrap=True)
    for column in ("weight", "tokens", "epochs planned"):
        table.add_column(column, justify="right", no_wrap=True)
    for mix, sources in found.items():
        for name, one in sources.items():
            epochs = "–" if one["epochs"] is None else f"{one['epochs']:.2f}"
            title = f"{mix}: {name}" if len(found) > 1 else name
            table.add_row(title, f"{one['weight']:.1%}", f"{one['tokens']:,}", epochs)
    return table


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    each = f"{row['characters'] / row['documents']:,.0f}" if row["documents"] else "–"
    per_token = f"{row['characters_per_token']:.2f}" if row["characters_per_token"] else "–"
    share = f"{row['share']:.2%}" if row["share"] is not None else "–"
    dates = f"{row['first']} … {row['last']}" if row["first"] else "undated"
    return [
        name,
        f"{row['documents']:,}",
        each,
        f"{row['characters']:,}",
        per_token,
        f"{row['tokens']:,}",
        share,
        dates,
    ]


def reasons(dropped: dict[str, int]) -> str:
    """Reasons and how many documents each, the most frequent first."""
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(dropped.items(), key=lambda one: -one[1]))


def duplicate_counts(kinds: Sequence[Any]) -> dict[str, int]:
    """Documents by reason, of the marks that :func:`~metier.corpus.duplicates.find_duplicates` gives."""
    counts = {EXACT: sum(int((kind == 1).sum()) for kind in kinds), NEAR: sum(int((kind == 2).sum()) for kind in kinds)}
    return {reason: count for reason, count in counts.items() if count}
