"""Every score that the documentation states stands in a file that a command wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "src/metier/tasks/data/README.md"]
FIGURE = re.compile(r"(?<![\d.])[-+]?\d\.\d{3}(?![\d.])")


def test_results_are_of_runs() -> None:
    files = sorted((ROOT / "docs" / "results").glob("*.json"))
    assert files
    for file in files:
        found = json.loads(file.read_text(encoding="utf-8"))
        assert found["run"] == file.stem
        assert found["scores"] or found["mixes"]
        assert all(one["device"]["cpu"] for one in found.get("models", {"": found}).values())


@pytest.mark.parametrize("page", PAGES)
def test_a_stated_score_was_measured(page: str) -> None:
    measured = {
        f"{abs(value):.3f}"
        for file in (ROOT / "docs" / "results").glob("*.json")
        for value in _numbers(json.loads(file.read_text(encoding="utf-8")))
    }
    stated = FIGURE.findall((ROOT / page).read_text(encoding="utf-8"))
    assert stated
    assert [figure for figure in stated if figure.lstrip("+-") not in measured] == []


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in _numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [float(value)] if isinstance(value, float) else []
