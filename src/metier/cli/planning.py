"""Planning: how large, on how much text, on what, for how long, at what price; nothing is trained."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metier.cli.shared import app, new_table, print_table
from metier.errors import MetierError

if TYPE_CHECKING:
    from metier.run.plan import Planned


@app.command()
def plan(
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE]", help="A recipe with a `plan`.")] = None,
    gpu_hours: Annotated[float | None, typer.Option(help="Budget: hours × devices.")] = None,
    flops: Annotated[float | None, typer.Option(help="Budget: FLOPs of training, such as 1e17.")] = None,
    dollars: Annotated[float | None, typer.Option(help="Budget: at the device's price.")] = None,
    hours: Annotated[float | None, typer.Option(help="Budget: until the deadline.")] = None,
    parameters: Annotated[float | None, typer.Option(help="The model's size, such as 10e6.")] = None,
    family: Annotated[str | None, typer.Option(help="bloom or llama.")] = None,
    vocabulary: Annotated[int | None, typer.Option(help="Tokens in the vocabulary.")] = None,
    data_tokens: Annotated[float | None, typer.Option(help="Distinct tokens there are.")] = None,
    epochs: Annotated[float | None, typer.Option(help="How often they may be seen; once if left out.")] = None,
    sequence_length: Annotated[int | None, typer.Option(help="Tokens of a sequence.")] = None,
    device: Annotated[str | None, typer.Option(help="this-machine, a100-40gb, h100-80gb, …")] = None,
    devices: Annotated[int | None, typer.Option(help="How many.")] = None,
    tflops: Annotated[float | None, typer.Option(help="Sustained TFLOP/s of one device.")] = None,
    dollars_per_hour: Annotated[float | None, typer.Option(help="Price of one device.")] = None,
    law: Annotated[str | None, typer.Option(help="chinchilla-corrected, chinchilla-published, …")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Plan a pretraining on paper: size, shape, tokens, steps, FLOPs, time, memory, cost, each with its formula.

    From a recipe's `plan`, or from a budget or a size: `metier plan --hours 8`, `metier plan --parameters 10e6`.
    Exit code 2 where the plan does not fit, with what would.
    """
    values = {
        "budget": _given(gpu_hours=gpu_hours, flops=flops, dollars=dollars, hours=hours),
        "model": _given(parameters=parameters, family=family, vocabulary=vocabulary),
        "data": _given(tokens=data_tokens, epochs=epochs),
        "schedule": _given(sequence_length=sequence_length),
        "hardware": _given(device=device, devices=devices, tflops=tflops, dollars_per_hour=dollars_per_hour),
        **_given(law=law),
    }
    values = {name: value for name, value in values.items() if value}
    if bool(recipe) == bool(values):
        raise MetierError(
            "a plan needs a recipe, or numbers, not both" if recipe else "a plan needs a recipe or numbers",
            fix="metier plan RECIPE, or metier plan --hours 8, or metier plan --parameters 10e6",
        )
    from metier.run.plan import plan_options, plan_recipe

    found = plan_recipe(recipe) if recipe else plan_options(values)
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        _show(found)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    found.refuse()


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _show(found: Planned) -> None:
    for section, rows in groupby(found.lines, key=lambda line: line.section):
        typer.echo(f"\n{section}")
        table = new_table("", "", "formula", "source")
        for row in rows:
            table.add_row(f"  {row.name}", row.value, row.formula, row.source)
        print_table(table)
    _show_ratio(found)
    _show_machine(found)


def _show_ratio(found: Planned) -> None:
    ratios = found.ratios
    typer.echo(
        f"\nThe published Chinchilla constants do not give 20 tokens a parameter: at this budget they give "
        f"{ratios['chinchilla-published']:.1f}, the corrected ones {ratios['chinchilla-corrected']:.1f}, "
        f"BloombergGPT's regressions {ratios['bloomberggpt-a1']:.1f} (A1) and {ratios['bloomberggpt-a2']:.1f} (A2); "
        f"this plan has {found.plan.tokens / found.plan.parameters:.1f}."
    )


def _show_machine(found: Planned) -> None:
    from metier.planning.machine import RECOMMENDED
    from metier.planning.words import count, duration, gigabytes

    here = found.here
    typer.echo(f"\nthis machine: {here.device.cpu}, {here.device.memory_gb:g} GB, {here.device.why}")
    if here.rate is None or here.seconds is None:
        typer.echo(f"  the rate of {here.device.device} is not measured: no size is recommended")
        return
    fits = "fits its memory" if here.fits else "does not fit its memory"
    typer.echo(f"  the plan {fits} and would take {duration(here.seconds)} here ({here.rate.tflops_source})")
    table = new_table("  time", "parameters", "layers × width", "heads", "vocabulary", "tokens", "memory")
    for hours, plan in here.recommended.items():
        shape, mark = plan.shape, " (recommended: overnight)" if hours == RECOMMENDED else ""
        table.add_row(
            f"  {hours} h{mark}", count(plan.parameters), f"{shape.layers} × {shape.hidden}",
            f"{shape.heads} × {shape.head_dim}", f"{shape.vocabulary:,}", count(plan.tokens),
            gigabytes(plan.memory.total),
        )  # fmt: skip
    print_table(table)
