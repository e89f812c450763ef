"""Units of work: what is done counts, and what belongs to no source is removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from metier.corpus.source import Source
from metier.corpus.work import Work, spread
from metier.errors import MetierError


def touch_or_fail(file: Path | None, seconds: float) -> None:
    time.sleep(seconds)
    if file is None:
        raise ValueError("the third")
    file.touch()


@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_done_before_an_error_is_told(tmp_path: Path, processes: int) -> None:
    done: list[int] = []
    files = [tmp_path / "0", tmp_path / "1", None, tmp_path / "3"]
    jobs = [(touch_or_fail, (file, 0.3 if number == 3 else 0)) for number, file in enumerate(files)]
    with pytest.raises(ValueError, match="the third"):
        spread(jobs, processes, done.append)
    assert sorted(done) == sorted(int(path.name) for path in tmp_path.iterdir())
    assert {0, 1} <= set(done)


def test_a_process_that_the_system_ends_is_told() -> None:
    with pytest.raises(MetierError, match=r"killed from outside[\s\S]*--processes 1"):
        spread([(os._exit, (1,)), (time.sleep, (0,))], 2, lambda _: None)


def test_what_belongs_to_no_source_and_no_part_is_removed(tmp_path: Path) -> None:
    mine = ["clean/a/0.jsonl.zst", "duplicates/a/0.npy", "duplicates/a/samples.json", "tokens/train/a/index.json"]
    mine += ["tokens/a.json", "fetched/a/x.jsonl", "inputs.json"]
    others = ["clean/a/1.jsonl.zst", "duplicates/a/1.npy", "clean/b/0.jsonl.zst", "duplicates/b/samples.json"]
    others += ["tokens/later/b/index.json", "tokens/b.c.json", "fetched/b/x.jsonl", "parts/b/0/counts.json"]
    for name in [*mine, *others]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    Work(tmp_path, (Source("a", ()),), None).remove_others()
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted(mine)
