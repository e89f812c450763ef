"""The red flags of a domain, measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metier.cli.shared import app, new_table, print_table
from metier.errors import MetierError, nearest

if TYPE_CHECKING:
    from metier.inference.guardrails import Measured, Sentence


@app.command()
def guardrails(
    domain: Annotated[str | None, typer.Option(help="finance or medicine; both if left out.")] = None,
    source: Annotated[Path | None, typer.Option("--in", help="A labelled table of your own; needs --domain.")] = None,
    column: Annotated[str, typer.Option(help="Its column with the text.")] = "text",
    gold: Annotated[str, typer.Option(help="Its column with the category of the flag, or none.")] = "category",
    missed: Annotated[bool, typer.Option("--missed", help="Also list what is missed and flagged for nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure the red flags on labelled sentences: how many they find, and how often they flag what is harmless.

    A specialist for medicine or finance answers a text with a red flag with a referral. The rules are a floor, not a
    claim of safety: their own list says what they miss, the half that was looked at in writing them apart.
    """
    from metier.inference import guardrails as rules

    known = rules.domains()
    if domain is not None and domain not in known:
        raise MetierError(f"there are no red flags for '{domain}'", fix=nearest(domain, known))
    found: dict[str, dict[str, Measured]] = {}
    if source:
        if domain is None:
            raise MetierError("--in needs the domain of its texts", fix=f"--domain {' or '.join(known)}")
        found[domain] = {source.name: rules.measure(_own(source, column, gold, domain))}
    else:
        for name in [domain] if domain else known:
            found[name] = {half: rules.measured(name, half) for half in ("held-out", "tuned")}
    if as_json:
        record = {name: {part: m.to_json() for part, m in parts.items()} for name, parts in found.items()}
        typer.echo(json.dumps(record, ensure_ascii=False))
        return
    _print(found, missed)


def _own(source: Path, column: str, gold: str, domain: str) -> list[Sentence]:
    """Sentences of a user's table. Errors: a missing column, an unknown category, no row."""
    from metier.inference.guardrails import NONE, Sentence, guard
    from metier.sources import read_table, table_columns

    columns, about = table_columns(source, nested=True), guard(domain)
    assert about is not None
    for name in (column, gold):
        if name not in columns:
            raise MetierError(f"there is no column '{name}'", where=str(source), fix=nearest(name, columns))
    known, found = [*about.referrals, NONE], []
    for row in read_table(source, wanted=[column, gold]):
        text, category = (str(row.values.get(name) or "").strip() for name in (column, gold))
        if not text:
            raise MetierError(
                "the text is empty", where=f"{source}, row {row.number}, {column}", fix="fill it or take the row out"
            )
        if category not in known:
            raise MetierError(f"'{category}' is no category of {domain}", where=f"{source}, row {row.number}",
                              fix=f"it is one of {', '.join(known)}")  # fmt: skip
        found.append(Sentence(domain, category, "own", "held-out", text))
    if not found:
        raise MetierError("there are no sentences to measure on", where=str(source), fix="give a table with rows")
    return found


def _print(found: dict[str, dict[str, Measured]], missed: bool) -> None:
    table = new_table("domain", "sentences", "of", "share that raises a flag", "95 % interval", "n")
    for name, parts in found.items():
        for part, m in parts.items():
            rows: list[tuple[str, Any]] = [("flagged, any category", m.recall), *m.by_category.items()]
            for title, score in [*rows, ("harmless", m.false_alarms)]:
                if score:
                    ends = f"[{score.low:.3f}, {score.high:.3f}]"
                    table.add_row(name, part, title, f"{score.value:.3f}", ends, str(score.n))
    print_table(table)
    typer.echo("A category counts as found only under its own name. A floor, not a claim of safety.")
    for name, parts in found.items() if missed else ():
        for part, m in parts.items():
            for sentence in m.missed:
                typer.echo(f"missed   {name}, {part}, {sentence.category}: {sentence.text}")
            for sentence in m.alarmed:
                typer.echo(f"harmless {name}, {part}, flagged: {sentence.text}")
