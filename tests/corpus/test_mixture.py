from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.corpus.mixture import BLOCK, Mixture, _permuted
from metier.corpus.shards import ShardWriter, TokenShards
from metier.errors import MetierError


def shards(folder: Path, tokens: int, *, document: int = 7, first: int = 1, vocabulary: int = 60_000) -> TokenShards:
    """Numbered tokens, in documents of ``document`` tokens and an end token."""
    with ShardWriter(folder, vocabulary=vocabulary, end=0, tokenizer_sha256="t") as writer:
        while writer.tokens < tokens:
            ids = np.arange(document) + first + writer.tokens
            writer.add(ids, id=str(writer.documents), bytes=document)
    return TokenShards.open(folder)


@pytest.fixture
def two(tmp_path: Path) -> dict[str, TokenShards]:
    return {"a": shards(tmp_path / "a", 40_000), "b": shards(tmp_path / "b", 8_000, document=3)}


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 3000), seed=st.integers(0, 1 << 40))
def test_an_epoch_is_a_permutation(size: int, seed: int) -> None:
    assert sorted(_permuted(n, size, (seed, 1)) for n in range(size)) == list(range(size))


def test_every_sequence_comes_once_an_epoch_in_another_order(two: dict[str, TokenShards]) -> None:
    mixture = Mixture({"b": two["b"]}, None, 10, seed=3, stop=2)
    size = mixture.sizes[0]
    assert mixture.sequences == 2 * size
    starts = [tuple(mixture.sequence(i).tokens.tolist()) for i in range(2 * size)]
    assert len(set(starts[:size])) == size
    assert sorted(starts[:size]) == sorted(starts[size:])
    assert starts[:size] != starts[size:]


def test_shares_hold_and_never_drift(two: dict[str, TokenShards]) -> None:
    mixture = Mixture(two, {"a": 1, "b": 2}, 16, seed=0, stop="repeat")
    seen = Counter[str]()
    for i in range(3 * BLOCK):
        seen[mixture.sequence(i).source] += 1
        if (i + 1) % BLOCK == 0:
            assert abs(seen["a"] - (i + 1) / 3) <= 1
    epochs = mixture.epochs(3 * BLOCK)
    assert epochs["a"] == seen["a"] / mixture.sizes[0]
    assert epochs["b"] == seen["b"] / mixture.sizes[1]


@pytest.mark.parametrize("weights", [{"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}, None])
def test_the_first_exhausted_source_ends_it_exactly(
    two: dict[str, TokenShards], weights: dict[str, float] | None
) -> None:
    mixture = Mixture(two, weights, 10, seed=1)
    assert mixture.sequences is not None
    endless = Mixture(two, weights, 10, seed=1, stop="repeat")
    used, n = Counter[str](), 0
    while True:
        source = endless.sequence(n).source
        if used[source] == endless.sizes[endless.names.index(source)]:
            break
        used[source] += 1
        n += 1
    assert mixture.sequences == n
    assert max(mixture.epochs(n).values()) == 1
    with pytest.raises(IndexError):
        mixture.sequence(n)
    with pytest.raises(MetierError, match="has run out"):
        Mixture(two, weights, 10, seed=1, stop="error").sequence(n)


def test_a_sequence_depends_on_its_number_alone(two: dict[str, TokenShards]) -> None:
    one, other = (Mixture(two, {"a": 0.3, "b": 0.7}, 32, seed=5, stop="repeat") for _ in range(2))
    forward = [one.sequence(i) for i in range(50)]
    for i in reversed(range(50)):
        assert other.sequence(i).source == forward[i].source
        assert (other.sequence(i).tokens == forward[i].tokens).all()


def test_boundaries_are_where_documents_begin(two: dict[str, TokenShards]) -> None:
    mixture = Mixture(two, None, 32, seed=0)
    for i in range(20):
        found = mixture.sequence(i)
        assert found.tokens.shape == (33,)
        ends = np.flatnonzero(found.tokens == 0)
        expected = [0, *(end + 1 for end in ends if end + 1 < 33)]
        assert found.starts.tolist() == expected


def test_mistakes_are_named(two: dict[str, TokenShards], tmp_path: Path) -> None:
    with pytest.raises(MetierError, match="'c', which is no source"):
        Mixture(two, {"a": 1, "b": 1, "c": 1}, 8, seed=0)
    with pytest.raises(MetierError, match="no weight above 0 for the source 'b'"):
        Mixture(two, {"a": 1}, 8, seed=0)
    with pytest.raises(MetierError, match="fewer than one sequence"):
        Mixture(two, None, 9_000, seed=0)
    other = shards(tmp_path / "c", 100, vocabulary=59_999)
    with pytest.raises(MetierError, match="another tokenizer"):
        Mixture({**two, "c": other}, None, 8, seed=0)
