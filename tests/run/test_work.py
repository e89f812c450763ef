"""What the stages share."""

from __future__ import annotations

from pathlib import Path

import pytest

from metier.recipe import Recipe
from metier.run.stages import RunDirectory
from metier.run.work import Work


@pytest.mark.parametrize(
    ("dtype", "why"), [("auto", "float32, the format of the run's first start"), ("float32", "asked for (measured: ")]
)
def test_a_second_start_says_why_its_number_format_is_kept(tmp_path: Path, dtype: str, why: str) -> None:
    asked = {"name": "x", "base": "b", "task": {"name": "finance-starter"}, "device": "cpu", "dtype": dtype}
    work = Work(Recipe.model_validate(asked), RunDirectory(tmp_path), None, True)
    work.directory.record(device={"asked": ["cpu", dtype], "dtype": "float32"})
    device = work._device()
    assert device.dtype == "float32"
    assert device.why.startswith(why)
