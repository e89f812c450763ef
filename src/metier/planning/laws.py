"""Scaling laws: how to share a budget of FLOPs between parameters and tokens, and which law says what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from metier.errors import MetierError, nearest

FLOPS_PER_PARAMETER_TOKEN = 6  # forward 2, backward 4: Kaplan et al. 2020 (arXiv 2001.08361), section 2.1
RECOMPUTE = 4 / 3  # activation checkpointing runs the forward pass again: 8 instead of 6
DEFAULT = "chinchilla-corrected"


def training_flops(parameters: float, tokens: float) -> float:
    """C = 6·N·D, the FLOPs of training as the laws count them."""
    return FLOPS_PER_PARAMETER_TOKEN * parameters * tokens


class Law(Protocol):
    """A rule that turns a budget into a size."""

    @property
    def name(self) -> str:
        """As recipes call it."""

    @property
    def source(self) -> str:
        """The paper, and where in it."""

    @property
    def formula(self) -> str:
        """In one line."""

    def optimum(self, flops: float) -> tuple[float, float]:
        """Parameters N and tokens D for a budget C of training FLOPs (6·N·D)."""

    def tokens_for(self, parameters: float) -> float:
        """Tokens D with which a model of N parameters is the best choice for some budget."""


@dataclass(frozen=True)
class Parametric:
    """L(N, D) = E + A/N^α + B/D^β, in nats a token; its optimum is Hoffmann et al. 2022, equation 4."""

    name: str
    source: str
    E: float
    A: float
    B: float
    alpha: float
    beta: float

    @property
    def formula(self) -> str:
        """The optimum in one line, with its constants."""
        return (
            f"N = G·(C/6)^{self._exponent:.3f}, G = (αA/βB)^(1/(α+β)); A = {self.A:g}, B = {self.B:g}, "
            f"α = {self.alpha:g}, β = {self.beta:g}"
        )

    @property
    def _exponent(self) -> float:
        return self.beta / (self.alpha + self.beta)

    @property
    def _scale(self) -> float:
        return float((self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta)))

    def optimum(self, flops: float) -> tuple[float, float]:
        """N and D of least loss among those with 6·N·D = C."""
        parameters = self._scale * float((flops / FLOPS_PER_PARAMETER_TOKEN) ** self._exponent)
        return parameters, flops / FLOPS_PER_PARAMETER_TOKEN / parameters

    def tokens_for(self, parameters: float) -> float:
        """D of the budget whose optimum is N."""
        return float((parameters / self._scale) ** (1 / self._exponent)) / parameters

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats a token on the text and tokenizer that the law was fitted to: for comparing plans only."""
        return float(self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta)


@dataclass(frozen=True)
class Regression:
    """Straight lines through logarithms: N = 10^(a·log10 C + a0), D = 10^(b·log10 C + b0)."""

    name: str
    source: str
    parameters_slope: float
    parameters_offset: float
    tokens_slope: float
    tokens_offset: float

    @property
    def formula(self) -> str:
        """Both lines."""
        return (
            f"N = 10^({self.parameters_slope:.3f}·log10 C {self.parameters_offset:+.3f}), "
            f"D = 10^({self.tokens_slope:.3f}·log10 C {self.tokens_offset:+.3f})"
        )

    def optimum(self, flops: float) -> tuple[float, float]:
        """N and D, each by its own line: 6·N·D is C only as nearly as the lines were fitted."""
        exponent = math.log10(flops)
        return (
            10 ** (self.parameters_slope * exponent + self.parameters_offset),
            10 ** (self.tokens_slope * exponent + self.tokens_offset),
        )

    def tokens_for(self, parameters: float) -> float:
        """D of the budget whose N this is."""
        exponent = (math.log10(parameters) - self.parameters_offset) / self.parameters_slope
        return float(10 ** (self.tokens_slope * exponent + self.tokens_offset))


PUBLISHED = Parametric(
    "chinchilla-published", "Hoffmann et al. 2022 (arXiv 2203.15556), approach 3, constants as printed",
    1.69, 406.4, 410.7, 0.34, 0.28,
)  # fmt: skip
CORRECTED = Parametric(
    "chinchilla-corrected", "Besiroglu et al. 2024 (arXiv 2404.10102), approach 3 fitted again",
    1.8172, 482.01, 2085.43, 0.3478, 0.3658,
)  # fmt: skip
A1 = Regression(
    "bloomberggpt-a1", "Wu et al. 2023 (arXiv 2303.17564), section 3.2, fitted to Hoffmann's approach 1",
    0.498, -1.004, 0.502, 0.229,
)  # fmt: skip
A2 = Regression(
    "bloomberggpt-a2", "Wu et al. 2023 (arXiv 2303.17564), section 3.2, fitted to Hoffmann's approach 2",
    0.490, -0.839, 0.510, 0.062,
)  # fmt: skip
TWENTY = Regression(
    "twenty-to-one", "rule of thumb after Hoffmann et al. 2022, table 3 (400M parameters, 8.0B tokens): D = 20·N",
    0.5, -0.5 * math.log10(20 * FLOPS_PER_PARAMETER_TOKEN), 0.5, 0.5 * math.log10(20 / FLOPS_PER_PARAMETER_TOKEN),
)  # fmt: skip
LAWS: dict[str, Law] = {law.name: law for law in (CORRECTED, PUBLISHED, A1, A2, TWENTY)}


def law(name: str) -> Law:
    """A law by name.

    Errors: :class:`MetierError` for an unknown one, with the nearest.
    """
    if name not in LAWS:
        raise MetierError(f"there is no scaling law '{name}'", fix=nearest(name, LAWS))
    return LAWS[name]


def flops_for(law: Law, tokens: float) -> float:
    """The budget C of training FLOPs whose best D is ``tokens``."""
    low, high = 0.0, 40.0  # of log10 C; D grows with C
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if law.optimum(10**middle)[1] < tokens else (low, middle)
    return float(10**high)


def batch_tokens(flops: float) -> float:
    """Tokens an optimizer step: 0.2920·C^0.3271 (DeepSeek-AI 2024, arXiv 2401.02954, equation 1; C 1e17 to 2e19)."""
    return float(0.2920 * flops**0.3271)


def peak_rate(flops: float) -> float:
    """Highest learning rate: 0.3118·C^-0.1250 (DeepSeek-AI 2024, arXiv 2401.02954, equation 1; C 1e17 to 2e19)."""
    return float(0.3118 * flops**-0.1250)
