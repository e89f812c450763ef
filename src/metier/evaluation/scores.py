"""The two records that all measuring is made of: one prediction, one score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """A figure with what is needed to judge it: its 95 % interval and the number of examples behind it.

    Attributes:
        value: the estimate, in the metric's own unit (a share of 1, or bits per byte).
        low: lower end of the 95 % interval; None where none can be computed.
        high: upper end of the 95 % interval; None where none can be computed.
        n: examples (or documents) that were scored.
        reason: why there is no interval; None where there is one.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if end is not None]
        if not all(math.isfinite(x) for x in (self.value, *ends)):
            raise ValueError(f"a score must be finite: {self.value} [{self.low}, {self.high}]")
        if len(ends) == 1 or (not ends and not self.reason):
            raise ValueError("a score has both ends of its interval, or a reason why it has none")
        if ends and not ends[0] <= self.value <= ends[1]:
            raise ValueError(f"the interval [{self.low}, {self.high}] does not contain {self.value}")

    def to_json(self) -> dict[str, Any]:
        """``{"value", "low", "high", "n"}``; without an interval the ends are null and ``"reason"`` says why."""
        low = None if self.low is None else float(self.low)
        high = None if self.high is None else float(self.high)
        record: dict[str, Any] = {"value": float(self.value), "low": low, "high": high, "n": int(self.n)}
        return record | ({"reason": self.reason} if self.reason else {})

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Score:
        """The inverse of :meth:`to_json`."""
        return cls(record["value"], record["low"], record["high"], record["n"], record.get("reason"))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a system said about one example.

    Attributes:
        example_id: the example's id, unique within a task.
        split: the part it belongs to: ``train``, ``validation`` or ``test``.
        text: the example as a reader would see it.
        gold: the right label.
        answer: the label that was given; None if the system's output could not be read as one.
        probabilities: by label, summing to 1; empty for a system that has none.
        parsed: whether the output could be read. Never true without an answer, nor false with one: a
            substitute for an unreadable output would be scored as if the system had said it.
        tokens: tokens that the system read and wrote for this example; 0 for a system without tokens.
        seconds: time spent on this example.
        output: what the system wrote, word for word; None for one that does not write.
        group: of rows that are no independent draws, such as those of one patient; not kept on disk.
    """

    example_id: str
    split: str
    text: str
    gold: str
    answer: str | None
    probabilities: dict[str, float]
    parsed: bool
    tokens: int
    seconds: float
    output: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if self.parsed != (self.answer is not None):
            raise ValueError(f"example {self.example_id}: parsed={self.parsed} with the answer {self.answer!r}")

    @property
    def correct(self) -> bool:
        """Whether the answer is the right one. An unreadable output is wrong."""
        return self.answer is not None and self.answer == self.gold

    @property
    def confidence(self) -> float:
        """Probability of the given answer; 0 without an answer or without probabilities."""
        return 0.0 if self.answer is None else float(self.probabilities.get(self.answer, 0.0))
