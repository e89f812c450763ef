"""What all verbs share: the application, the options that many have, tables on the terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.table import Table

AGAIN = "nothing is lost: run the same command again to continue"


class Verbs(TyperGroup):
    """The verbs: Ctrl-C in any of them is one sentence and exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        """Carry out the verb. Typer itself would end without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            # every file and folder is written under a temporary name and then renamed
            typer.echo(f"stopped; {stop.args[0] if stop.args else 'nothing was left half-written'}", err=True)
            raise typer.Exit(130) from None


@contextlib.contextmanager
def when_stopped(told: str) -> Iterator[None]:
    """Around a verb, or the work in it: there is more to be told when it is stopped, what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(told) from None


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Turn a general language model into a specialist, and prove what was gained and what was forgotten.",
)


def _version(asked: bool) -> None:
    if asked:
        from metier import __version__

        typer.echo(f"metier {__version__}")
        raise typer.Exit


@app.callback()
def _every_verb(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


DataRoot = Annotated[
    Path | None, typer.Option("--data-root", envvar="METIER_DATA", help="Folder of published data sets.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch a network: only what is cached or local.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/finance-starter.")]
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe in YAML.")]


def new_table(*columns: str) -> Table:
    """A table without lines; names stay on one line."""
    from rich.table import Table

    found = Table(box=None, pad_edge=False)
    for column in columns:
        found.add_column(column, overflow="fold", no_wrap=column in ("task", "base"))
    return found


def print_table(found: Table) -> None:
    """Print a table, wide where nobody watches."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(found)
