"""What is known by name: tasks, bases, recipes to start from."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from metier.cli.shared import DataRoot, Offline, app, new_table, print_table
from metier.errors import MetierError, nearest

listed = typer.Typer(help="The catalogue of tasks.")
app.add_typer(listed, name="tasks")


@listed.callback(invoke_without_command=True)
def tasks(context: typer.Context) -> None:
    """List the catalogue of tasks: version, kind, licence, commercial use, places. `export` writes one for lm-eval."""
    if context.invoked_subcommand:
        return
    from metier.tasks import catalogue

    table = new_table("task", "version", "kind", "labels", "licence", "commercial", "places")
    for name in catalogue.names():
        task = catalogue.get(name)
        commercial = {True: "yes", False: "no", None: "?"}[task.commercial]
        places = ", ".join(dict.fromkeys(source.where for source in task.sources))
        table.add_row(name, str(task.version), task.kind, ", ".join(task.labels), task.licence, commercial, places)
    print_table(table)


@listed.command("export")
def export_task(
    name: Annotated[str, typer.Argument(help="A task of the catalogue, a recipe or a run directory.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    variant: Annotated[str | None, typer.Option(help="Of a task of the catalogue.")] = None,
    data_root: DataRoot = None,
    offline: Offline = False,
) -> None:
    """Write a task for lm-evaluation-harness: its YAML, for plain and for chat prompts, and its rows.

    Of a recipe or a run these are the rows of its test part.
    """
    from metier.run.exported import exported
    from metier.tasks.export import export

    loaded, variant = exported(name, variant, data_root=data_root, offline=offline)
    for path in export(loaded, out, variant):
        typer.echo(path)
    for warning in loaded.warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(f"run it: lm_eval --model hf --model_args pretrained=BASE --include_path {out} --tasks TASK", err=True)


@app.command()
def bases(as_json: Annotated[bool, typer.Option("--json", help="One JSON line a place.")] = False) -> None:
    """List the catalogue of bases: where they come from, size, licence, cached or not."""
    from metier.models.bases import listing

    rows = list(listing())
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    table = new_table("base", "ref", "parameters", "licence", "download", "cached")
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.0f} MB"
        cached = "yes" if row["cached"] else "no"
        table.add_row(row["name"], row["ref"], f"{row['parameters']:,}", row["licence"], size, cached)
    print_table(table)


@app.command()
def new(name: Annotated[str, typer.Argument(help="finance-sentiment, finance-starter or own-table.")]) -> None:
    """Print a recipe to start from: metier new finance-sentiment > recipe.yaml."""
    folder = _recipes()
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in known:
        raise MetierError(f"there is no recipe '{name}'", fix=nearest(name, known))
    typer.echo((folder / f"{name}.yaml").read_text(encoding="utf-8"), nl=False)


def _recipes() -> Path:
    """The shipped recipes: inside the installed package, or beside the sources of an editable installation."""
    installed = Path(str(resources.files("metier"))) / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "recipes"
