"""From documents to examples: collect, label, compare labellers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metier.cli.shared import Offline, app, when_stopped
from metier.errors import MetierError


@app.command()
def collect(
    ref: Annotated[
        str, typer.Argument(metavar="REF", help="edgar:AAPL/10-K?limit=3, rss:https://…/feed.xml, or posts:FOLDER.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write, JSON lines: documents.jsonl.")],
    limit: Annotated[int | None, typer.Option(min=1, help="No more documents than this.")] = None,
    domain: Annotated[str | None, typer.Option(help="What the texts speak of, in place of the source's own.")] = None,
    offline: Offline = False,
) -> None:
    r"""Collect documents with date, source and licence: SEC filings, a feed, or exported posts.

    edgar:TICKER_OR_CIK\[/FORM,…]\[?limit=N&since=DATE&until=DATE] reads 10-K, 10-Q and 8-K item by item; limit counts
    filings. It needs METIER_EDGAR_IDENTITY="Name you@example.com".

    rss:URL reads RSS and Atom. posts:FOLDER\[?text=COLUMN&date=COLUMN&title=COLUMN&licence=TEXT] reads csv, jsonl,
    json, parquet and xlsx, X's tweets.js, Mastodon's outbox.json, Telegram's result.json, and what the APIs of
    StockTwits and Reddit answer; authors are not kept. Take tables of private messages out of the folder first.
    """
    from metier.run.progress import console
    from metier.sources.collect import collect as gather

    def show(kept: int) -> None:
        if kept in (1, 10) or kept % 100 == 0:
            console.print(f"  {kept} documents", style="dim")

    told = gather(ref, out, limit=limit, offline=offline, domain=domain, progress=show)
    span = f"{told.first} to {told.last}" if told.first else "none"
    typer.echo(f"{out}: {told.kept} documents")
    typer.echo(f"dates     {span}" + (f"; {told.undated} without a date" if told.undated else ""))
    typer.echo("licences  " + ", ".join(f"{name} ({count})" for name, count in told.licences.most_common()))
    typer.echo("dropped   " + (", ".join(f"{count} {why}" for why, count in told.dropped.items()) or "none"))


@app.command()
def label(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A table of texts, labelled in part or not at all.")],
    out: Annotated[Path, typer.Option(help="The labelled table; start again with the same one to continue.")],
    labels: Annotated[
        str | None, typer.Option(help="The labels, separated by commas; those of RUN if left out.")
    ] = None,
    text: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    identity: Annotated[str | None, typer.Option("--id", help="Column of unique ids; else the text tells.")] = None,
    gold: Annotated[str, typer.Option(help="Column of IN with labels that are there already.")] = "label",
    labeller: Annotated[str | None, typer.Option(help="Who labels; the login name if left out.")] = None,
    suggest: Annotated[Path | None, typer.Option(metavar="RUN", help="A finished run that suggests labels.")] = None,
    order: Annotated[
        str | None,
        typer.Option(
            help="given, uncertain (least sure first) or disagreements (a second look first; with --suggest)."
        ),
    ] = None,
    sheet: Annotated[bool, typer.Option("--sheet", help="Write a sheet to be filled in; ask nothing.")] = False,
    take: Annotated[
        bool, typer.Option("--import", help="Check and take the labels that IN holds; ask nothing.")
    ] = False,
    offline: Offline = False,
) -> None:
    """Label texts: one key a text in the terminal, or a sheet out (--sheet) and back in (--import)."""
    from metier.run.ask import ask, keyboard
    from metier.run.label import Labelling

    if sheet and take:
        raise MetierError("--sheet and --import are two steps", fix="write the sheet, fill it in, then import it")
    specialist = None
    if suggest:
        from metier.inference.specialist import Specialist

        specialist = Specialist.load(suggest, offline=offline)
    work = Labelling(
        source, out, labels.split(",") if labels else None,
        text=text, identity=identity, gold=gold, labeller=labeller, specialist=specialist,
    )  # fmt: skip
    typer.echo(work.summary())
    if sheet:
        typer.echo(f"{out}: {work.write_sheet(order)} rows to fill in, labels {', '.join(work.labels)}")
    elif take:
        labelled, changed = work.take_labels()
        missing = len(work.items.by_key) - labelled
        typer.echo(f"{out}: {labelled} labelled, {missing} without a label left out, {changed} changed")
    else:
        with (
            when_stopped("what was labelled is saved: start again with the same --out to go on"),
            keyboard() as read_key,
        ):
            given = ask(work, order, read_key)
        typer.echo(f"{out}: {given} labelled now, {len(work.given)} of {len(work.items.by_key)} in all")


@app.command()
def agreement(
    first: Annotated[Path, typer.Argument(metavar="A", help="A labelled table.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The same texts, labelled by somebody else.")],
    text: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    identity: Annotated[str | None, typer.Option("--id", help="Column of ids to match rows by; else the text.")] = None,
    gold: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    out: Annotated[Path | None, typer.Option(help="Table for the rows on which they differ.")] = None,
) -> None:
    """Measure how far two labellers agree: the rows they differ on, Cohen's kappa, raw agreement."""
    from metier.run.agree import compare_tables

    compared = compare_tables(first, second, text=text, identity=identity, label=gold, out=out)
    typer.echo(compared.to_text())
