"""The part of a specialist's prompt that never changes, computed once when it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metier.evaluation.scoring import Scored, score
from metier.models.encode import Encoder, split_prefix
from metier.models.forward import Runner, Stored
from metier.models.packed import Item


@dataclass(frozen=True)
class FixedPrefix:
    """Tokens that begin every prompt of a task, with their keys and values."""

    runner: Runner
    tokens: tuple[int, ...]
    stored: Stored | None

    @classmethod
    def of(cls, runner: Runner, encoder: Encoder, labels: Sequence[str]) -> FixedPrefix:
        """Find the prefix by rendering texts that begin differently."""
        fields = encoder.task.template.fields()
        probes = [encoder.choice_item(dict.fromkeys(fields, text), labels) for text in ("a", "7 b", "(c) d", "“E”")]
        tokens = split_prefix(probes)[0]
        return cls(runner, tokens, runner.store_prefix(tokens))

    def score(self, items: Sequence[Item]) -> Scored:
        """Score whole prompts; should one begin otherwise, what these prompts share is computed for them."""
        size = len(self.tokens)
        if all(len(item.trunk) > size and item.trunk[:size] == self.tokens for item in items):
            return score(self.runner, items, prefix=self.tokens, stored=self.stored)
        return score(self.runner, items)
