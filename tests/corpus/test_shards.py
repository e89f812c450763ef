from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.corpus.shards import ShardWriter, TokenShards, token_dtype
from metier.errors import MetierError


def write(folder: Path, documents: list[list[int]], *, vocabulary: int = 1000, shard_tokens: int = 1 << 20) -> None:
    with ShardWriter(
        folder, vocabulary=vocabulary, end=0, tokenizer_sha256="t" * 64, shard_tokens=shard_tokens
    ) as writer:
        for number, ids in enumerate(documents):
            writer.add(ids, id=f"d{number}", bytes=3 * len(ids), date="2020-01-02" if number % 2 else None)


@settings(max_examples=25, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(1, 99_999), max_size=30), max_size=20),
    shard_tokens=st.integers(1, 40),
    wide=st.booleans(),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], shard_tokens: int, wide: bool
) -> None:
    vocabulary = 100_000 if wide else 60_000
    documents = [[i % vocabulary for i in ids] for ids in documents]
    folder = tmp_path_factory.mktemp("shards") / "train" / "a"
    write(folder, documents, vocabulary=vocabulary, shard_tokens=shard_tokens)
    shards = TokenShards.open(folder)
    flat = [i for ids in documents for i in [*ids, 0]]
    assert (shards.tokens, shards.documents) == (len(flat), len(documents))
    assert shards.read(0, shards.tokens).tolist() == flat
    assert shards.read(0, shards.tokens).dtype == np.int64
    for number, ids in enumerate(documents):
        assert shards.document(number).tolist() == [*ids, 0]
    assert shards.bytes.tolist() == [3 * len(ids) for ids in documents]
    assert shards.ids() == [f"d{number}" for number in range(len(documents))]
    for start in range(0, len(flat), 7):
        assert shards.read(start, min(11, len(flat) - start)).tolist() == flat[start : start + 11]
    with pytest.raises(IndexError):
        shards.read(len(flat), 1)


def test_format_is_the_smallest_that_holds_every_id() -> None:
    assert token_dtype(65_535).itemsize == 2
    assert token_dtype(65_536).itemsize == 4


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    documents = [[n % 900 + 1, 2, 3] for n in range(10_000)]
    write(tmp_path / "a", documents, shard_tokens=5000)
    write(tmp_path / "b", documents, shard_tokens=5000)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert len(files) == 10
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize("name", ["tokens-00000.bin", "tokens-00001.bin", "documents.parquet", "index.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "longer", "missing"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "train" / "a"
    write(folder, [[1, 2, 3]] * 10, shard_tokens=20)
    path = folder / name
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    changed = {"cut": bytes(data[:-1]), "flip": bytes(data), "longer": path.read_bytes() + b"\0"}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    with pytest.raises(MetierError) as caught:
        TokenShards.open(folder)
    assert name in str(caught.value)
    assert "metier curate" in str(caught.value)


def test_an_id_outside_the_vocabulary_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path / "a", [[1, 2]])
    with pytest.raises(MetierError, match="outside a vocabulary of 1,000"):
        write(tmp_path / "a", [[3], [1000]])
    assert TokenShards.open(tmp_path / "a").document(0).tolist() == [1, 2, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
