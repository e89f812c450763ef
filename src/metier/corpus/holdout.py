"""What is held out: whole groups by the hash of their name, and everything from a day on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from metier.corpus.text import Text

SPLITS = ("train", "held_out", "later")


@dataclass(frozen=True)
class HoldOut:
    """The rule.

    Attributes:
        share: of the groups of documents, before ``after``, that are ``held_out``.
        after: ISO date; documents of that day and later are ``later``. Undated ones are never.
        seed: another one holds out other groups.
    """

    share: float = 0.0
    after: str | None = None
    seed: int = 0

    def split(self, text: Text) -> str:
        """``train``, ``held_out`` or ``later``. A group is never both in train and held out."""
        if self.after and text.date and text.date >= self.after:
            return "later"
        digest = hashlib.blake2b(f"{self.seed} {text.group}".encode(), digest_size=8).digest()
        return "held_out" if int.from_bytes(digest, "big") < self.share * 2**64 else "train"
