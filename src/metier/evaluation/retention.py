"""What a model can still do outside its trade: bits per byte of general text, general multiple choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metier.evaluation.scoring import score
from metier.files import replacing
from metier.models.forward import Runner
from metier.models.packed import Item

WINDOW = 1024  # tokens; longer documents are cut into windows, each scored from its own beginning


def document_bits(
    runner: Runner,
    tokenizer: Any,
    documents: Sequence[str],
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Bits the model needs for each document, and the document's bytes of UTF-8; both ``(documents,)``.

    Every token is predicted, the first one after the tokenizer's begin (or end) token, so that models with
    different vocabularies compare.
    """
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    items, owners = [], []
    for number, text in enumerate(documents):
        ids = tokenizer.encode(text, add_special_tokens=False)
        for start in range(0, len(ids), WINDOW):
            before = ids[start - 1] if start else begin
            items.append(Item((before,), (tuple(ids[start : start + WINDOW]),)))
            owners.append(number)
    scored = score(runner, items, prefix=(), progress=progress)
    bits = np.zeros(len(documents))
    np.add.at(bits, owners, [-float(part[0]) / math.log(2) for part in scored.logprobs])
    return bits, np.array([len(text.encode("utf-8")) for text in documents], dtype=float)


def write_bits(path: Path, ids: Sequence[str], bits: np.ndarray, sizes: np.ndarray) -> None:
    """Evidence of a perplexity task: one row a document."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"example_id": list(ids), "bits": bits, "bytes": sizes})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_bits(path: Path) -> tuple[list[float], list[float]]:
    """Bits and bytes a document, as written by :func:`write_bits`."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return table["bits"].to_pylist(), table["bytes"].to_pylist()
