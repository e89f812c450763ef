"""A specialist over HTTP, on this machine."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from metier.cli.shared import Offline, RunPath, app

if TYPE_CHECKING:
    from metier.inference.specialist import Specialist

_LOCAL = ("127.0.0.1", "localhost", "::1")


@app.command()
def serve(
    run_path: RunPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Another address lets other machines ask: no password, no encryption.")
    ] = "127.0.0.1",
    engine: Annotated[str, typer.Option(help="torch, openvino, or auto: the faster of those exported.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    offline: Offline = False,
    abstain_below: Annotated[
        float | None, typer.Option(min=0, max=1, help="Abstain below this probability, whatever the recipe demanded.")
    ] = None,
) -> None:
    """Serve a specialist to this machine: an API (POST /predict) and a page for browsers. Ctrl-C stops.

    Requests that come while the model is busy are answered together in its next batch.
    """
    from metier.serving.server import serve as carry_out

    def ready(specialist: Specialist, address: str) -> None:
        from metier.serving.card import abstains

        if host not in _LOCAL:
            typer.echo(f"warning: whoever reaches {address} may ask: no password, no encryption", err=True)
        typer.echo(f"engine {specialist.engine_reason}", err=True)
        typer.echo(f"abstains: {abstains(specialist.bundle, abstain_below)}", err=True)
        if specialist.notice:
            typer.echo(specialist.notice, err=True)
        typer.echo(f"{address} answers; Ctrl-C stops")

    ended = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    try:
        answered = carry_out(
            run_path, host=host, port=port, engine=engine, device=device, offline=offline,
            abstain_below=abstain_below, ready=ready,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGTERM, ended)
    typer.echo(f"stopped; texts answered: {answered}", err=True)
