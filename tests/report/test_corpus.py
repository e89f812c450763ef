"""What the page and the card of a pretraining say of how it went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metier.report.corpus import Learnt, notes
from metier.report.read import facts


def learnt(**training: Any) -> Learnt:
    usual = {"steps": 400, "best_step": 400, "skipped_steps": 0, "stopped": "completed"}
    return Learnt("mixed", Path(), facts({"training": {**usual, **training}}), {}, [])


@pytest.mark.parametrize(
    ("training", "parts"),
    [
        ({}, []),
        ({"skipped_steps": 2}, ["of 400 steps 2 had a loss or gradient far above the median", "were."]),
        ({"skipped_steps": 10, "stopped": "spike"}, ["ended the training before its time"]),
        ({"best_step": 300}, ["those of step 300 of 400"]),
    ],
)
def test_what_went_otherwise_than_planned_is_said(training: dict[str, Any], parts: list[str]) -> None:
    found = notes(learnt(**training))
    assert len(found) == bool(parts)
    assert all(part in " ".join(found) for part in parts)
