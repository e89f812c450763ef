"""Verbs: parse, call, print."""

from __future__ import annotations

import json
import os
import sys
import warnings
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metier.errors import MetierError, nearest

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Turn a general language model into a specialist, and prove what was gained and what was forgotten.",
)

DataRoot = Annotated[
    Path | None, typer.Option("--data-root", envvar="METIER_DATA", help="Folder of published data sets.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch a network: only what is cached or local.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/finance-starter.")]
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe in YAML.")]


@app.command()
def run(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/<name> if left out.")] = None,
    data_root: DataRoot = None,
    offline: Offline = False,
) -> None:
    """Carry out a recipe, from data to report. Run it again to continue or to do only what changed."""
    from metier.run import run as carry_out

    try:
        typer.echo(carry_out(recipe, out=out, data_root=data_root, offline=offline))
    except KeyboardInterrupt:
        typer.echo("stopped; nothing is lost: run the same command again to continue", err=True)
        raise typer.Exit(130) from None


@app.command()
def curve(
    recipe: RecipePath,
    sizes: Annotated[
        str | None, typer.Option(help="Numbers of examples, such as 64,256,1024; doubling from 64 if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/<name> if left out.")] = None,
    data_root: DataRoot = None,
    offline: Offline = False,
) -> None:
    """Learn from ever more examples: at what size does fine-tuning start to win? The run's report shows the plot."""
    from metier.run import curve as learn_from_more

    try:
        chosen = [int(size) for size in sizes.split(",")] if sizes else None
    except ValueError as error:
        raise MetierError(f"--sizes are whole numbers, not {sizes!r}", fix="such as --sizes 64,256,1024") from error
    try:
        target = learn_from_more(recipe, sizes=chosen, out=out, data_root=data_root, offline=offline)
    except KeyboardInterrupt:
        typer.echo("stopped; nothing is lost: run the same command again to continue", err=True)
        raise typer.Exit(130) from None
    typer.echo(target)


@app.command()
def validate(recipe: RecipePath, data_root: DataRoot = None, offline: Offline = False) -> None:
    """Check a recipe before spending time: everything resolves, first prompt, balance, lengths, memory, time."""
    from metier.run.preflight import preflight

    found = preflight(recipe, data_root=data_root, offline=offline)
    task = found.data.task
    typer.echo(f"recipe    {found.recipe.name}: {task.title} (version {task.version}, {task.licence})")
    typer.echo(f"data      {found.data.loaded.where}")
    for part, counts in found.balance().items():
        typer.echo(f"  {part:<10} " + ", ".join(f"{label} {count}" for label, count in counts.items()))
    typer.echo(f"duplicates {json.dumps(_counts(found.data.duplicates))}")
    typer.echo(f"base      {found.base.name}, {found.parameters:,} weights, {found.base.ref}")
    typer.echo(f"device    {found.device.device}, {found.device.dtype}: {found.device.why}")
    lengths = found.lengths
    typer.echo(
        f"tokens    median {int(sorted(lengths)[len(lengths) // 2])}, longest {int(lengths.max())} an example "
        f"(limit {found.recipe.max_tokens})"
    )
    typer.echo(f"memory    about {found.memory_gb:.1f} GB at the peak (this machine has {found.device.memory_gb:g})")
    if found.train_seconds is not None:
        typer.echo(f"time      about {found.train_seconds / 60:.1f} minutes of training (an estimate)")
    for note in found.notes:
        typer.echo(f"note      {note}")
    typer.echo("first prompt, exactly:")
    typer.echo(found.prompt)


@app.command()
def predict(
    run_path: RunPath,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts; standard input if none.")
    ] = None,
    source: Annotated[Path | None, typer.Option("--in", help="A table, or '-' for lines of standard input.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Column with the text (repeat it for several fields).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Table to write; its ending chooses the format.")] = None,
    abstain_below: Annotated[float, typer.Option(min=0, max=1, help="Abstain below this probability.")] = 0.0,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the table.")] = None,
    engine: Annotated[str, typer.Option(help="torch, openvino, or auto: the faster of those exported.")] = "auto",
    offline: Offline = False,
) -> None:
    """Answer texts, a table, or lines of standard input."""
    from metier.inference.specialist import Specialist, TextAnswer

    if source and texts:
        raise MetierError("give texts or --in, not both", fix="leave one of them out")
    if source and str(source) != "-":
        if out is None:
            raise MetierError("--in needs --out", fix="name the table to write: --out answers.csv")
        specialist = Specialist.load(run_path, offline=offline, engine=engine)
        typer.echo(f"engine {specialist.engine_reason}", err=True)
        _predict_table(specialist, source, out, column, abstain_below, encoding)
        return
    if out or column or encoding:
        raise MetierError("--out, --column and --encoding are for tables", fix="name the table to read: --in FILE")
    lines = texts or _lines()
    if not lines:
        raise MetierError(
            "there is no text to answer", fix='give it: metier predict RUN "text", or --in FILE --out FILE'
        )
    specialist = Specialist.load(run_path, offline=offline, engine=engine)
    typer.echo(f"engine {specialist.engine_reason}", err=True)
    for text, answer in zip(lines, specialist.predict(lines, abstain_below=abstain_below), strict=True):
        if isinstance(answer, TextAnswer):
            typer.echo(answer.answer.replace("\n", "\\n") + f"\t{text}")
            continue
        label = "(abstained)" if answer.abstained else answer.label
        typer.echo(f"{label}\t{answer.probability:.3f}\t{text}")


def _lines() -> list[str]:
    """Lines of standard input that are not blank."""
    try:
        lines = [line.rstrip("\n") for line in sys.stdin if line.strip()]
        "".join(lines).encode("utf-8")  # some locales let bytes through that are no text
    except UnicodeError as error:
        raise MetierError(
            f"standard input is not UTF-8: {error}", fix="convert it (iconv -t utf-8), or use --in FILE --encoding NAME"
        ) from error
    return lines


def _predict_table(
    specialist: Any, source: Path, out: Path, column: list[str] | None, abstain_below: float, encoding: str | None
) -> None:
    from metier.inference.files import predict_table
    from metier.run.progress import console

    options = {"encoding": encoding} if encoding else {}
    counts = predict_table(
        specialist, source, out, columns=column or ["text"], abstain_below=abstain_below,
        progress=lambda n: console.print(f"  {n} rows", style="dim"), **options,
    )  # fmt: skip
    abstained = "" if specialist.writes else f"{counts.abstained} abstained, "
    typer.echo(f"{out}: {counts.rows} rows, {abstained}{counts.empty} with an empty text")


@app.command()
def evaluate(
    run_path: RunPath,
    task: Annotated[str | None, typer.Option(help="A task of the catalogue.")] = None,
    variant: Annotated[str | None, typer.Option(help="Its variant.")] = None,
    source: Annotated[Path | None, typer.Option("--in", help="A labelled table of your own.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Column with the text.")] = None,
    gold: Annotated[str, typer.Option(help="Column with the right label.")] = "label",
    encoding: Annotated[str | None, typer.Option(help="Encoding of the table.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries of scores.json.")] = False,
    data_root: DataRoot = None,
    offline: Offline = False,
) -> None:
    """Score a finished specialist on something else, with intervals, baselines and paired tests."""
    from metier.recipe import TaskChoice
    from metier.run.evaluate import evaluate as score_elsewhere

    if bool(task) == bool(source):
        raise MetierError("say what to evaluate on", fix="--task NAME, or --in FILE --column TEXT --gold LABEL")
    text: str | list[str] = (column or ["text"])[0] if len(column or []) < 2 else list(column or [])
    choice = (
        TaskChoice.model_validate({"name": task, "variant": variant})
        if task
        else TaskChoice.model_validate({"file": str(source), "text": text, "label": gold, "encoding": encoding})
    )
    name, entries, counts = score_elsewhere(run_path, choice, data_root=data_root, offline=offline)
    if as_json:
        typer.echo(json.dumps({name: entries, "counts": counts}, ensure_ascii=False))
        return
    typer.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in counts.items()))
    typer.echo(f"{'system':<12} {'weighted F1':<24} {'accuracy':<24} {'macro F1':<24} n")
    for system, entry in entries.items():
        cells = [entry["metrics"][metric] for metric in ("weighted_f1", "accuracy", "macro_f1")]
        shown = [f"{c['value']:.3f} [{c['low']:.3f}, {c['high']:.3f}]" for c in cells]
        typer.echo(f"{system:<12} " + " ".join(f"{text:<24}" for text in shown) + f" {cells[0]['n']}")
    for other, pair in entries["specialist"].get("against", {}).items():
        d = pair["difference"]
        typer.echo(
            f"specialist - {other}: {d['value']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}], McNemar p = {pair['p']:.2g}"
        )


@app.command()
def compare(
    run_path: RunPath,
    task: Annotated[str | None, typer.Option(help="A task the run was scored on; its own if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, with sources and notes.")] = False,
) -> None:
    """Set a run's specialist and its baselines beside published systems: interval, rows, size, cost."""
    from metier.report.published import beside

    lines = beside(run_path, task)
    if as_json:
        typer.echo(json.dumps([line.to_json() for line in lines], ensure_ascii=False))
        return
    table = _table(
        "system", lines[0].metric.replace("_", " "), "95 % interval", "n", "rows", "the specialist is", "parameters",
        "hardware", "cost",
    )  # fmt: skip
    for line in lines:
        interval = "-" if line.low is None else f"{'≈ ' * line.approximate}[{line.low:.3f}, {line.high:.3f}]"
        size = f"{line.parameters:,.0f}" if line.parameters else "-"
        name = line.system + "*" * (line.mark == "secondary")
        cells = [name, f"{line.value:.3f}", interval, str(line.n or "-"), line.rows, line.verdict or "-", size]
        table.add_row(*cells, line.hardware or "-", line.cost or "-")
    _print(table)
    typer.echo(
        "≈ from n alone, as if the figure were a proportion; * read in another text. --json has sources and notes."
    )


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
        str, typer.Option(help="given, uncertain (least sure first) or disagreements (a second look first).")
    ] = "given",
    sheet: Annotated[bool, typer.Option("--sheet", help="Write a sheet to be filled in; ask nothing.")] = False,
    take: Annotated[
        bool, typer.Option("--import", help="Check and take the labels that IN holds; ask nothing.")
    ] = False,
    offline: Offline = False,
) -> None:
    """Label texts: one key a text in the terminal, or a sheet out (--sheet) and back in (--import)."""
    from metier.run.ask import ask, read_key
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
        labelled, missing = work.take_labels()
        typer.echo(f"{out}: {labelled} labelled, {missing} without a label left out")
    else:
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


@app.command()
def show(run_path: RunPath, text: Annotated[str | None, typer.Argument(help="A text of your own.")] = None) -> None:
    """Print the exact prompt that the specialist was trained on and answers, with its special tokens."""
    from metier.inference.bundle import read_bundle
    from metier.models.encode import Encoder
    from metier.models.load import load_tokenizer

    bundle = read_bundle(run_path)
    fields = bundle.task.template.fields()
    inputs = {name: text if text is not None and name == fields[-1] else "{" + name + "}" for name in fields}
    typer.echo(Encoder(load_tokenizer(bundle.folder), bundle.task, bundle.max_tokens).render(inputs))


@app.command()
def export(
    run_path: RunPath,
    engine: Annotated[str, typer.Option(help="openvino.")] = "openvino",
    offline: Offline = False,
) -> None:
    """Export a specialist for a faster engine, checked against torch on the run's own texts."""
    from metier.inference.engines.openvino_export import Agreement, export_openvino

    if engine != "openvino":
        raise MetierError(f"there is no engine '{engine}' to export for", fix="use --engine openvino")
    about = export_openvino(run_path, offline=offline)
    check = about["check"]
    agreement = Agreement(*(check[name] for name in ("n", "agreement", "mean_difference", "max_difference")))
    typer.echo(f"openvino, {about['variant']['name']}: {agreement}")
    typer.echo(f"a sentence alone: openvino {check['openvino_ms']:.1f} ms, torch {check['torch_ms']:.1f} ms")


@app.command()
def tasks() -> None:
    """List the catalogue of tasks: version, kind, licence, commercial use, places."""
    from metier.tasks import catalogue

    table = _table("task", "version", "kind", "labels", "licence", "commercial", "places")
    for name in catalogue.names():
        task = catalogue.get(name)
        commercial = {True: "yes", False: "no", None: "?"}[task.commercial]
        places = ", ".join(dict.fromkeys(source.where for source in task.sources))
        table.add_row(name, str(task.version), task.kind, ", ".join(task.labels), task.licence, commercial, places)
    _print(table)


@app.command()
def bases(as_json: Annotated[bool, typer.Option("--json", help="One JSON line a place.")] = False) -> None:
    """List the catalogue of bases: where they come from, size, licence, cached or not."""
    from metier.models.bases import listing

    rows = list(listing())
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    table = _table("base", "ref", "parameters", "licence", "download", "cached")
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.0f} MB"
        cached = "yes" if row["cached"] else "no"
        table.add_row(row["name"], row["ref"], f"{row['parameters']:,}", row["licence"], size, cached)
    _print(table)


@app.command()
def new(name: Annotated[str, typer.Argument(help="finance-sentiment, finance-starter or own-table.")]) -> None:
    """Print a recipe to start from: metier new finance-sentiment > recipe.yaml."""
    folder = _recipes()
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in known:
        raise MetierError(f"there is no recipe '{name}'", fix=nearest(name, known))
    typer.echo((folder / f"{name}.yaml").read_text(encoding="utf-8"), nl=False)


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
    """Collect documents with date, source and licence: SEC filings, a feed, or exported posts.

    edgar:TICKER_OR_CIK[/FORM,…][?limit=N&since=DATE&until=DATE] reads 10-K, 10-Q and 8-K item by item; limit counts
    filings. It needs METIER_EDGAR_IDENTITY="Name you@example.com".

    rss:URL reads RSS and Atom. posts:FOLDER[?text=COLUMN&date=COLUMN&title=COLUMN&licence=TEXT] reads csv, jsonl, json,
    parquet and xlsx; authors are not kept.
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
def report(run_path: RunPath) -> None:
    """Write a run's report and model card again, from the run directory alone."""
    from metier.report import write_card, write_report

    typer.echo(write_report(run_path))
    typer.echo(write_card(run_path))


def _recipes() -> Path:
    """The shipped recipes: inside the installed package, or beside the sources of an editable installation."""
    installed = Path(str(resources.files("metier"))) / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "recipes"


def _counts(report: dict[str, Any]) -> dict[str, int]:
    return {key: value for key, value in report.items() if isinstance(value, int)}


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("task", "base"))
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)


def main() -> None:
    """Run the command line: a user's fault is one message and exit code 2, never a traceback."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # notes from one library to another about its next major release are not for the user
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except MetierError as error:
        typer.echo(f"metier: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(130)
    except OSError as error:
        import errno

        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or "a temporary file"
            typer.echo(
                str(MetierError("metier: the disk is full", where=where, fix="free some space, run it again")), err=True
            )
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
