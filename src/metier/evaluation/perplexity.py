"""Bits per byte of held-out documents by a model on whole sequences: a window that slides by half."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from metier.corpus.shards import TokenShards
from metier.errors import MetierError
from metier.models.sequences import SequenceModel


@dataclass(frozen=True)
class HoldOut:
    """Documents that no training sequence holds.

    Attributes:
        ids: the documents' ids.
        documents: tokens of each, without the end-of-text token.
        bytes: ``(documents,)``: UTF-8 bytes of each.
    """

    name: str
    ids: list[str]
    documents: list[np.ndarray]
    bytes: np.ndarray

    @classmethod
    def of(cls, name: str, shards: TokenShards, *, most_tokens: int | None = None, seed: int = 0) -> HoldOut:
        """Documents of ``shards`` in seeded order, until ``most_tokens`` are reached; empty ones are left out.

        Errors: :class:`MetierError` where no document has a token.
        """
        chosen: list[int] = []
        tokens = 0
        lengths = np.diff(shards.starts) - 1
        for number in np.random.default_rng(seed).permutation(shards.documents):
            if not lengths[number] or not shards.bytes[number]:
                continue
            if chosen and most_tokens is not None and tokens + lengths[number] > most_tokens:
                break
            chosen.append(int(number))
            tokens += int(lengths[number])
        if not chosen:
            raise MetierError(f"the hold-out '{name}' has no document", where=str(shards.folder),
                              fix="hold out a larger share")  # fmt: skip
        chosen.sort()
        ids = shards.ids()
        documents = [shards.document(i)[:-1] for i in chosen]
        return cls(name, [ids[i] for i in chosen], documents, shards.bytes[chosen].astype(float))


class _Row(NamedTuple):
    """A window of one document: the tokens run, and how many of its targets were scored by the window before."""

    document: int
    tokens: np.ndarray
    known: int


def sliding_bits(
    model: SequenceModel,
    documents: Sequence[np.ndarray],
    *,
    begin: int,
    window: int,
    tokens_at_once: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Bits of each document, ``(documents,)``: every token is predicted once, the first after ``begin``.

    A token beyond the first window has at least half a window of context (Wu et al. 2023, arXiv 2303.17564, section
    5.2).

    Args:
        window: tokens that the model sees at once.
        progress: called with the number of tokens scored since the last call.
    """
    rows = [row for number, ids in enumerate(documents) for row in _rows(number, ids, begin, window)]
    rows.sort(key=lambda row: -len(row.tokens))
    bits = np.zeros(len(documents))
    device = next(model.parameters()).device
    training = model.causal.training
    model.causal.eval()
    start = 0
    with torch.no_grad():
        while start < len(rows):
            longest = len(rows[start].tokens)
            batch = rows[start : start + max(1, tokens_at_once // longest)]
            start += len(batch)
            grid = np.full((len(batch), longest), begin, dtype=np.int64)  # on the right no one looks at it
            for line, row in zip(grid, batch, strict=True):
                line[: len(row.tokens)] = row.tokens
            nats = model(torch.from_numpy(grid).to(device)).cpu().double().numpy()  # MPS has no doubles
            for line, row in zip(nats, batch, strict=True):
                bits[row.document] += line[row.known : len(row.tokens) - 1].sum() / math.log(2)
            if progress:
                progress(sum(len(row.tokens) - 1 - row.known for row in batch))
    model.causal.train(training)
    return bits


def _rows(number: int, ids: np.ndarray, begin: int, window: int) -> list[_Row]:
    whole = np.concatenate([[begin], ids])
    rows, start, done = [], 0, 0
    while done < len(ids):
        end = min(start + window, len(ids))
        rows.append(_Row(number, whole[start : end + 1], done - start))
        start, done = end - window // 2, end
    return rows
