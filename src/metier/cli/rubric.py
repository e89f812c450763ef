"""Rubrics: long answers judged by people, blinded, in a page or by sheet; a machine may be one more rater."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from metier.cli.shared import app
from metier.errors import MetierError

rubric = typer.Typer(
    no_args_is_help=True,
    help="Have long answers judged by people, blinded: a page, sheets, κ, tests, a report.",
    rich_markup_mode="rich",
)
app.add_typer(rubric, name="rubric")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A workbench that metier rubric new made.")]


@rubric.command()
def axes(name: Annotated[str | None, typer.Argument(help="clinician, lay, …; all names if left out.")] = None) -> None:
    """Print published axes as YAML, to use or to change: metier rubric axes lay > own.yaml."""
    from metier.evaluation.rubric_axes import load_rubric, presets
    from metier.run.rubric_new import rubric_yaml

    if name is not None:
        typer.echo(rubric_yaml(load_rubric(name)), nl=False)
        return
    for known in presets():
        found = load_rubric(known)
        typer.echo(f"{known:<20} {found.mode:<12} {len(found.axes):>2} axes  {found.source}")


@rubric.command()
def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The workbench to make.")],
    answers: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]ANSWERS...",
            help="Tables (csv, jsonl, xlsx, parquet) or run directories; NAME is a system's.",
        ),
    ],
    raters: Annotated[str, typer.Option(help="Who will rate, separated by commas: anna,ben.")],
    axes: Annotated[str, typer.Option(help="clinician, lay, clinician-pairwise, lay-pairwise, or a YAML file.")],
    question: Annotated[str, typer.Option(help="Column with the question.")] = "question",
    answer: Annotated[
        list[str] | None, typer.Option(help="Column with the answer; repeat it for a column a system.")
    ] = None,
    system: Annotated[str, typer.Option(help="Column that says whose answer it is.")] = "system",
    identity: Annotated[str | None, typer.Option("--id", help="Column of question ids; else the text tells.")] = None,
    task: Annotated[str | None, typer.Option(help="Task of a run that answered several.")] = None,
    gold: Annotated[str | None, typer.Option(help="Take a run's right answers as a system of this name.")] = None,
    systems: Annotated[str | None, typer.Option(help="Only these systems, separated by commas.")] = None,
    common: Annotated[bool, typer.Option("--common", help="Leave out questions that a system did not answer.")] = False,
    questions: Annotated[int | None, typer.Option(min=1, help="Draw so many questions.")] = None,
    per_question: Annotated[int | None, typer.Option(min=1, help="Raters of each question; all if left out.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Pairwise: compare every other system with this one only.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every drawing.")] = 0,
) -> None:
    """Make a workbench: blind and shuffle answers, and give raters balanced shares of them."""
    from metier.evaluation.rubric_axes import load_rubric
    from metier.run.rubric_answers import Columns, gather
    from metier.run.rubric_new import make

    chosen = load_rubric(axes)
    found = gather(
        answers, Columns(question, tuple(answer or ["answer"]), system, identity),
        task=task, gold=gold, systems=_names(systems) if systems else None, common=common,
    )  # fmt: skip
    made = make(
        folder, found, chosen, _names(raters),
        per_question=per_question, most=questions, against=against, seed=seed,
    )  # fmt: skip
    bench = made.bench
    what = "comparisons" if chosen.mode == "pairwise" else "answers"
    typer.echo(f"{folder}: {len(bench.items)} {what} to judge on {len(chosen.axes)} axes ({chosen.name})")
    for note in made.notes:
        typer.echo(f"  {note}")
    typer.echo(f"rate in a browser: metier rubric serve {folder}")
    typer.echo(f"or in sheets:      metier rubric export {folder}; what the columns mean is in {folder}/guide.md")
    typer.echo(f"{folder}/key.json says whose answers they are: keep it from raters")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


@rubric.command()
def serve(
    folder: Folder, port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8770
) -> None:
    """Serve the page to browsers on this machine; every choice is kept at once, Ctrl-C stops."""
    from metier.run.rubric import Workbench
    from metier.serving.rubric_server import rubric_server

    bench = Workbench(folder)
    if not bench.people:
        raise MetierError("no person rates here", where=str(folder), fix="make a workbench with --raters")
    for name in bench.people:
        bench.said(name)  # a damaged file is told now, not to a rater
    with rubric_server(bench, bench.token(), port) as server:
        typer.echo(f"http://127.0.0.1:{server.server_port}/ for {', '.join(bench.people)}; Ctrl-C stops")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped; every choice is kept", err=True)


@rubric.command()
def export(
    folder: Folder,
    rater: Annotated[str | None, typer.Option(help="One rater; a sheet for each if left out.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --rater: csv, or xlsx, where no text is taken for a formula. Else DIR/sheets/RATER.csv."
        ),
    ] = None,
) -> None:
    """Write blinded sheets to be filled in, with what was said so far."""
    from metier.run.rubric import Workbench
    from metier.run.rubric_sheet import export_sheet

    bench = Workbench(folder)
    if out and rater is None:
        raise MetierError("--out is for one rater", fix="name the rater: --rater NAME")
    for name in [rater] if rater else bench.people:
        sheet = out or folder / "sheets" / f"{name}.csv"
        typer.echo(f"{sheet}: {export_sheet(bench, sheet, [name])} rows")
    typer.echo(f"what to write into which column: {folder}/guide.md")


@rubric.command(name="import")
def take(
    folder: Folder,
    sheets: Annotated[list[Path], typer.Argument(metavar="SHEET...", help="Filled sheets: csv, xlsx, jsonl, parquet.")],
    rater: Annotated[str | None, typer.Option(help="Who filled it in, if no column 'rater' says it.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Take what is there of a sheet that is not complete.")
    ] = False,
) -> None:
    """Check filled sheets and take their ratings; a later choice replaces an earlier one, and both are kept on file."""
    from metier.run.rubric import Workbench
    from metier.run.rubric_sheet import import_sheet

    bench = Workbench(folder)
    for sheet in sheets:
        found = import_sheet(bench, sheet, rater=rater, partial=partial)
        typer.echo(
            f"{sheet}: {found.new} choices taken, {found.changed} changed, {found.same} known already, "
            f"{found.empty} cells empty"
        )


@rubric.command()
def judge(
    folder: Folder,
    url: Annotated[str, typer.Option(help="An OpenAI-compatible endpoint: http://127.0.0.1:8000/v1.")],
    model: Annotated[str, typer.Option(help="The model's name there.")],
    name: Annotated[str, typer.Option(help="What reports call this judge.")] = "judge",
    key_from: Annotated[
        str, typer.Option(help="Environment variable with the key, if it needs one.")
    ] = "OPENAI_API_KEY",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one answer.")] = 60.0,
    attempts: Annotated[int, typer.Option(min=1, max=10, help="For one answer, in all.")] = 4,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Questions under way together.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of one answer.")] = 1024,
) -> None:
    """Let a model judge as one more rater, marked as a machine and never pooled with people. Run again to continue."""
    from metier.inference.endpoint import Endpoint
    from metier.run.progress import bar
    from metier.run.rubric import Workbench
    from metier.run.rubric_judge import judge as carry_out

    bench = Workbench(folder)
    endpoint = Endpoint(
        url, model, os.environ.get(key_from) or None, timeout_seconds=timeout, attempts=attempts, max_tokens=max_tokens
    )
    with bar(f"{name}, items", len(bench.items)) as advance:
        done = carry_out(bench, endpoint, name=name, at_once=at_once, tick=advance)
    rate = done.read / done.asked if done.asked else 0.0
    typer.echo(
        f"{name} (machine): {done.now} items judged now; {done.read} of {done.asked} choices could be read ({rate:.1%})"
    )
    if done.read < done.asked:
        typer.echo(
            f"warning: {done.asked - done.read} choices ({1 - rate:.1%}) could not be read and do not count; the same "
            "command asks about their items again",
            err=True,
        )


@rubric.command()
def report(folder: Folder) -> None:
    """Open the key and write report.html and report.json: shares, tests, agreement, length."""
    from metier.report.rubric import headline
    from metier.run.rubric import Workbench
    from metier.run.rubric_report import write_reports

    page, record = write_reports(Workbench(folder))
    typer.echo(headline(record))
    for one in record["raters"]:
        kind = "machine" if one["machine"] else "person"
        typer.echo(f"  {one['name']} ({kind}): {one['judged']} of {one['items']} items, {one['read']} choices")
    typer.echo(page)
    typer.echo(folder / "report.json")
