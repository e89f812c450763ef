"""Every shipped recipe is read against today's schema; the ones that need no published data are prepared in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metier.recipe import load_recipe
from metier.run.data import prepare_data
from metier.run.mixture import mix_tasks
from metier.run.pipeline import run
from metier.tasks import names

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


def _has_published_data(path: Path) -> bool:
    task = load_recipe(path).task
    return task is not None and task.file is None


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
        "train": 1041,
        "validation": 139,
        "test": 208,
    }


def test_phrasebank_recipe_splits_its_data(data_root: Path) -> None:
    recipe = load_recipe(RECIPES[0].parent / "finance-sentiment.yaml")
    data = prepare_data(recipe, data_root=data_root, lock=None, offline=True)
    assert len(data.part("test")) == 967
    assert data.duplicates["contradictory_texts"] == 2


@pytest.mark.parametrize("path", [p for p in RECIPES if _has_published_data(p)], ids=lambda path: path.stem)
def test_a_shipped_recipe_finds_its_data(path: Path, data_root: Path) -> None:
    recipe = load_recipe(path)
    where: dict[str, Any] = {"data_root": data_root, "lock": None, "offline": False}
    data = prepare_data(recipe, **where)
    assert data.part("test")
    if recipe.mix:
        assert all(drawn["an_epoch"] for drawn in mix_tasks(recipe, data, **where).drawn.values())


def test_the_tiny_pretraining_recipe_runs(data_root: Path, tmp_path: Path) -> None:
    out = run(RECIPES[0].parent / "bloomberggpt-tiny.yaml", out=tmp_path / "tiny", data_root=data_root, offline=True)
    ledger = json.loads((out / "ledger.json").read_text())
    assert {name: row["documents"] for name, row in ledger["sources"].items()} == {"finance": 114, "philosophy": 64}
    found = json.loads((out / "evidence" / "mixes.json").read_text())
    assert found["tokens"] == {"general": 19968, "finance": 19968, "mixed": 19968}
    finance = found["domains"]["finance"]["mixed_less"]["general"]
    assert finance["high"] < 0, "a model that has seen finance knows it better than one that has not"
    assert "What mixing bought" in (out / "report.html").read_text()
