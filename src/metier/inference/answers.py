"""What a specialist answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a specialist says of one text.

    Attributes:
        probabilities: calibrated, over all labels, summing to 1.
        logprobs: natural-log probability of each label among the labels, before calibration.
        abstained: it is not sure enough: of what the recipe demanded, or of the threshold that was asked for.
        set: labels that hold the right one with the probability that was asked for; None if none was.
        referral: where else to turn, for a text with a red flag of the specialist's domain; the label stays.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    logprobs: dict[str, float]
    abstained: bool
    set: tuple[str, ...] | None = None
    referral: str | None = None


@dataclass(frozen=True)
class TextAnswer:
    """What a specialist for extraction or generation writes about one text.

    Attributes:
        answer: the text, as it was written, without spaces around it. Where a text with a red flag is answered in
            free words the referral stands in front of it; entities are left as they are.
        ended: whether it came to its own end; False where it was cut off at the longest answer that is expected.
        referral: where else to turn, for a text with a red flag of the specialist's domain.
    """

    answer: str
    ended: bool
    referral: str | None = None
