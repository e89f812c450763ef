"""Verbs: parse, call, print."""

from __future__ import annotations

import os
import sys
import warnings

import typer

from metier.cli import (
    asking,
    corpus,
    finding,
    guarding,
    labelling,
    making,
    overlapping,
    planning,
    rubric,
    serving,
    tokenizer,
    using,
)  # fmt: skip
from metier.cli.shared import app
from metier.errors import MetierError

# importing these adds their verbs to the app
VERBS = (
    asking, corpus, finding, guarding, labelling, making, overlapping, planning, rubric, serving, tokenizer, using,
)  # fmt: skip
__all__ = ["VERBS", "app", "main"]


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
    except OSError as error:
        import errno

        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or "a temporary file"
            typer.echo(
                str(MetierError("metier: the disk is full", where=where, fix="free some space, run it again")), err=True
            )
            sys.exit(2)
        raise
