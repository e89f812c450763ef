"""A run beside published systems."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from metier import cli
from metier.errors import MetierError
from metier.files import write_json
from metier.report.compare import compare
from metier.report.published import OTHER, OWN_ROWS, SAME, Beside, beside
from metier.report.read import read_run
from tests.report.rundir import TASK, build


def change(run: Path, protocol: dict[str, Any] | None, score: tuple[float, float, float] = (0.88, 0.86, 0.90)) -> Path:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["task"]["protocol"] = protocol
    write_json(run / "manifest.json", manifest)
    scores = json.loads((run / "evidence/scores.json").read_text())
    value, low, high = score
    mine = {"value": value, "low": low, "high": high, "n": 1212}
    scores[TASK]["specialist"]["metrics"]["weighted_f1"] = mine
    write_json(run / "evidence/scores.json", scores)
    return run


def line(lines: list[Beside], system: str) -> Beside:
    return next(found for found in lines if found.system.startswith(system))


def test_on_the_same_rows_a_difference_is_said(tmp_path: Path) -> None:
    run = change(build(tmp_path), {"name": "fingpt", "rows": "same"})
    lines = beside(run)
    assert (lines[0].system, lines[0].rows, lines[0].verdict) == ("Specialist", OWN_ROWS, "")
    assert lines[0].cost is not None
    assert "Wh" in lines[0].cost
    fingpt = line(lines, "FinGPT v3.3")
    assert (fingpt.rows, fingpt.verdict, fingpt.n, fingpt.cost) == (SAME, "tie", 1212, "17.25 h, $17.25")
    assert fingpt.approximate
    assert line(lines, "FinGPT v3.1.2").verdict == "better"
    assert line(lines, "BloombergGPT").verdict == f"better ({OTHER})"
    assert line(lines, "GPT-4, prompted").verdict == f"not ranked: no interval ({OTHER})"
    assert (
        line(beside(change(run, {"name": "fingpt", "rows": "same"}, (0.7, 0.68, 0.72))), "FinGPT v3.3").verdict
        == "worse"
    )


@pytest.mark.parametrize("protocol", [None, {"name": "metier", "rows": "own"}, {"name": "bloomberg", "rows": "own"}])
def test_nothing_is_ranked_across_rows_without_the_mark(tmp_path: Path, protocol: dict[str, Any] | None) -> None:
    lines = beside(change(build(tmp_path), protocol))
    published = [found for found in lines if found.origin == "published"]
    assert len(published) > 10
    assert {found.rows for found in published} == {OTHER}
    assert all(found.verdict.endswith(f"({OTHER})") for found in published)


def test_the_runs_own_baselines_are_judged_by_their_paired_tests(tmp_path: Path) -> None:
    run = build(tmp_path)
    own = [found for found in beside(run) if found.origin == "run"]
    assert own[0].outcome is None
    expected = [compare(read_run(run), system).outcome for system in ("majority", "tfidf", "base", "base-fewshot")]
    assert [found.outcome for found in own[1:]] == expected
    assert expected[0] == "better"
    assert [found.parameters for found in own] == [136_957_248, None, None, 134_515_008, 134_515_008]


def test_the_shots_and_threads_of_the_run_itself(tmp_path: Path) -> None:
    run = build(tmp_path)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["stages"]["base-fewshot"]["shots"] = ["positive", "neutral"]
    manifest["device"]["threads"] = 1
    write_json(run / "manifest.json", manifest)
    lines = beside(run)
    assert [line(lines, system).shots for system in ("Base, few-shot", "Most frequent")] == [2, None]
    assert str(lines[0].hardware).endswith(", 1 thread")


def test_a_task_without_a_score_or_without_figures(tmp_path: Path) -> None:
    run = build(tmp_path)
    with pytest.raises(MetierError, match="no score on 'fiqa-sentiment'") as error:
        beside(run, "fiqa-sentiment")
    assert TASK in str(error.value.fix)
    scores = json.loads((run / "evidence/scores.json").read_text())
    write_json(run / "evidence/scores.json", {**scores, "own": scores[TASK]})
    with pytest.raises(MetierError, match="no published figures are known for 'own'") as error:
        beside(run, "own")
    assert "--task NAME" in str(error.value.fix)
    assert TASK in str(error.value.fix)
    write_json(run / "evidence/scores.json", {**scores, f"{TASK}-allagree": scores[TASK]})
    with pytest.raises(MetierError, match="are of other rows") as error:
        beside(run, f"{TASK}-allagree")
    assert error.value.fix == f"metier compare RUN --task {TASK}"


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = change(build(tmp_path), {"name": "fingpt", "rows": "same"})
    monkeypatch.setattr(sys, "argv", ["metier", "compare", str(run), "--json"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["system"] == "Specialist"
    assert {"verdict", "source", "notes", "low", "parameters"} <= set(rows[-1])
    monkeypatch.setattr(sys, "argv", ["metier", "compare", str(run)])
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().out
    assert "not the same rows" in shown
    assert "BloombergGPT (5 shots)" in shown
    assert "50,558,868,480" in shown
    assert "FinBERT: it was trained on PhraseBank" in shown
    assert shown.count("training rows were repeated") == 1  # of ten systems
