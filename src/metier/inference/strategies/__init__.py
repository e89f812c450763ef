"""Ways of asking a model: by likelihood, by chains of thought that vote, by refinement, by retrieval.

Each takes a :class:`~metier.inference.strategies.model.Model`, a task and examples, and gives back answers with every
text that was written on the way and what it cost.
"""

from __future__ import annotations

from metier.inference.strategies.budget import Budget, Spent
from metier.inference.strategies.chain_of_retrieval import Chain, chain_of_retrieval
from metier.inference.strategies.likelihood import few_shot, zero_shot
from metier.inference.strategies.model import Loaded, Model
from metier.inference.strategies.plurality import Vote, plurality
from metier.inference.strategies.refinement import ensemble_refinement
from metier.inference.strategies.retrieval import Bm25, Passage, passages
from metier.inference.strategies.samples import Answered, Sample, read_samples, write_samples
from metier.inference.strategies.shots import choose
from metier.inference.strategies.thought import Setting, chain_of_thought, self_consistency

__all__ = [
    "Answered",
    "Bm25",
    "Budget",
    "Chain",
    "Loaded",
    "Model",
    "Passage",
    "Sample",
    "Setting",
    "Spent",
    "Vote",
    "chain_of_retrieval",
    "chain_of_thought",
    "choose",
    "ensemble_refinement",
    "few_shot",
    "passages",
    "plurality",
    "read_samples",
    "self_consistency",
    "write_samples",
    "zero_shot",
]
