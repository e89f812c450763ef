"""Abstaining, sets and safety on the page and in the card."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from metier.evaluation.evidence import merge_scores, read_predictions, read_scores
from metier.files import write_json
from metier.recipe.selective import Selective
from metier.report import write_card, write_report
from metier.report.read import read_run
from metier.report.selective import deferral, demand, safety, sets
from metier.run.selective import calibrate_answers
from tests.report.rundir import LABELS, TASK, Case, build

CASE = Case(n=500, skill={"tfidf": 1.15, "base": 0.05, "base-fewshot": 0.4, "specialist": 2.6})


def demanded(root: Path, asked: Selective | None, case: Case = CASE) -> Path:
    """A run whose recipe demanded ``asked``, from simulated answers and real statistics."""
    path = build(root, case)
    predictions = read_predictions(path / "evidence" / "predictions" / f"{TASK}.specialist.parquet")
    _, measured = calibrate_answers(predictions, LABELS, 1.0, asked, 0)
    scores = path / "evidence" / "scores.json"
    merge_scores(scores, TASK, "specialist", read_scores(scores)[TASK]["specialist"] | measured)
    return path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demanded(tmp_path_factory.mktemp("kept"), Selective(accuracy=0.9))


def plain(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", text).replace("&nbsp;", " ").replace("\N{NO-BREAK SPACE}", " ").split())


def test_a_demand_stands_on_the_page_and_in_the_card_with_what_the_test_part_says(kept: Path) -> None:
    found = read_run(kept).ok("specialist")
    assert found
    entry = found["selective"]
    assert entry["threshold"] is not None
    accuracy = entry["test"]["accuracy"]
    assert accuracy["value"] >= 0.9
    said = f"with an accuracy of {accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
    page, card = plain(write_report(kept).read_text()), plain(write_card(kept).read_text())
    for text in (page, card):
        assert "The recipe demands an accuracy of 0.90" in text
        assert said in text


def test_the_three_certainties_and_medpalms_point_are_compared(kept: Path) -> None:
    view = deferral(read_run(kept))
    assert view
    assert [row["by"] for row in view["rows"]] == ["probability", "margin", "entropy"]
    assert not view["same"]
    assert 'class="band"' in view["figure"]
    assert view["figure"].count("<path") == 4
    page = plain(write_report(kept).read_text())
    assert "accuracy at 45 % deferred" in page
    point = view["rows"][0]["point"]["accuracy"]
    assert f"{point['value']:.3f} [{point['low']:.3f}, {point['high']:.3f}]" in page


def test_sets_are_shown_with_their_guarantee_and_what_it_does_not_say(kept: Path) -> None:
    view = sets(read_run(kept))
    assert view
    assert view["labels"] == list(LABELS)
    assert len(view["rows"]) == 6
    page, card = plain(write_report(kept).read_text()), plain(write_card(kept).read_text())
    assert "not for each label" in page
    assert "not a promise for each label" in card
    assert view["shown"]["coverage"]["value"] > 0.85


def test_a_demand_that_was_not_met_and_one_that_broke_are_called_so(tmp_path: Path) -> None:
    path = demanded(tmp_path, Selective(accuracy=0.999))
    assert "abstains from everything" in str(demand(read_run(path)))
    scores = path / "evidence" / "scores.json"
    found = json.loads(scores.read_text())
    test = {"coverage": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 500}, "held": "no",
            "accuracy": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 250}}  # fmt: skip
    found[TASK]["specialist"]["selective"] |= {"threshold": 0.8, "test": test}
    write_json(scores, found)
    assert "do not rely on it" in str(demand(read_run(path)))


def test_without_a_demand_or_a_domain_nothing_is_said_of_them(tmp_path: Path) -> None:
    path = build(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["task"]["domain"] = "own"
    write_json(path / "manifest.json", manifest)
    run = read_run(path)
    assert demand(run) is None
    assert sets(run) is None
    assert safety(run) is None
    page, card = write_report(path).read_text(), write_card(path).read_text()
    assert 'id="safety"' not in page
    assert 'id="sets"' not in page
    assert "## Safety" not in card
    assert "does not replace the judgement" in card


def test_the_notice_stands_above_the_fold_and_the_rates_below(kept: Path) -> None:
    page = write_report(kept).read_text()
    head = plain(page[page.index('<header id="verdict">') : page.index("</header>")])
    assert "This is not investment advice" in head
    view = safety(read_run(kept))
    assert view
    assert "a floor, not a claim of safety" in plain(page)
    recall = view["parts"][0][1]["recall"]
    assert f"{recall['value']:.3f}" in plain(page)
