"""Evaluation items in a training corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from metier.cli.shared import DataRoot, Offline, app, new_table, print_table, when_stopped
from metier.cli.using import HeaderRow, Sheet
from metier.errors import MetierError


@app.command()
def overlap(
    run_path: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A finished run: its scores with and without what overlaps.")
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="A file, folder, glob or source as in a recipe's corpus, or a run directory; repeat it."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="A task of the catalogue.")] = None,
    variant: Annotated[str | None, typer.Option(help="Its variant.")] = None,
    source: Annotated[Path | None, typer.Option("--in", help="A table of your own; it needs no labels.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", "--text", help="Column (of a task: input) with the question; 'text' if left out."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe: what it measures on.")] = None,
    corpus_text: Annotated[
        list[str] | None, typer.Option(help="Field of the corpus's records with the text; all strings if left out.")
    ] = None,
    split_on: Annotated[
        str, typer.Option(help="Documents of txt and md: file, line, blank-line, or the line that separates.")
    ] = "file",
    corpus_format: Annotated[str | None, typer.Option(help="Format of the corpus's files, if no name says it.")] = None,
    corpus_encoding: Annotated[str | None, typer.Option(help="Encoding of the corpus's files.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the table.")] = None,
    sheet: Sheet = None,
    header_row: HeaderRow = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; RUN/data/overlap.json or overlap.json if left out.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="How many of the items found are printed.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written, as one JSON line.")] = False,
    data_root: DataRoot = None,
    offline: Offline = False,
) -> None:
    """Find evaluation items in a training corpus: whole questions, 512 or 120 characters, 13 words in a row."""
    from metier.run.overlap import overlap as search
    from metier.run.overlap_corpus import Reading
    from metier.run.overlap_items import Wanted, wanted_items

    options = {"encoding": encoding, "sheet": sheet, "header_row": header_row}
    wanted = Wanted(run_path, recipe, task, variant, source, tuple(column or ()), options)
    if not corpus:
        raise MetierError("say where to look", fix="--corpus with a file, folder, glob, source or run directory")
    where: dict[str, Any] = {"data_root": data_root, "offline": offline}
    reading = Reading(tuple(corpus_text or ()), split_on, corpus_format, corpus_encoding)
    target = out or (run_path / "data" / "overlap.json" if run_path else Path("overlap.json"))
    with when_stopped("nothing was written: run the same command again"):
        found = search(wanted_items(wanted, **where), corpus, target, reading=reading, **where)
    if run_path and not out:
        from metier.report import write_report

        write_report(run_path)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    _print(found, samples)
    typer.echo(target)


def _print(found: dict[str, Any], samples: int) -> None:
    corpus = found["corpus"]
    typer.echo(
        f"searched: documents {corpus['documents']:,}, {corpus['bytes'] / 1e6:,.1f} MB, in {found['seconds']:.1f} s "
        f"({found['mb_per_s']:.1f} MB/s, at most {found['peak_rss_mb']:,.0f} MB of memory)"
    )
    for reason, count in corpus["not_searched"].items():
        typer.echo(f"not searched, {reason}: {count:,} of the files and rows")
    table = new_table("task", "an item overlaps by", "items", "overlapping", "share", "95 % interval")
    for task, entry in found["tasks"].items():
        for name, one in entry["definitions"].items():
            if share := one["share"]:
                cells = [
                    f"{share['overlapping']:,}",
                    f"{share['value']:.2%}",
                    f"[{share['low']:.2%}, {share['high']:.2%}]",
                ]
                table.add_row(task, name, f"{share['n']:,}", *cells)
    print_table(table)
    for task, entry in found["tasks"].items():
        if left := entry["items"] - entry["looked_for"]:
            typer.echo(f"{task}: {left:,} items hold no word and were not looked for")
        for name, one in entry["definitions"].items():
            if one["only_short"]:
                typer.echo(
                    f"{task}: {one['only_short']:,} by {name} have fewer than five words: any text may hold them"
                )
    _print_accuracy(found)
    for task, entry in found["tasks"].items():
        for row in sorted(entry["found"], key=lambda row: -row["characters"])[:samples]:
            typer.echo(
                f"{task} {row['id']}: {', '.join(row['widths'])}; {row['document']}, character {row['offset']:,}"
            )
            typer.echo(f"  … {row['excerpt']} …")


def _print_accuracy(found: dict[str, Any]) -> None:
    table = new_table("task", "system", "an item overlaps by", "overlapping", "clean", "difference", "note")
    one_sided: dict[tuple[str, str], dict[str, None]] = {}
    for task, entry in found["tasks"].items():
        for name, one in entry["definitions"].items():
            for system, apart in one["accuracy"].items():
                if not (apart["overlapping"] and apart["clean"]):
                    one_sided.setdefault((task, apart["note"]), {})[name] = None
                    continue
                cells = [_score(apart[side]) for side in ("overlapping", "clean")]
                gap = apart["difference"]
                told = f"{gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]" if gap else "-"
                table.add_row(task, system, name, *cells, told, apart["note"] or "")
    if table.row_count:
        typer.echo("accuracy on overlapping and on clean items:")
        print_table(table)
    for (task, note), names in one_sided.items():
        typer.echo(f"{task}, by {', '.join(names)}: {note}")


def _score(score: dict[str, Any] | None) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}] n={score['n']:,}" if score else "-"
