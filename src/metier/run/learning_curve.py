"""``metier curve``: the same recipe from ever more examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metier.errors import MetierError
from metier.recipe import Recipe, load_recipe
from metier.report import write_report
from metier.report.read import read_run
from metier.run.again import FEWEST_STEPS, check_sizes, from_fewer
from metier.run.data import prepare_data
from metier.run.pipeline import carry_out, run
from metier.run.progress import console
from metier.run.record import training_data


def curve(
    recipe_path: Path,
    *,
    sizes: Sequence[int] | None = None,
    out: Path | None = None,
    data_root: Path | None = None,
    offline: bool = False,
) -> Path:
    """Carry out a recipe from ever more examples: at what size does fine-tuning start to win?

    Returns:
        ``evidence/curve.json`` of the run directory, whose report shows it as a plot.
    """
    recipe = load_recipe(recipe_path)
    recipe.needed_task(recipe_path)
    if recipe.mix:
        raise MetierError(
            "a curve is of one task: its smaller points would lack the tasks mixed in",
            where=f"{recipe_path}, field 'mix'",
            fix="leave mix out of the recipe for the curve",
        )
    asked = sizes or (recipe.curve.sizes if recipe.curve else None)
    if asked:  # before the whole recipe is carried out
        data = prepare_data(recipe, data_root=data_root, lock=None, offline=offline)
        check_sizes(asked, len(data.part("train")))
    path = run(recipe_path, out=out, data_root=data_root, offline=offline)
    found = read_run(path)

    def carry(smaller: Recipe, folder: Path) -> Path:
        console.print(f"[bold]from {smaller.split.most_train or count} examples, {smaller.adapt.method}[/]")
        return carry_out(smaller, folder, data_root=data_root, offline=offline)

    count = sum(found.splits["counts"]["train"].values())
    # with the settings that a search chose
    settings = Recipe.model_validate(found.manifest["recipe"])
    steps = found.manifest["training"].get("steps", FEWEST_STEPS)
    if steps < FEWEST_STEPS and not settings.adapt.steps:
        console.print(f"  note: the recipe itself takes {steps} steps, smaller sets are given {FEWEST_STEPS} or more")
    sizes = sizes or (settings.curve.sizes if settings.curve else None)
    labels = [] if found.task["kind"] != "classification" else found.task["labels"]
    test = training_data(path, settings, found.splits["hash"], data_root, offline).part("test")
    target = from_fewer(settings, path, found.task["name"], found.metric, count, carry, sizes, labels, test)
    write_report(path)
    return target
