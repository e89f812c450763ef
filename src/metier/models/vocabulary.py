"""New rows of a vocabulary: each begins as the mean of the rows of the pieces that it replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metier.models.layers import causal_model


def grow_vocabulary(model: Any, pieces: Mapping[int, Sequence[int]]) -> None:
    """Give a causal language model rows for new token ids, in its input and its output embedding.

    Args:
        model: changed in place; tied embeddings stay tied. Rows that it has beyond the tokenizer's are used first.
        pieces: by new id, the old ids that it stands for.
    """
    causal = causal_model(model)
    tied = causal.get_input_embeddings().weight is causal.get_output_embeddings().weight
    rows = causal.get_input_embeddings().weight.shape[0]
    needed = max(pieces) + 1
    if needed > rows:
        causal.resize_token_embeddings(needed, mean_resizing=False)
    _average(causal.get_input_embeddings().weight, pieces)
    head = causal.get_output_embeddings()
    if tied and head.weight is not causal.get_input_embeddings().weight:
        raise RuntimeError("the embeddings came untied")
    if not tied:
        _average(head.weight, pieces)
    if getattr(head, "bias", None) is not None:
        _average(head.bias, pieces)


@torch.no_grad()
def _average(rows: torch.Tensor, pieces: Mapping[int, Sequence[int]]) -> None:
    """``rows[new] = mean of rows[old]``, ``(vocabulary, hidden)`` or ``(vocabulary,)``, averaged in float32."""
    means = [rows[list(old)].float().mean(dim=0) for old in pieces.values()]
    for number, mean in zip(pieces, means, strict=True):
        rows[number] = mean.to(rows.dtype)


def embedding_names(model: Any) -> list[str]:
    """The modules that hold the vocabulary's rows, by the names that peft's ``modules_to_save`` takes."""
    causal = causal_model(model)
    layers = (causal.get_input_embeddings(), causal.get_output_embeddings())
    return [name.rpartition(".")[2] for name, module in causal.named_modules() if any(module is one for one in layers)]
