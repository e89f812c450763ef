"""Ways of asking a model: by likelihood, by chains of thought that vote, by refinement, by retrieval.

Each takes a :class:`~metier.inference.strategies.model.Model`, a task and examples, and gives back answers with every
text that was written on the way and what it cost.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metier.inference.strategies.budget import Budget, Spent
    from metier.inference.strategies.likelihood import few_shot, zero_shot
    from metier.inference.strategies.long_form import Chain, chain_of_retrieval
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

_PLACES = {
    "Answered": "samples",
    "Bm25": "retrieval",
    "Budget": "budget",
    "Chain": "long_form",
    "Loaded": "model",
    "Model": "model",
    "Passage": "retrieval",
    "Sample": "samples",
    "Setting": "thought",
    "Spent": "budget",
    "Vote": "plurality",
    "chain_of_retrieval": "long_form",
    "chain_of_thought": "thought",
    "choose": "shots",
    "ensemble_refinement": "refinement",
    "few_shot": "likelihood",
    "passages": "retrieval",
    "plurality": "plurality",
    "read_samples": "samples",
    "self_consistency": "thought",
    "write_samples": "samples",
    "zero_shot": "likelihood",
}


def __getattr__(name: str) -> Any:
    """What is asked for is loaded then: a recipe reads the presets without loading a model's libraries."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
