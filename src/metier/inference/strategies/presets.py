"""What Med-PaLM and Med-PaLM 2 did, as named defaults.

Med-PaLM: Singhal et al. 2023, Nature 620:172, arXiv 2212.13138.
Med-PaLM 2: Singhal et al. 2025, Nature Medicine 31:943, arXiv 2305.09617.
"""

from __future__ import annotations

SHOTS = 5
"""Solved examples in a prompt (Med-PaLM; 3 on PubMedQA, whose contexts are long)."""

SELF_CONSISTENCY_SAMPLES = 11
"""Chains of thought that vote (Med-PaLM and Med-PaLM 2)."""

REFINEMENT_FIRST = 11
"""Generations of the first stage of ensemble refinement (Med-PaLM 2)."""

REFINEMENT_SECOND = 33
"""Generations of the second stage, which vote (Med-PaLM 2)."""

TEMPERATURE = 0.7
"""Neither paper states its temperature for chains of thought: this is what replications use."""

LONG_FORM_TEMPERATURE = 0.0
"""Med-PaLM 2 wrote its long answers greedily."""

RATIONALE_TOKENS = 128
"""Longest chain of thought, in tokens; our choice, neither paper states one."""
