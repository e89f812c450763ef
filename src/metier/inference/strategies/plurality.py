"""The vote of several samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from metier.errors import MetierError


@dataclass(frozen=True)
class Vote:
    """What samples agreed on.

    Attributes:
        answer: the one with most votes.
        shares: votes of every answer that had one, as a share of all; the largest is the agreement.
        tied: whether another answer had as many votes.
    """

    answer: str
    shares: dict[str, float]
    tied: bool


def plurality(answers: Sequence[str]) -> Vote:
    """The answer with most votes; of those with equally many, the one that was sampled first.

    The rule needs no second draw and favours no place among the options: samples are exchangeable, so each of the
    tied answers is as likely to have come first.

    Errors: :class:`MetierError` without a vote.
    """
    if not answers:
        raise MetierError("there is no sample to count", fix="ask for one sample or more")
    counts = Counter(answers)  # keeps the order in which answers came first
    most = max(counts.values())
    best = [answer for answer, count in counts.items() if count == most]
    return Vote(best[0], {answer: count / len(answers) for answer, count in counts.items()}, len(best) > 1)
