"""What binomial theory says of a vote, and a simulated model to hold the machinery against it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import factorial
from typing import Any

import numpy as np
from scipy import integrate, stats

from metier.evaluation.scoring import Scored
from metier.inference.strategies.model import Prompt
from metier.models.encode import Encoder
from metier.models.generate import Written
from metier.models.packed import Item
from metier.tasks import Example, Task, Template
from metier.tasks.options import LETTERS

TASK = Task(
    name="simulated", version=1, kind="multiple_choice", title="A simulated examination", metric="accuracy",
    template=Template(input="Number {number}?\n{options}", options="lettered"),
)  # fmt: skip


def examples(count: int, options: int = 4, seed: int = 0) -> list[Example]:
    """Questions whose right option is at a random place."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        choices = tuple(f"choice {number}-{place}" for place in range(options))
        right = choices[int(generator.integers(options))]
        found.append(Example(f"q{number}", {"number": str(number)}, right, choices))
    return found


def plurality_accuracy(p: float, samples: int, options: int) -> float:
    """Chance that the right option wins: independent samples are right with chance p, else any other alike.

    A sum over all counts of votes; of t options with equally many votes each wins with chance 1/t.
    """
    wrong = (1 - p) / (options - 1)
    total = 0.0
    for counts in itertools.product(range(samples + 1), repeat=options - 1):
        right = samples - sum(counts)
        if right < max(counts, default=0) or right < 0:
            continue
        ways = factorial(samples) / np.prod([factorial(c) for c in (right, *counts)], dtype=float)
        total += ways * p**right * wrong ** sum(counts) / (1 + sum(c == right for c in counts))
    return float(total)


def beta(p: float, correlation: float) -> tuple[float, float]:
    """Beta distribution of a question's own accuracy for which two samples of it have this correlation."""
    spread = 1 / correlation - 1
    return p * spread, (1 - p) * spread


def correlated_accuracy(p: float, correlation: float, samples: int, options: int) -> float:
    """:func:`plurality_accuracy` over questions whose own accuracy is beta-distributed."""
    if correlation == 0:
        return plurality_accuracy(p, samples, options)
    a, b = beta(p, correlation)
    density = stats.beta(a, b).pdf
    value, _ = integrate.quad(lambda x: density(x) * plurality_accuracy(x, samples, options), 0, 1, limit=60)
    return float(value)


@dataclass
class Simulated:
    """A model that is right with known accuracy and correlation, and says so in words; it reasons with seeds alone."""

    tokenizer: Any
    questions: Sequence[Example]
    accuracy: float
    correlation: float = 0.0
    stated: float = 1.0  # share of its texts that state an option
    max_tokens: int = 4096
    written: int = 0
    answers: dict[Prompt, str] = field(default_factory=dict)

    def encoder(self, task: Task, *, longer: int = 0, room: int = 0, answer: int = 0, shots: Any = ()) -> Encoder:
        return Encoder(self.tokenizer, task, self.max_tokens + longer, shots)

    def write(
        self, encoder: Encoder, prompts: Sequence[Prompt], *, room: int, temperature: float, seeds: Sequence[int]
    ) -> list[Written]:
        self.written += len(prompts)
        return [self._one(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _one(self, prompt: Prompt, seed: int) -> Written:
        number = int(re.findall(r"Number (\d+)\?", self.tokenizer.decode(prompt))[-1])
        example = self.questions[number]
        chance = self.accuracy
        if self.correlation:
            chance = float(np.random.default_rng([7, number]).beta(*beta(self.accuracy, self.correlation)))
        generator = np.random.default_rng(seed)
        right = example.choices.index(example.target)
        others = [place for place in range(len(example.choices)) if place != right]
        place = right if generator.random() < chance else int(generator.choice(others))
        ids = tuple(self.tokenizer.encode(f"mark {LETTERS[place]}", add_special_tokens=False))
        says = generator.random() < self.stated
        return Written(ids, f"So the answer is ({LETTERS[place]})." if says else "hm", True)

    def score(self, items: Sequence[Item]) -> Scored:
        logprobs = []
        for item in items:
            marked = re.findall(r"mark ([A-Z])", self.tokenizer.decode(item.trunk[-40:]))[-1]
            logprobs.append(np.array([0.0 if self._letter(a) == marked else -4.0 for a in item.answers]))
        return Scored(logprobs, [item.tokens for item in items], 0.0)

    def _letter(self, answer: Prompt) -> str:
        if answer not in self.answers:
            self.answers[answer] = str(self.tokenizer.decode(answer)).strip()
        return self.answers[answer]
