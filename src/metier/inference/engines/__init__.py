"""Ways to compute a specialist's label probabilities: torch, and faster ones that must agree with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from metier.models.encode import Encoder, split_prefix
from metier.models.packed import Item

ENGINES = ("auto", "torch", "openvino")
Prompt = tuple[int, ...]

# Texts that begin in every way that could change the token before them.
_BEGINNINGS = ("a", "Zebra", "7", "\nx", " x", "\tx", "“x”", "é", "漢", "-", ".", "(x)", "'s")


class Engine(Protocol):
    """Computes label probabilities for one specialist. ``about`` says in which number format."""

    name: str
    about: str

    def label_logprobs(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Log-probability of each label among the labels, ``(prompts, labels)``, natural, before calibration.

        Args:
            prompts: token ids of whole prompts, as :meth:`Encoder.prompt` gives them.
        """
        ...


def fixed_prefix(encoder: Encoder) -> Prompt:
    """Token ids that all prompts of a task begin with, whatever the text: its template up to the first field."""
    fields = encoder.task.template.fields()
    prompts = [encoder.prompt(dict.fromkeys(fields, beginning)) for beginning in _BEGINNINGS]
    return split_prefix([Item(prompt, ()) for prompt in prompts])[0]


def median_seconds(
    engines: Sequence[Engine], prompts: Sequence[Prompt], rounds: int = 3, together: int = 1
) -> list[float]:
    """Median seconds a prompt, alone or so many ``together``; measured in turns, after a call that warms up."""
    seconds: list[list[float]] = [[] for _ in engines]
    calls = [[prompt] * together for prompt in prompts]
    for engine in engines:
        for call in calls:
            engine.label_logprobs(call)
    for _ in range(rounds):
        for call in calls:
            for engine, found in zip(engines, seconds, strict=True):
                start = time.perf_counter()
                engine.label_logprobs(call)
                found.append((time.perf_counter() - start) / together)
    return [float(np.median(found)) for found in seconds]
