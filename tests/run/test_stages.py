"""The run directory: what a killed process left is cleared when its lock is taken, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from metier.errors import MetierError
from metier.run.stages import open_run


def test_what_a_killed_process_left_is_cleared_by_the_next_that_holds_the_run(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / ".step-000015.xvk0lbty.tmp"
    (tmp_path / "checkpoints" / ".best.q1w2e3r4.old" / "old").mkdir(parents=True)
    left.mkdir()
    with FileLock(tmp_path / ".lock"), pytest.raises(MetierError, match="in use"), open_run(tmp_path):
        pass
    assert left.exists()
    with open_run(tmp_path):
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best"]


def _fail(path: Path, wrote: str | None = None) -> None:
    with open_run(path) as directory:
        if wrote:
            (directory.path / wrote).write_text("{}")
        raise MetierError("the file does not exist")


def test_a_fault_before_the_first_stage_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(MetierError):
        _fail(tmp_path / "run", "lock.json")
    assert not (tmp_path / "run").exists()


def test_a_fault_leaves_a_directory_that_was_there_or_holds_work(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name, wrote in (("mine", None), ("run", "recipe.yaml")):
        with pytest.raises(MetierError):
            _fail(tmp_path / name, wrote)
        assert (tmp_path / name).is_dir()
