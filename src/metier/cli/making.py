"""Making a specialist: check a recipe, carry it out, draw its learning curve, write its report again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metier.cli.shared import AGAIN, DataRoot, Offline, RecipePath, RunPath, app, when_stopped
from metier.errors import MetierError


@app.command()
def validate(recipe: RecipePath, data_root: DataRoot = None, offline: Offline = False) -> None:
    """Check a recipe before spending time: everything resolves, first prompt, balance, lengths, memory, time."""
    from metier.recipe import load_recipe
    from metier.run.preflight import preflight

    read = load_recipe(recipe)
    if read.corpus:
        from metier.run.corpus_preflight import corpus_preflight

        for line in corpus_preflight(recipe, read, data_root=data_root, offline=offline):
            typer.echo(line)
        if not read.task:
            return
    if read.pretrain and read.pretrain.method == "scratch":
        typer.echo("note      the task is learnt by the model that comes of this: its prompts cannot be shown before")
        return
    found = preflight(recipe, data_root=data_root, offline=offline)
    task = found.data.task
    typer.echo(f"recipe    {found.recipe.name}: {task.title} (version {task.version}, {task.licence})")
    typer.echo(f"data      {found.data.loaded.where}")
    for part, counts in found.balance().items():
        typer.echo(f"  {part:<10} " + ", ".join(f"{label} {count}" for label, count in counts.items()))
    counted = {"read" if name == "rows" else name: count for name, count in _counts(found.data.duplicates).items()}
    typer.echo("rows      " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counted.items()))
    typer.echo(f"base      {found.base.name}, {found.parameters:,} weights, {found.base.ref}")
    typer.echo(f"device    {found.device.device}, {found.device.dtype}: {found.device.why}")
    lengths = found.lengths
    typer.echo(
        f"tokens    median {int(sorted(lengths)[len(lengths) // 2])}, longest {int(lengths.max())} an example "
        f"(limit of a prompt {found.limit})"
    )
    typer.echo(f"memory    about {found.memory_gb:.1f} GB at the peak (this machine has {found.device.memory_gb:g})")
    if found.train_seconds is not None:
        typer.echo(f"time      about {found.train_seconds / 60:.1f} minutes of training (an estimate)")
    if found.recipe.adapt.method == "none":
        typer.echo("time      nothing is trained: the base is only asked")
    for note in found.notes:
        typer.echo(f"note      {note}")
    typer.echo("first prompt, exactly:")
    typer.echo(found.prompt)


@app.command()
@when_stopped(AGAIN)
def run(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/<name> if left out.")] = None,
    data_root: DataRoot = None,
    offline: Offline = False,
) -> None:
    """Carry out a recipe, from data to report. Run it again to continue or to do only what changed."""
    from metier.run import run as carry_out

    typer.echo(carry_out(recipe, out=out, data_root=data_root, offline=offline))


@app.command()
@when_stopped(AGAIN)
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
    typer.echo(learn_from_more(recipe, sizes=chosen, out=out, data_root=data_root, offline=offline))


@app.command()
def report(run_path: RunPath) -> None:
    """Write a run's report and model card again, from the run directory alone."""
    from metier.report import write_card, write_report

    typer.echo(write_report(run_path))
    typer.echo(write_card(run_path))


def _counts(report: dict[str, Any]) -> dict[str, int]:
    return {key: value for key, value in report.items() if isinstance(value, int)}
