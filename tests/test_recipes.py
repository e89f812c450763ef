"""Every shipped recipe is read against today's schema; the ones that need no published data are prepared in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from metier.recipe import load_recipe
from metier.run.data import prepare_data
from metier.tasks import names

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_valid(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    if recipe.task is None:
        assert recipe.plan or recipe.corpus
    else:
        assert recipe.task.file or recipe.task.name in names()


def test_the_starter_recipe_splits_its_data() -> None:
    recipe = load_recipe(RECIPES[0].parent / "finance-starter.yaml")
    data = prepare_data(recipe, data_root=None, lock=None, offline=True)
    assert {part: len(rows) for part, rows in data.split.parts.items()} == {
        "train": 1013,
        "validation": 135,
        "test": 202,
    }


def test_phrasebank_recipe_splits_its_data(data_root: Path) -> None:
    recipe = load_recipe(RECIPES[0].parent / "finance-sentiment.yaml")
    data = prepare_data(recipe, data_root=data_root, lock=None, offline=True)
    assert len(data.part("test")) == 967
    assert data.duplicates["contradictory_texts"] == 2
