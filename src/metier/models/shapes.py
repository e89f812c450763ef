"""What a decoder's sizes are, which of them go together, and how many parameters they make."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

from metier.errors import MetierError

Family = Literal["bloom", "llama"]


@dataclass(frozen=True)
class Shape:
    """A decoder. BLOOM: ALiBi, biases, a norm behind the embedding; Llama: rotary positions, SwiGLU, no biases.

    Errors: :class:`MetierError` for sizes that do not divide; ``where`` is ``model.`` and the size's name.
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

    @classmethod
    def usual(cls, family: Family, *, layers: int, hidden: int, heads: int, vocabulary: int) -> Shape:
        """The shape with the family's own feed-forward width, keys for every head and tied embeddings."""
        return cls(family, layers, hidden, heads, feed_forward(family, hidden), vocabulary, heads)

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


def feed_forward(family: Family, hidden: int) -> int:
    """4 × the width; of a Llama two thirds of that, to the next multiple of 256: SwiGLU has three matrices
    (Touvron et al. 2023, arXiv 2302.13971, section 2.2).
    """
    return 4 * hidden if family == "bloom" else round_up(8 * hidden / 3, 256)


def round_up(value: float, step: int) -> int:
    """The next multiple of ``step``: 7,510 is 40 heads of 192, 7,680."""
    return math.ceil(value / step - 1e-9) * step
