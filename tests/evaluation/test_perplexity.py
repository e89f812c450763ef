"""Bits per byte by a sliding window: every token once, with half a window of context, whatever the batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metier.corpus.shards import ShardWriter, TokenShards
from metier.errors import MetierError
from metier.evaluation.perplexity import HoldOut, _rows, sliding_bits
from metier.models.architectures import build
from metier.models.sequences import SequenceModel
from metier.models.shapes import Shape

END = 0


def model(architecture: Any = "bloom") -> SequenceModel:
    return SequenceModel(
        build(Shape.usual(architecture, layers=2, hidden=32, heads=4, vocabulary=61), end=END, sequence_length=16)
    )


@given(length=st.integers(0, 100), window=st.integers(2, 20))
def test_every_token_is_scored_once_with_half_a_window_before_it(length: int, window: int) -> None:
    scored: list[int] = []
    for row in _rows(0, np.arange(1, length + 1), 0, window):
        assert len(row.tokens) <= window + 1
        scored += row.tokens[row.known + 1 :].tolist()
        if scored[0] in row.tokens[1:]:
            assert row.known == 0
        else:
            assert row.known >= window // 2 - 1
    assert scored == list(range(1, length + 1))


@pytest.mark.parametrize("architecture", ["bloom", "llama"])
def test_bits_are_those_of_each_window_alone(architecture: str) -> None:
    made = model(architecture)
    generator = np.random.default_rng(1)
    documents = [generator.integers(1, 61, length) for length in (5, 40, 1, 16, 17)]
    found = sliding_bits(made, documents, begin=END, window=16, tokens_at_once=64)
    causal = made.causal.eval()
    for ids, bits in zip(documents, found, strict=True):
        whole, expected, done = np.concatenate([[END], ids]), 0.0, 0
        while done < len(ids):
            start = 0 if not done else done - 8
            part = torch.from_numpy(whole[start : start + 17])[None]
            logs = torch.log_softmax(causal(part[:, :-1]).logits[0].double(), -1)
            each = logs.gather(1, part[0, 1:, None])[:, 0]
            expected -= float(each[done - start :].sum()) / math.log(2)
            done = start + part.shape[1] - 1
        assert bits == pytest.approx(expected, rel=1e-5)


def shards(folder: Path, lengths: list[int]) -> TokenShards:
    with ShardWriter(folder, vocabulary=61, end=END, tokenizer_sha256="t") as writer:
        for number, length in enumerate(lengths):
            writer.add(np.arange(length) % 60 + 1, id=f"d{number}", bytes=4 * length)
    return TokenShards.open(folder)


def test_a_look_takes_the_same_documents_up_to_its_tokens(tmp_path: Path) -> None:
    found = shards(tmp_path / "h", [10] * 20 + [0])
    every = HoldOut.of("h", found)
    assert every.ids == [f"d{i}" for i in range(20)]  # the empty one has no token to predict
    assert every.documents[3].tolist() == list(range(1, 11))
    assert every.bytes.sum() == 800
    some = HoldOut.of("h", found, most_tokens=45)
    assert len(some.ids) == 4
    assert some.ids == HoldOut.of("h", found, most_tokens=45).ids


def test_an_empty_hold_out_is_said(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match="'h' has no document"):
        HoldOut.of("h", shards(tmp_path / "h", [0]))
