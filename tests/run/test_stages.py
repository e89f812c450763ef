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


def test_a_stage_is_done_again_only_for_something_else_or_an_output_that_is_gone(tmp_path: Path) -> None:
    out, done = tmp_path / "out", []

    def work() -> dict[str, float]:
        done.append(out.write_text("x"))
        return {"seconds": 9.0}

    with open_run(tmp_path) as directory:
        assert [directory.stage("s", reads, [out], work) for reads in ("a", "a", "b")] == [True, False, True]
    with open_run(tmp_path) as directory:
        assert [directory.is_stale("s", reads) for reads in ("a", "b")] == [True, False]
        assert not directory.is_stale("another", "a")
        assert directory.manifest["stages"]["s"]["seconds"] == 9.0  # of all its attempts
        assert not directory.stage("s", "b", [out], work)
        out.unlink()
        assert directory.stage("s", "b", [out], work)
        directory.forget("s")
        assert directory.stage("s", "b", [out], work)
    assert len(done) == 4


def test_a_stage_that_fails_is_not_done(tmp_path: Path) -> None:
    def fail() -> None:
        raise MetierError("no")

    with open_run(tmp_path) as directory:
        with pytest.raises(MetierError):
            directory.stage("s", "a", [], fail)
        assert directory.stage("s", "a", [], lambda: None)
