"""Shapes: depth and width by Levine's rule, rounded to whole heads, with every parameter counted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal

from metier.errors import MetierError

Family = Literal["bloom", "llama"]
VOCABULARIES = (32768, 16384, 8192, 4096)
"""Tried in this order where none is given: the first that leaves at least half of the parameters to the layers."""
MOST_LAYERS = 120  # Levine's width there is 120,000: beyond every model there is


@dataclass(frozen=True)
class Shape:
    """A decoder. BLOOM: ALiBi, biases, a norm behind the embedding; Llama: rotary positions, SwiGLU, no biases.

    Errors: :class:`MetierError` for sizes that do not divide.
    """

    family: Family
    layers: int
    hidden: int
    heads: int
    ffn: int
    vocabulary: int
    kv_heads: int
    tied: bool = True

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise MetierError(
                f"the width {self.hidden:,} is not a whole number of {self.heads} heads",
                where="model.hidden",
                fix=f"use {round_up(self.hidden, self.heads):,}, or other heads",
            )
        if self.heads % self.kv_heads:
            raise MetierError(
                f"{self.heads} heads cannot share {self.kv_heads} key-value heads evenly",
                where="model.kv_heads",
                fix="use a divisor of the number of heads",
            )
        if self.family == "bloom" and (self.ffn, self.kv_heads, self.tied) != (4 * self.hidden, self.heads, True):
            raise MetierError(
                "a BLOOM shape has a feed-forward layer of 4 × its width, keys for every head and tied embeddings",
                where="model.ffn, model.kv_heads, model.tied",
                fix="leave these out, or use family: llama",
            )
        if self.family == "llama" and self.head_dim % 2:
            raise MetierError(
                f"rotary positions turn pairs of numbers: heads of {self.head_dim} are odd",
                where="model.head_dim",
                fix="use an even size",
            )

    @property
    def head_dim(self) -> int:
        """Size of a head."""
        return self.hidden // self.heads

    @property
    def embedding(self) -> int:
        """Parameters of the token embedding, and of the output layer where it is another matrix."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def block(self) -> int:
        """Parameters of one layer."""
        d = self.hidden
        if self.family == "bloom":
            # norms 2·2D, queries, keys and values 3D² + 3D, attention output D² + D, feed-forward 8D² + 5D
            return 12 * d * d + 13 * d
        return 2 * d * d + 2 * d * self.kv_heads * self.head_dim + 3 * d * self.ffn + 2 * d

    @property
    def parameters(self) -> int:
        """All parameters by the closed formula; for BLOOM Wu et al. 2023 (arXiv 2303.17564), appendix A.5."""
        ends = 4 * self.hidden if self.family == "bloom" else self.hidden  # two norms with biases, or one without
        return self.embedding + self.layers * self.block + ends

    @property
    def formula(self) -> str:
        """The closed formula of :attr:`parameters`."""
        if self.family == "bloom":
            return "V·D + 2D + L·(12D² + 13D) + 2D"
        output = "V·D" if self.tied else "2V·D"
        return f"{output} + L·(2D² + 2D·heads_kv·head_dim + 3D·FFN + 2D) + D"

    def to_json(self) -> dict[str, object]:
        """Every size, the head's too."""
        return {**asdict(self), "head_dim": self.head_dim}


def count_on_meta(shape: Shape) -> int:
    """Parameters of the architecture that transformers builds, on the meta device: no memory is used.

    Weights that two layers share are counted once.
    """
    import torch
    from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        if shape.family == "bloom":
            model = BloomForCausalLM(
                BloomConfig(
                    vocab_size=shape.vocabulary, hidden_size=shape.hidden, n_layer=shape.layers, n_head=shape.heads
                )
            )
        else:
            model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
                    num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim,
                    intermediate_size=shape.ffn, tie_word_embeddings=shape.tied,
                )
            )  # fmt: skip
    return sum(parameter.numel() for parameter in model.parameters())


def levine_width(layers: int) -> float:
    """Width for a depth: exp(5.039)·exp(0.0555·L) (Levine et al. 2020, arXiv 2006.12467)."""
    return math.exp(5.039) * math.exp(0.0555 * layers)


def round_up(value: float, step: int) -> int:
    """The next multiple of ``step``: 7,510 is 40 heads of 192, 7,680."""
    return math.ceil(value / step - 1e-9) * step


def usual_head_dim(width: float) -> int:
    """64 for narrow models, 128 from a width of 2,048 (usual among GPT-2, GPT-3 and Llama sizes)."""
    return 64 if width < 2048 else 128


def llama_ffn(hidden: int) -> int:
    """Two thirds of 4 × the width, to the next multiple of 256: SwiGLU has three matrices (Touvron et al. 2023)."""
    return round_up(8 * hidden / 3, 256)


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
    ffn = choice.ffn or (4 * hidden if choice.family == "bloom" else llama_ffn(hidden))
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
