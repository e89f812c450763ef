"""Exact and near-duplicates over all sources: MinHash of word 5-grams in 14 bands of 8 rows.

As FineWeb (Penedo et al. 2024, section 3.3; 112 hashes in 14 buckets of 8): texts with a Jaccard similarity s are
found with probability 1 - (1 - s^8)^14: 0.77 at 0.75, 0.92 at 0.8. What is kept of a text is 137 bytes on disk: its
order, whether it has a date, a hash of its whole and one of each band; one band at a time is in memory.

A copy without a date never takes the place of one with a date: by its day a text is held out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metier.corpus.repair import missing
from metier.corpus.text import Text
from metier.corpus.words import mixed, words_of

BANDS, ROWS = 14, 8  # Penedo et al. 2024, 3.3
NGRAM = 5  # Penedo et al. 2024, 3.3
SEED = 1
_SOURCE_SHIFT = 56  # the order of a document begins with the number of its source
EXACT, NEAR = "exact duplicate", "near duplicate"
SIGNATURE = np.dtype([("order", "<u8"), ("undated", "u1"), ("exact", "<u8", (2,)), ("bands", "<u8", (BANDS,))])


class Signer:
    """Makes signatures.

    Raises:
        MetierError: without the extra ``curate``.
    """

    def __init__(self) -> None:
        try:
            from rensa import RMinHash
        except ImportError as error:
            raise missing("rensa") from error
        self._minhash = RMinHash

    def __call__(self, texts: Sequence[Text]) -> np.ndarray:
        """``(texts,)`` of :data:`SIGNATURE`. A text of fewer than five words has no bands but its own."""
        found = np.zeros(len(texts), SIGNATURE)
        found["order"] = [text.order for text in texts]
        found["undated"] = [text.date is None for text in texts]
        digests = b"".join(hashlib.blake2b(text.text.encode(), digest_size=16).digest() for text in texts)
        found["exact"] = np.frombuffer(digests, "<u8").reshape(-1, 2)
        words = words_of([text.text for text in texts])
        grams, at = words.ngrams(NGRAM)
        counts = np.bincount(words.text_of_words()[at], minlength=len(texts))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
        matrix = self._minhash.digest_matrix_from_flat_token_hashes(grams, offsets, BANDS * ROWS, SEED)
        rows = np.array(matrix.to_rows(), np.uint64).reshape(len(texts), BANDS, ROWS)
        bands = np.zeros((len(texts), BANDS), np.uint64)
        for row in range(ROWS):
            bands = mixed(bands * np.uint64(0x100000001B3) + rows[:, :, row] + np.uint64(row + 1))
        found["bands"] = np.where(counts[:, None] > 0, bands, found["exact"][:, :1])
        return found


def find_duplicates(files: Sequence[tuple[int, Path]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Which documents stand earlier: those with a date first, then in the order of the files' sources.

    Args:
        files: the number of the source, and a file of signatures.

    Returns:
        For each file ``(documents,)`` uint8: 0 keep, 1 exact duplicate, 2 near-duplicate; and ``(documents,)`` int64:
        the number, counted over all files, of the document that is kept in its place.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    signatures = [read_signatures(path) for _, path in files]
    sizes = [len(found) for found in signatures]
    total = sum(sizes)
    order = _column(signatures, lambda found: found["order"])
    order += np.repeat(np.array([number << _SOURCE_SHIFT for number, _ in files], np.uint64), sizes)
    by_order = np.lexsort((order, _column(signatures, lambda found: found["undated"])))
    left, right = [], []
    for band in range(BANDS):
        pairs = _equal(_column(signatures, lambda found, band=band: found["bands"][:, band]))
        left.append(pairs[0])
        right.append(pairs[1])
    exact = _column(signatures, lambda found: found["exact"][:, 0] ^ mixed(found["exact"][:, 1].copy()))
    edges = np.concatenate(left), np.concatenate(right)  # equal texts share all bands
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(total, total))
    _, cluster = connected_components(graph, directed=False)
    first = _first_of(cluster, by_order)
    kind = np.where(first == np.arange(total), 0, 2).astype(np.uint8)
    same = _first_of(np.unique(exact, return_inverse=True)[1], by_order) != np.arange(total)
    kind[same & (kind > 0)] = 1
    cuts = np.cumsum(sizes)[:-1]
    return np.split(kind, cuts), np.split(first, cuts)


def read_signatures(path: Path) -> np.ndarray:
    """A file of signatures, mapped."""
    if path.stat().st_size == 0:
        return np.empty(0, SIGNATURE)
    return np.memmap(path, SIGNATURE, mode="r")


def _column(signatures: list[np.ndarray], take: Any) -> np.ndarray:
    return np.concatenate([np.asarray(take(found)) for found in signatures]) if signatures else np.empty(0, np.uint64)


def _equal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places that hold the same value, enough of them to connect all that do."""
    order = np.argsort(values, kind="stable")
    same = values[order][1:] == values[order][:-1]
    return order[:-1][same], order[1:][same]


def _first_of(cluster: np.ndarray, by_order: np.ndarray) -> np.ndarray:
    """For each document the one of its cluster that comes first in ``by_order``."""
    _, index = np.unique(cluster[by_order], return_index=True)
    return np.asarray(by_order[index][cluster])
