"""Times beside scores: what does not repeat is never in what does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metier.evaluation import times
from metier.evaluation.evidence import merge_scores, read_predictions, read_scores, write_predictions, write_scores
from tests.evaluation.test_evidence import made


def scores(seconds: float) -> dict[str, Any]:
    asked = {"asked": 2, "seconds": seconds}
    return {
        "task": {
            "base": {"status": "ok", "majority": 0.5, "seconds": seconds, "examples_per_s": 2 / seconds},
            "few": {"status": "ok", "strategy": asked, "seconds": seconds},
            "tfidf": {"status": "failed", "reason": "no text"},
        }
    }


def test_the_same_scores_in_another_time_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "scores.json", tmp_path / "b" / "scores.json"
    write_scores(one, scores(1.0))
    write_scores(other, scores(3.0))
    assert one.read_bytes() == other.read_bytes()
    assert "seconds" not in one.read_text()
    assert (read_scores(one), read_scores(other)) == (scores(1.0), scores(3.0))


def test_one_more_system_keeps_the_times_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_scores(path, scores(1.0))
    merge_scores(path, "task", "specialist", {"status": "ok", "seconds": 4.0})
    merge_scores(path, "task", "base", {"status": "ok"})
    found = read_scores(path)["task"]
    assert found["few"]["strategy"]["seconds"] == 1.0
    assert found["specialist"]["seconds"] == 4.0
    assert "seconds" not in found["base"]


def test_times_that_are_lost_or_of_other_rows_are_none(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_scores(path, scores(1.0))
    for damage in (
        "{",
        "[]",
        '{"task": 5}',
        '{"task": {"base": 5, "few": {"strategy": 5}}}',
        '{"task": {"gone": {"seconds": 1}}}',
    ):
        times.file_of(path).write_text(damage)
        assert "seconds" not in json.dumps(read_scores(path))
    file = tmp_path / "task.base.parquet"
    write_predictions(file, made(5, 1))
    assert [p.seconds for p in read_predictions(file)] == [0.01] * 5
    times.write_seconds(file, [1.0])
    assert [p.seconds for p in read_predictions(file)] == [0.0] * 5
