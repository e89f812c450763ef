"""Every score that the documentation states stands in a file that a command wrote; its commands and links exist."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import typer

from metier.cli import app

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/findings.md", "src/metier/tasks/data/README.md"]
FIGURE = re.compile(r"(?<![\d.])[-+]?\d\.\d{3}(?![\d.])")


def test_results_are_of_runs() -> None:
    files = sorted((ROOT / "docs" / "results").glob("*.json"))
    assert files
    for file in files:
        found = json.loads(file.read_text(encoding="utf-8"))
        assert found["run"] == file.stem
        assert found["scores"] or found["mixes"]
        assert all(one["device"]["cpu"] for one in found.get("models", {"": found}).values())


def test_the_tables_of_results_are_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "scores.py"))["page"]()
    assert page == (ROOT / "docs" / "results" / "README.md").read_text(encoding="utf-8"), "run: python docs/scores.py"
    assert "| financial-phrasebank | 967 | weighted_f1 | 0.442 [0.406, 0.480] | 0.788 [0.761, 0.814] |" in page


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


@pytest.mark.parametrize("page", [*PAGES, "benchmarks/README.md", "docs/recipe.md", "docs/results/README.md"])
def test_what_a_page_points_to_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    named = re.findall(r"`((?:docs|recipes|benchmarks|notebooks|src)/[\w./-]+)`", text)
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_a_command_in_the_readme_is_one() -> None:
    lines = re.findall(r"^metier (.+?)(?:  +#.*)?$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) > 30
    for line in lines:
        found: Any = typer.main.get_command(app)
        words = line.split()
        while words and words[0] in getattr(found, "commands", {}):
            found = found.commands[words.pop(0)]
        assert not hasattr(found, "commands"), line
        known = {"--help", *(option for parameter in found.params for option in parameter.opts)}
        assert {word for word in words if word.startswith("--")} <= known, line


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in _numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [float(value)] if isinstance(value, float) else []
