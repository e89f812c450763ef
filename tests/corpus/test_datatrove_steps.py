"""datatrove's executors do again what has changed, and go on after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metier.corpus.work import Work
from tests.corpus.both_ways import local_bytes, same_work
from tests.run.test_curate import contents, speeches, write_tokenizer

pytest.importorskip("datatrove", reason="needs the extra scale")


def carry_out(root: Path) -> Work:
    from datatrove.executor import LocalPipelineExecutor

    from metier.corpus.datatrove_steps import run_with

    def make(pipeline: Any, tasks: int, logs: str) -> Any:
        return LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=1, logging_dir=logs)

    work = same_work(root, root / "trove")
    run_with(work, make)
    return work


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path)
    speeches(tmp_path / "speeches", 10)
    return tmp_path


def test_changed_inputs_are_done_again_and_unchanged_ones_are_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = carry_out(root).entries()["speeches"]
    speeches(root / "speeches", 20)
    work = carry_out(root)
    assert work.entries()["speeches"]["read"]["documents"] == 2 * first["read"]["documents"]
    assert contents(work.tokens) == local_bytes(root)
    for number in range(10, 20):  # back to what was there first
        next((root / "speeches").glob(f"*-{number}.txt")).unlink()
    assert carry_out(root).entries()["speeches"] == first
    monkeypatch.setattr(Work, "clean", lambda *_: pytest.fail("done again"))
    assert carry_out(root).entries()["speeches"] == first


def test_an_interruption_while_parts_are_joined(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.corpus import pack

    with monkeypatch.context() as stopped:
        stopped.setattr(pack, "write_index", lambda *_: pytest.fail("stopped"))  # after the files were moved
        with pytest.raises(pytest.fail.Exception):
            carry_out(root)
    assert contents(carry_out(root).tokens) == local_bytes(root)
