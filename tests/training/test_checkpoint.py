"""Checkpoints: whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from metier.errors import MetierError
from metier.training import checkpoint


def test_one_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space")

    checkpoint.save(tmp_path, "best", {"a": torch.ones(2)}, {"key": "k"})
    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(MetierError, match="disk is full"):
        checkpoint.save(tmp_path, "best", {"a": torch.zeros(2)}, {"key": "k"})
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    tensors, _ = checkpoint.load(tmp_path / "best", dict)
    assert torch.equal(tensors["a"], torch.ones(2))


def test_the_newest_whole_one_of_the_same_run_is_found(tmp_path: Path) -> None:
    for step, key in enumerate(("mine", "mine", "mine", "mine", "other")):
        checkpoint.save(tmp_path, f"step-{step}", {"a": torch.ones(2)}, {"key": key})
    (tmp_path / "step-3" / "state.safetensors").unlink()
    (tmp_path / "step-2" / "state.safetensors").write_bytes(b"half")
    assert checkpoint.newest(tmp_path, "mine") == tmp_path / "step-1"
    assert checkpoint.newest(tmp_path, "nobody's") is None
    assert checkpoint.last(tmp_path) == "step-4"
    checkpoint.keep_newest(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-3", "step-4"]


def test_from_a_million_steps_on_the_newest_is_still_the_newest(tmp_path: Path) -> None:
    for step in (999_998, 999_999, 1_000_000):
        checkpoint.save(tmp_path, f"step-{step:06d}", {"a": torch.ones(2)}, {"key": "k"})
    assert checkpoint.newest(tmp_path, "k") == tmp_path / "step-1000000"
    assert checkpoint.last(tmp_path) == "step-1000000"
    checkpoint.keep_newest(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1000000"]
