"""Steps whose loss or gradient is far above the running median: a bad batch must not undo the work of many."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SpikeRule:
    """When a step is a spike, and what is done about it.

    Attributes:
        action: ``skip`` leaves the weights as they are and goes on with the next batch (PaLM, Chowdhery et al. 2022,
            arXiv 2204.02311, section 5.1, skips the batches around a spike); ``stop`` saves and ends the run.
        loss: a loss of more than so many times the median is a spike.
        norm: and a gradient norm of more than so many times its median.
        window: steps that the medians are over; before as many have been taken nothing is a spike.
        patience: so many skipped steps in a row end the run all the same.
    """

    action: Literal["skip", "stop"] = "skip"
    loss: float = 1.5
    norm: float = 10.0
    window: int = 50
    patience: int = 10

    def judge(self, loss: float, norm: float, losses: Sequence[float], norms: Sequence[float]) -> str | None:
        """Why the step is a spike against the steps before it; None if it is not."""
        if len(losses) < self.window:
            return None
        found = (("loss", loss, losses, self.loss), ("gradient norm", norm, norms, self.norm))
        for name, value, before, limit in found:
            median = statistics.median(before)
            if value > limit * median:
                return f"a {name} of {value:.4g} is more than {limit:g} times the median of {median:.4g}"
        return None
