"""Steps and tokens: the batch, its warm-up, and what both add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metier.errors import MetierError


@dataclass(frozen=True)
class Warmup:
    """So many steps with a smaller batch, before the batch that follows."""

    steps: int
    sequences: int


@dataclass(frozen=True)
class Schedule:
    """The batch of every step. ``sequences`` a step of ``sequence_length`` tokens each, after the warm-up."""

    sequence_length: int
    sequences: int
    warmup: tuple[Warmup, ...] = ()

    @property
    def batch_tokens(self) -> int:
        """Tokens of a step after the warm-up."""
        return self.sequences * self.sequence_length

    def tokens(self, steps: int) -> int:
        """Tokens seen after so many steps."""
        left, seen = steps, 0
        for phase in self.warmup:
            taken = min(left, phase.steps)
            seen += taken * phase.sequences * self.sequence_length
            left -= taken
        return seen + left * self.batch_tokens

    def steps_within(self, tokens: float) -> int:
        """The most steps that need no more than so many tokens."""
        left, steps = tokens, 0
        for phase in self.warmup:
            taken = min(phase.steps, int(left // (phase.sequences * self.sequence_length)))
            steps, left = steps + taken, left - taken * phase.sequences * self.sequence_length
            if taken < phase.steps:
                return steps
        return steps + int(left // self.batch_tokens)

    @property
    def formula(self) -> str:
        """How tokens follow from steps."""
        phases = "".join(f"{phase.steps:,}·{phase.sequences:,} + " for phase in self.warmup)
        done = sum(phase.steps for phase in self.warmup)
        rest = f"(steps − {done:,})" if done else "steps"
        return f"({phases}{rest}·{self.sequences:,})·{self.sequence_length:,}"


@dataclass(frozen=True, kw_only=True)
class ScheduleChoice:
    """What is known of the schedule; None is for the plan to choose."""

    sequence_length: int = 2048
    sequences: int | None = None
    warmup: Sequence[Warmup] = ()
    steps: int | None = None
    tokens: float | None = None
    micro_batch: int = 1


def whole_batches(tokens: float, sequence_length: int, devices: int, micro_batch: int) -> int:
    """Sequences a step, near so many tokens, in whole micro-batches on every device."""
    unit = devices * micro_batch
    return max(1, round(tokens / sequence_length / unit)) * unit


def check(schedule: Schedule, devices: int, micro_batch: int = 1) -> None:
    """Refuse a batch that does not divide over the devices, or is less than they run at once.

    Errors: :class:`MetierError`.
    """
    for place, sequences in [
        ("schedule.sequences", schedule.sequences), *(("schedule.warmup", p.sequences) for p in schedule.warmup)
    ]:  # fmt: skip
        if sequences % devices:
            raise MetierError(
                f"{sequences:,} sequences a step do not divide over {devices:,} devices",
                where=place,
                fix=f"use a multiple of {devices:,}, or a number of devices that divides {sequences:,}",
            )
    if micro_batch * devices > schedule.sequences:
        raise MetierError(
            f"{devices:,} devices that run {micro_batch} sequences at once need {micro_batch * devices:,} a step, "
            f"not {schedule.sequences:,}",
            where="schedule.micro_batch",
            fix=f"use at most {schedule.sequences // devices:,}",
        )
