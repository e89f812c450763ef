"""The corpus: curate a recipe's sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from metier.cli.shared import AGAIN, DataRoot, Offline, RecipePath, app, print_table, when_stopped


@app.command()
@when_stopped(AGAIN)
def curate(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/<name> if left out.")] = None,
    data_root: DataRoot = None,
    offline: Offline = False,
    processes: Annotated[int | None, typer.Option(min=1, help="At once; one a core if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ledger as one JSON line.")] = False,
) -> None:
    """Read, filter, de-duplicate, de-identify and tokenize a recipe's corpus; print its ledger."""
    from metier.corpus.ledger import ledger_table, mixture_table
    from metier.run.curate import curate as carry_out

    found = carry_out(recipe, out=out, data_root=data_root, offline=offline, processes=processes)
    if as_json:
        typer.echo(json.dumps(found.ledger))
        return
    print_table(ledger_table(found.ledger))
    if found.ledger["mixture"]:
        print_table(mixture_table(found.ledger["mixture"]))
    for line in _notes(found.ledger):
        typer.echo(line)
    typer.echo(found.folder)


def _notes(ledger: dict[str, Any]) -> list[str]:
    """Splits, what was replaced and what overlapped, as totals over the sources."""
    lines = []
    for split in ("train", "held_out", "later"):
        rows = [row["splits"][split] for row in ledger["sources"].values() if split in row["splits"]]
        if rows:
            tokens, documents = (sum(row[name] for row in rows) for name in ("tokens", "documents"))
            lines.append(f"{split:<10} {tokens:,} tokens, {documents:,} documents")
    replaced: dict[str, int] = {}
    for row in ledger["sources"].values():
        for kind, count in row["replaced"].items():
            replaced[kind] = replaced.get(kind, 0) + count
    if replaced:
        lines.append("replaced   " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(replaced.items())))
    for task, texts in ledger["evaluation_texts"].items():
        found = [row["overlap"].get(task, {}) for row in ledger["sources"].values()]
        widths = sorted({width for one in found for width in one})
        told = ", ".join(f"{width} {sum(one.get(width, 0) for one in found):,}" for width in widths) or "none"
        lines.append(f"overlap    {task} ({texts:,} texts): {told}")
    return lines
