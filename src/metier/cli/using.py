"""Using a specialist: answers, scores on something else, its exact prompt, faster engines, published figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from metier.cli.shared import DataRoot, Offline, RunPath, app, new_table, print_table
from metier.errors import MetierError

Sheet = Annotated[str | None, typer.Option(help="Sheet of an xlsx; the first if left out.")]
Options = Annotated[
    list[str] | None, typer.Option(help="Of multiple choice: columns of the options (repeat it), or one with a list.")
]
Format = Annotated[str | None, typer.Option("--format", help="Format of the table, if its name does not say it.")]
HeaderRow = Annotated[int | None, typer.Option(min=1, help="Row of an xlsx that holds its header.")]


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
    options: Options = None,
    out: Annotated[Path | None, typer.Option(help="Table to write; its ending chooses the format.")] = None,
    abstain_below: Annotated[
        float | None, typer.Option(min=0, max=1, help="Abstain below this probability, whatever the recipe demanded.")
    ] = None,
    answer_all: Annotated[bool, typer.Option("--answer-all", help="Never abstain.")] = False,
    sets: Annotated[
        float | None, typer.Option(help="Also give the labels that hold the right one this often, such as 0.9.")
    ] = None,
    sets_by: Annotated[str, typer.Option(help="lac for the smallest sets, aps for adaptive ones.")] = "lac",
    table_format: Format = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the table.")] = None,
    sheet: Sheet = None,
    header_row: HeaderRow = None,
    engine: Annotated[str, typer.Option(help="torch, openvino, or auto: the faster of those exported.")] = "auto",
    offline: Offline = False,
) -> None:
    """Answer texts, a table, or lines of standard input.

    A text a line: label, probability, with --sets the set, the text, and a referral where the text has a red flag.
    """
    from metier.inference.asked import refuse_unreadable
    from metier.inference.bundle import read_bundle
    from metier.inference.files import check_columns, check_paths
    from metier.inference.specialist import Specialist

    if answer_all and abstain_below is not None:
        raise MetierError("--answer-all and --abstain-below contradict each other", fix="leave one of them out")
    asked: dict[str, Any] = {"abstain_below": 0.0 if answer_all else abstain_below, "sets": sets, "sets_by": sets_by}
    if source and texts:
        raise MetierError("give texts or --in, not both", fix="leave one of them out")
    if source and str(source) != "-":
        if out is None:
            raise MetierError("--in needs --out", fix="name the table to write: --out answers.csv")
        check_paths(source, out, table_format)
        reading = {"format": table_format, "encoding": encoding, "sheet": sheet, "header_row": header_row}
        check_columns(read_bundle(run_path).task, source, column or ["text"], options, **reading)
        specialist = Specialist.load(run_path, offline=offline, engine=engine, many=True)
        _tell(specialist, asked)
        _predict_table(specialist, source, out, column, reading | {"choices": options} | asked)
        _tell_cut(specialist)
        return
    if out or column or options or table_format or encoding or sheet or header_row:
        raise MetierError(
            "--out, --column, --options and how to read a table are for --in",
            fix="name the table to read: --in FILE",
        )
    lines = texts or _lines()
    if not lines:
        raise MetierError(
            "there is no text to answer", fix='give it: metier predict RUN "text", or --in FILE --out FILE'
        )
    refuse_unreadable(lines)
    specialist = Specialist.load(run_path, offline=offline, engine=engine)
    _tell(specialist, asked)
    for text, answer in zip(lines, specialist.predict(lines, **asked), strict=True):
        referral = [f"referral: {answer.referral}"] if answer.referral else []
        typer.echo("\t".join([*_cells(answer), _one_line(text), *referral]))
    _tell_cut(specialist)


@app.command()
def evaluate(
    run_path: RunPath,
    task: Annotated[str | None, typer.Option(help="A task of the catalogue.")] = None,
    variant: Annotated[str | None, typer.Option(help="Its variant.")] = None,
    source: Annotated[Path | None, typer.Option("--in", help="A labelled table of your own.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Column with the text.")] = None,
    options: Options = None,
    gold: Annotated[str, typer.Option(help="Column with the right label.")] = "label",
    renamed: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="GIVEN=KNOWN", help="A label of the data and the specialist's own (repeat it)."),
    ] = None,
    table_format: Format = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the table.")] = None,
    sheet: Sheet = None,
    header_row: HeaderRow = None,
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
    reading: dict[str, Any] = {"format": table_format, "encoding": encoding, "sheet": sheet, "header_row": header_row}
    if options:
        reading |= {"kind": "multiple_choice", "options": options[0] if len(options) == 1 else options}
    choice = (
        TaskChoice.model_validate({"name": task, "variant": variant})
        if task
        else TaskChoice.model_validate({"file": str(source), "text": text, "label": gold, **reading})
    )
    names = dict(_pair(one) for one in renamed or [])
    name, entries, counts = score_elsewhere(run_path, choice, names=names, data_root=data_root, offline=offline)
    if as_json:
        typer.echo(json.dumps({name: entries, "counts": counts}, ensure_ascii=False))
        return
    typer.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in counts.items()))
    metrics = list(entries["specialist"]["metrics"])
    typer.echo(f"{'system':<12} " + " ".join(f"{metric.replace('_', ' '):<24}" for metric in metrics) + " n")
    for system, entry in entries.items():
        cells = [entry["metrics"].get(metric) for metric in metrics]  # who names no entity has no precision
        count = next(cell["n"] for cell in cells if cell)
        typer.echo(f"{system:<12} " + " ".join(f"{_figure(cell):<24}" for cell in cells) + f" {count}")
    if demanded := entries["specialist"].get("selective"):
        from metier.evaluation.demand import in_words

        typer.echo(in_words(demanded))
    for other, pair in entries["specialist"].get("against", {}).items():
        d = pair["difference"]
        ends = "(no interval)" if d["low"] is None else f"[{d['low']:+.3f}, {d['high']:+.3f}]"
        typer.echo(
            f"specialist - {other}, {pair['metric'].replace('_', ' ')}: {d['value']:+.3f} {ends}, "
            f"{pair.get('test', 'McNemar')} p = {pair['p']:.2g}"
        )


def _pair(text: str) -> tuple[str, str]:
    given, _, known = (part.strip() for part in text.rpartition("="))
    if not given or not known:
        fix = "write GIVEN=KNOWN, such as --map bullish=positive"
        raise MetierError(f"not a label and what it is called here: {text!r}", where="--map", fix=fix)
    return given, known


def _figure(score: dict[str, Any] | None) -> str:
    if score is None:
        return "-"
    ends = "(no interval)" if score["low"] is None else f"[{score['low']:.3f}, {score['high']:.3f}]"
    return f"{score['value']:.3f} {ends}"


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
    table = new_table(
        "system", lines[0].metric.replace("_", " "), "95 % interval", "n", "rows", "the specialist is", "parameters",
        "hardware", "cost",
    )  # fmt: skip
    for line in lines:
        interval = "-" if line.low is None else f"{'≈ ' * line.approximate}[{line.low:.3f}, {line.high:.3f}]"
        size = f"{line.parameters:,.0f}" if line.parameters else "-"
        name = line.system + "*" * (line.mark == "secondary")
        name += f" ({line.shots} shot{'s' * (line.shots > 1)})" if line.shots else ""
        cells = [name, f"{line.value:.3f}", interval, str(line.n or "-"), line.rows, line.verdict or "-", size]
        table.add_row(*cells, line.hardware or "-", line.cost or "-")
    print_table(table)
    typer.echo("≈ from n alone, as if the figure were a proportion; * read in another text. --json has the sources.")
    notes: dict[str, list[str]] = {}
    for line in lines:
        for note in line.notes:
            notes.setdefault(note, []).append(line.system)
    for note, systems in notes.items():
        named = ", ".join(systems) if len(systems) < 4 else f"{systems[0]} and {len(systems) - 1} more"
        typer.echo(f"{named}: {note}")


@app.command()
def show(run_path: RunPath, text: Annotated[str | None, typer.Argument(help="A text of your own.")] = None) -> None:
    """Print the exact prompt that the specialist was trained on and answers, with its special tokens."""
    from metier.inference.asked import refuse_broken
    from metier.inference.bundle import read_bundle
    from metier.models.encode import Encoder
    from metier.models.load import load_tokenizer
    from metier.tasks.cells import cleaned

    refuse_broken(text or "", "the text")
    bundle = read_bundle(run_path)
    fields = bundle.task.template.fields()
    last = [name for name in fields if name != "options" or bundle.task.kind != "multiple_choice"][-1]
    shown = None if text is None else cleaned(text, bundle.task.reading.clean)
    inputs = {name: shown if shown is not None and name == last else "{" + name + "}" for name in fields}
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


def _lines() -> list[str]:
    """Lines of standard input that are not blank."""
    try:
        lines = sys.stdin.read().removeprefix("\ufeff").split("\n")  # some programs begin a stream with a mark
        lines = [line.rstrip("\r") for line in lines if line.strip()]
        "".join(lines).encode("utf-8")  # some locales let bytes through that are no text
    except UnicodeError as error:
        raise MetierError(
            f"standard input is not UTF-8: {error}", fix="convert it (iconv -t utf-8), or use --in FILE --encoding NAME"
        ) from error
    return lines


def _predict_table(specialist: Any, source: Path, out: Path, column: list[str] | None, options: dict[str, Any]) -> None:
    from metier.inference.files import predict_table
    from metier.run.progress import console

    counts = predict_table(
        specialist, source, out, columns=column or ["text"],
        progress=lambda n: console.print(f"  {n} rows", style="dim"), **options,
    )  # fmt: skip
    abstained = "" if specialist.writes else f"{counts.abstained} abstained, "
    more = f", {counts.answered} dialogues without the answer they end with" if counts.answered else ""
    more += f", {counts.referred} with a red flag" if specialist.guard else ""
    typer.echo(f"{out}: {counts.rows} rows, {abstained}{counts.empty} with an empty text{more}{_moved(counts)}")


def _moved(counts: Any) -> str:
    """Which answers are not in the columns of their usual names."""
    if not (old := list(counts.renamed)):
        return ""
    are, the = ("is a column", "the answer is") if len(old) == 1 else ("are columns", "the answers are")
    return f"; {', '.join(old)} {are} of the table: {the} in {', '.join(counts.renamed.values())}"


def _tell(specialist: Any, asked: dict[str, Any]) -> None:
    """Once, beside the answers: the engine, what the answers are not, when it abstains, and sets that say nothing."""
    from metier.inference.abstaining import check_level, policy

    typer.echo(f"engine {specialist.engine_reason}", err=True)
    if specialist.notice:
        typer.echo(specialist.notice, err=True)
    if asked["abstain_below"] is None and (told := policy(specialist.bundle)):
        typer.echo(told, err=True)
    if asked["sets"] is not None and (note := check_level(specialist.bundle, asked["sets"], asked["sets_by"])):
        typer.echo(f"note: {note}", err=True)


def _tell_cut(specialist: Any) -> None:
    """How many texts were not read whole."""
    encoder = specialist.encoder
    if encoder.truncated:
        which = "1 text was" if encoder.truncated == 1 else f"{encoder.truncated} texts were"
        typer.echo(f"note: {which} too long for {encoder.max_tokens} tokens: the middle was left out", err=True)


def _cells(answer: Any) -> list[str]:
    """An answer as it is printed, in front of its text."""
    from metier.inference.specialist import TextAnswer

    if isinstance(answer, TextAnswer):
        return [_one_line(answer.answer)]
    label = "(abstained)" if answer.abstained else answer.label
    return [label, f"{answer.probability:.3f}", *(["|".join(answer.set)] if answer.set is not None else [])]


def _one_line(text: str) -> str:
    """A text as one cell of a line: its own line breaks and tabs are written out."""
    return text.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
