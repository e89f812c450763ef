"""The tokenizer of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from metier.recipe.part import Part


class TokenizerChoice(Part):
    """A tokenizer to be trained on the corpus."""

    kind: Literal["bpe", "unigram", "unigram-split"] = Field(
        default="unigram-split",
        description="byte-level BPE, a Unigram model of bytes, or one merged of many parts' (bounded memory)",
    )
    vocab_size: int = Field(default=32_768, ge=257, description="tokens, with 256 bytes and the end token")
    sizes: list[int] | None = Field(
        default=None, min_length=2, description="choose among these by tokens × log2(V) instead of vocab_size"
    )
    part_bytes: int = Field(default=1_000_000, ge=10_000, description="unigram-split: text of one part's model")
    part_size: int | None = Field(
        default=None, ge=257, description="unigram-split: pieces of one part's model; at least 16,384 if left out"
    )
    longest: int = Field(default=16, ge=2, le=64, description="unigram: most bytes in a piece")

    @model_validator(mode="after")
    def _large_enough(self) -> TokenizerChoice:
        if self.sizes and min(self.sizes) < 257:
            raise ValueError("every size is 257 or more: 256 bytes and the end token")
        return self
