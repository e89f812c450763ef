"""What `metier validate` finds before any time is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.run.preflight import preflight
from tests.toy import make_base, write_recipe


def test_it_tells_balance_lengths_and_costs(toy_base: Path, tmp_path: Path) -> None:
    found = preflight(write_recipe(tmp_path, toy_base), data_root=None, offline=True)
    assert {part: sum(counts.values()) for part, counts in found.balance().items()} == {
        "train": 168, "validation": 24, "test": 48,
    }  # fmt: skip
    assert len(found.lengths) == 168
    assert found.parameters == 73_200 - 12_288
    assert found.train_seconds is not None
    assert 0 < found.train_seconds < 60
    assert 0 < found.memory_gb < 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("spoil", ["architecture", "weights"])
def test_a_base_that_cannot_be_trained_is_found_before_training(tmp_path: Path, spoil: str) -> None:
    base = make_base(tmp_path / "base")
    if spoil == "weights":
        (base / "model.safetensors").write_bytes(b"half")
    else:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaModel"]}))
    with pytest.raises(MetierError) as error:
        preflight(write_recipe(tmp_path, base), data_root=None, offline=True)
    assert str(base) in str(error.value)
