"""Documents to filtered, de-duplicated, de-identified, mixed token shards, and the ledger that accounts for them."""

from __future__ import annotations

from metier.corpus.mixture import Mixture
from metier.corpus.shards import ShardWriter, TokenShards

__all__ = ["Mixture", "ShardWriter", "TokenShards"]
