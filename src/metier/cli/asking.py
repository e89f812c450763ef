"""Asking by strategies: what each way of asking scores, buys and costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from metier.cli.shared import DataRoot, Offline, app, new_table, print_table, when_stopped


@app.command()
@when_stopped("ways of asking that were finished are kept: run the same command again")
def ask(
    target: Annotated[str, typer.Argument(metavar="TASK_OR_RUN", help="A task of `metier tasks`, or a run directory.")],
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help="zero-shot, few-shot, chain-of-thought, self-consistency, ensemble-refinement or chain-of-retrieval, "
            "with settings: self-consistency:samples=5,temperature=0.7. Repeat it to compare."
        ),
    ] = None,
    exemplars: Annotated[
        str | None,
        typer.Option(help="Worked examples for chains of thought: a YAML or jsonl file, or usmle, metier's own."),
    ] = None,
    questions: Annotated[int | None, typer.Option(min=1, help="A seeded sample of so many; all if left out.")] = None,
    base: Annotated[str, typer.Option(help="Who is asked a task; a run has its own.")] = "smollm2-135m-instruct",
    variant: Annotated[str | None, typer.Option(help="The task's variant.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens a strategy may spend.")] = None,
    budget_seconds: Annotated[float | None, typer.Option(help="Most seconds a strategy may spend.")] = None,
    max_tokens: Annotated[int, typer.Option(min=32, help="Longest prompt of a task's question.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, max=4 * 10**9, help="Of the sample and of all drawing.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the evidence; runs/ask-<target> if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries of scores.json.")] = False,
    data_root: DataRoot = None,
    offline: Offline = False,
) -> None:
    """Ask a base or a specialist by several strategies, and compare each with zero-shot on the same questions."""
    from metier.recipe.strategies import parse_strategies, with_exemplars
    from metier.run.asking import ask_target

    budget = {"tokens": budget_tokens, "seconds": budget_seconds}
    choices = with_exemplars(parse_strategies(strategy or ["zero-shot"], budget=budget), exemplars)
    entries = ask_target(
        target, choices, questions=questions, base=base, variant=variant, max_tokens=max_tokens, seed=seed,
        out=out or Path("runs") / f"ask-{Path(target).name}", data_root=data_root, offline=offline,
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(entries, ensure_ascii=False))
        return
    table = new_table("system", "score", "n", "- zero-shot", "p", "as stated", "states one", "tokens", "seconds")
    for system, entry in entries.items():
        table.add_row(system, *_cells(entry))
    print_table(table)
    for system, entry in entries.items():
        for line in _notes(entry):
            typer.echo(f"{system}: {line}")


def _cells(entry: dict[str, Any]) -> list[str]:
    about, metrics = entry["strategy"], entry["metrics"]
    score = metrics.get("accuracy") or next(iter(metrics.values()))
    pair = next(iter(entry.get("against", {}).values()), None)
    gap = pair and (pair.get("accuracy") or pair["difference"])
    cells = [
        _figure(score),
        str(about["asked"]),
        _figure(gap, "+.3f") if gap else "-",
        f"{pair['p']:.2g}" if pair else "-",
    ]
    cells += [_figure(about[name]) if name in about else "-" for name in ("free_text_accuracy", "free_text")]
    return [*cells, f"{about['tokens']:,.0f}", f"{about['seconds']:.2f}"]


def _figure(score: dict[str, Any], form: str = ".3f") -> str:
    if score["low"] is None:
        return f"{score['value']:{form}} (no interval)"
    return f"{score['value']:{form}} [{score['low']:{form}}, {score['high']:{form}}]"


def _notes(entry: dict[str, Any]) -> list[str]:
    about = entry["strategy"]
    lines = [f"{about['not_asked']} questions not asked: the budget is used up"] if about["not_asked"] else []
    lines += [f"the middle of {about['truncated']} prompts was left out"] if about["truncated"] else []
    if "order_dependence" in about:
        lines.append(f"the answer changes with the order of the options for {_figure(about['order_dependence'])}")
    if about.get("samples", 1) > 1:
        lines.append(f"first sample alone {_figure(about['single_accuracy'])}, {about['ties']} ties")
    if "cited" in about:
        lines.append(f"answers that cite a passage {_figure(about['cited'])}")
    return lines
