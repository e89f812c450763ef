"""``metier validate`` of recipes that learn a corpus: what would be read, made and needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpus.prose import prose

Command = Callable[..., tuple[int, str, str]]
SCRATCH = "pretrain: {method: scratch, layers: 2, hidden: 64, heads: 4, tokens: 50000, sequence_length: 64}\n"


def recipe(folder: Path, pretrain: str, more: str = "") -> Path:
    (folder / "notes").mkdir()
    for n in range(3):
        (folder / "notes" / f"{n}.txt").write_text(prose(n, 90), "utf-8")
    path = folder / "r.yaml"
    path.write_text(f"name: bank\ncorpus: {{sources: [notes]}}\ntokenizer: {{vocab_size: 300}}\n{pretrain}{more}")
    return path


def test_what_would_be_learnt_is_told_and_nothing_is_written(tmp_path: Path, command: Command) -> None:
    code, printed, _ = command("validate", recipe(tmp_path, SCRATCH))
    assert code == 0
    size = sum(file.stat().st_size for file in (tmp_path / "notes").iterdir())
    # 12 · layers · hidden² and biases, norms, and one matrix of 300 × 64 (BLOOM)
    weights = 300 * 64 + 2 * 64 + 2 * (12 * 64**2 + 13 * 64) + 2 * 64
    for said in (f"3 files, {size:,} bytes", "at most 300 tokens", f"{weights:,} weights; 50,000 tokens", "GB at the"):
        assert said in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "r.yaml"]


@pytest.mark.parametrize(
    ("pretrain", "says"),
    [
        (SCRATCH.replace("heads: 4", "heads: 5"), "pretrain.hidden"),
        (SCRATCH.replace("64, heads", "8192, heads").replace("layers: 2", "layers: 400"), "smaller model"),
        ("", "3 files"),
    ],
)
def test_what_cannot_be_learnt(tmp_path: Path, command: Command, pretrain: str, says: str) -> None:
    code, printed, told = command("validate", recipe(tmp_path, pretrain))
    assert code == (2 if pretrain else 0)
    assert says in printed + told


def test_files_that_curation_leaves_out_are_counted(tmp_path: Path, command: Command) -> None:
    path = recipe(tmp_path, "")
    for name in ("logo.bin", "deck.pptx"):
        (tmp_path / "notes" / name).write_bytes(b"PK")
    code, printed, _ = command("validate", path)
    assert code == 0
    assert "2 files of formats that are not read are left out (.bin, .pptx)" in printed


def test_a_file_that_is_not_there(tmp_path: Path, command: Command) -> None:
    path = recipe(tmp_path, SCRATCH)
    path.write_text(path.read_text().replace("[notes]", "[nots]"))
    code, _, told = command("validate", path)
    assert code == 2
    assert "nots" in told
