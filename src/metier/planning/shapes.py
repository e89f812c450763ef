"""Shapes: depth and width by Levine's rule, rounded to whole heads, with every parameter counted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from metier.errors import MetierError
from metier.models.shapes import Family, Shape, feed_forward, round_up

VOCABULARIES = (32768, 16384, 8192, 4096)
"""Tried in this order where none is given: the first that leaves at least half of the parameters to the layers."""
MOST_LAYERS = 120  # Levine's width there is 120,000: beyond every model there is


def count_on_meta(shape: Shape) -> int:
    """Parameters of the architecture that transformers builds, on the meta device: no memory is used.

    Weights that two layers share are counted once.
    """
    import torch

    from metier.models.architectures import empty

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in empty(shape).parameters())


def levine_width(layers: int) -> float:
    """Width for a depth: exp(5.039)·exp(0.0555·L) (Levine et al. 2020, arXiv 2006.12467)."""
    return math.exp(5.039) * math.exp(0.0555 * layers)


def usual_head_dim(width: float) -> int:
    """64 for narrow models, 128 from a width of 2,048 (usual among GPT-2, GPT-3 and Llama sizes)."""
    return 64 if width < 2048 else 128


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """What is known of a model; None is for the plan to choose. Counts are whole numbers, ``parameters`` a target."""

    family: Family = "llama"
    parameters: float | None = None
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    head_dim: int | None = None
    kv_heads: int | None = None
    ffn: int | None = None
    vocabulary: int | None = None
    tied: bool = True


def build(choice: ModelChoice, layers: int) -> Shape:
    """The shape of a depth: what the choice says, and Levine's width in whole heads for what it leaves open.

    Errors: :class:`MetierError` for sizes that do not divide or contradict each other.
    """
    target = choice.hidden or levine_width(layers)
    if choice.heads and choice.head_dim:
        heads, hidden = choice.heads, choice.heads * choice.head_dim
    elif choice.heads:
        heads, hidden = choice.heads, choice.hidden or choice.heads * round_up(target / choice.heads, 8)
    else:
        size = choice.head_dim or usual_head_dim(target)
        hidden = choice.hidden or round_up(target, size)
        heads = hidden // size
        if hidden % size:
            raise MetierError(
                f"the width {hidden:,} is not a whole number of heads of {size}",
                where="model.hidden",
                fix=f"use {round_up(hidden, size):,}, or another head_dim",
            )
    if choice.hidden and choice.hidden != hidden:
        raise MetierError(
            f"{heads} heads of {choice.head_dim} make a width of {hidden:,}, not {choice.hidden:,}",
            where="model.hidden",
            fix="leave one of hidden, heads and head_dim out",
        )
    ffn = choice.ffn or feed_forward(choice.family, hidden)
    kv_heads = choice.kv_heads or heads
    vocabulary = choice.vocabulary or VOCABULARIES[0]
    return Shape(choice.family, layers, hidden, heads, ffn, vocabulary, kv_heads, choice.tied)


def sweep(choice: ModelChoice) -> Iterator[Shape]:
    """Shapes from the shallowest to the deepest, ever larger."""
    depths = range(1, MOST_LAYERS + 1) if choice.layers is None else [choice.layers]
    for layers in depths:
        yield build(choice, layers)


def closest(choice: ModelChoice, parameters: float) -> Shape:
    """The shape whose size is nearest to a target, by ratio: the sweep of Wu et al. 2023, section 3.2."""
    for vocabulary in [choice.vocabulary] if choice.vocabulary else VOCABULARIES:
        shapes = sweep(replace(choice, vocabulary=vocabulary))
        found = min(shapes, key=lambda shape: abs(math.log(shape.parameters / parameters)))
        if found.embedding <= found.parameters / 2:
            break
    return found
