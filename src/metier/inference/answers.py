"""What a specialist answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a specialist says of one text.

    Attributes:
        probabilities: calibrated, over all labels, summing to 1.
        logprobs: natural-log probability of each label among the labels, before calibration.
        abstained: the probability is below the threshold that was asked for.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    logprobs: dict[str, float]
    abstained: bool


@dataclass(frozen=True)
class TextAnswer:
    """What a specialist for extraction or generation writes about one text.

    Attributes:
        answer: the text, as it was written, without spaces around it.
        ended: whether it came to its own end; False where it was cut off at the longest answer that is expected.
    """

    answer: str
    ended: bool
