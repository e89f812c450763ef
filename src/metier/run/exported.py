"""What ``metier tasks export`` writes: a task of the catalogue, or what a recipe or a run tests on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from metier.errors import MetierError
from metier.recipe import load_recipe
from metier.run.data import prepare_data
from metier.run.record import run_record, training_data
from metier.tasks import Loaded, load_task, names


def exported(
    named: str, variant: str | None = None, *, data_root: Path | None, offline: bool
) -> tuple[Loaded, str | None]:
    """The task that ``named`` stands for, and its variant; of a recipe or a run its test part, as it was split.

    Errors: :class:`MetierError` for what is none of them, a run whose data has changed, a variant beside a recipe.
    """
    path = Path(named)
    if named in names() or not (path.is_dir() or path.suffix in (".yaml", ".yml")):
        return load_task(named, variant, data_root=data_root, offline=offline), variant
    if variant:
        raise MetierError("a recipe says itself which variant it learns", where="--variant", fix="leave it out")
    if path.is_dir():
        recipe, kept = run_record(path)
        data = training_data(path, recipe, kept, data_root, offline)
    else:
        recipe = load_recipe(path)
        recipe.needed_task(path)
        data = prepare_data(recipe, data_root=data_root, lock=None, offline=offline)
    told = list(data.loaded.warnings)
    if shots := data.protocol["shots"]:
        told.append(f"the run shows {shots} solved examples before each question, this task shows none")
    tested = [replace(example, split="test") for example in data.part("test")]
    return replace(data.loaded, examples=tested, warnings=told), recipe.needed_task().variant
