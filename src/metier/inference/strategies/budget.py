"""A budget in tokens and seconds: what will be spent is said before, and no question is begun that would exceed it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from metier.errors import MetierError
from metier.inference.strategies.samples import Answered

Say = Callable[[str], None]
Q = TypeVar("Q")


@dataclass(frozen=True)
class Budget:
    """The most that a strategy may spend on all questions together; None is no limit.

    Attributes:
        tokens: run through the model: prompts once a question, everything written, and what chooses the answer.
        seconds: by the clock. A question is begun only if the slowest one so far would still fit.
    """

    tokens: int | None = None
    seconds: float | None = None


UNLIMITED = Budget()
_LESS = "ask for less: fewer samples, claims or documents, or fewer tokens of each text"


@dataclass(frozen=True)
class Spent:
    """What was asked within a budget.

    Attributes:
        answered: one for each question that was asked, in order.
        not_asked: how many questions the budget left no room for: the last ones.
        at_most: tokens that all questions could have taken.
        expected_seconds: for all questions, by the first one.
    """

    answered: list[Answered]
    not_asked: int
    at_most: int
    expected_seconds: float
    tokens: int
    seconds: float


def within(
    budget: Budget,
    questions: Sequence[Q],
    *,
    bound: Callable[[Q], int],
    work: Callable[[Sequence[Q]], list[Answered]],
    at_once: int,
    name: str,
    say: Say = lambda line: None,
    tick: Callable[[int], None] = lambda count: None,
) -> Spent:
    """Ask ``questions`` in order, ``at_once`` together, until all are asked or the budget has no room for the next.

    The first question is asked alone: it says how long all will take, and its answer counts.

    Args:
        bound: the most tokens that a question can take.
        work: answers some questions.
        say: is told the estimate before the second question, and what was left out.

    Errors: :class:`MetierError` for no question, and for a budget that is too small for one.
    """
    if not questions:
        raise MetierError("there is no question to ask", fix="check the task's test part and the number of questions")
    bounds = [bound(question) for question in questions]
    if budget.tokens is not None and bounds[0] > budget.tokens:
        raise MetierError(
            f"the budget of {budget.tokens:,} tokens is too small for one question: {name} may need {bounds[0]:,}",
            fix=f"raise the budget's tokens, or {_LESS}",
        )
    say(f"{name}: {_count(len(questions))}, at most {sum(bounds):,} tokens{_limits(budget)}")
    start = time.perf_counter()
    answered = work(questions[:1])
    tick(1)
    first = slowest = time.perf_counter() - start
    if budget.seconds is not None and first > budget.seconds:
        raise MetierError(
            f"the budget of {budget.seconds:g} seconds is too small for one question: the first took {first:.2f} s",
            fix=f"raise the budget's seconds, or {_LESS}",
        )
    tokens = sum(a.prediction.tokens for a in answered)
    if len(questions) > 1:
        say(f"{name}: the first took {first:.2f} s and {tokens:,} tokens; all about {first * len(questions):,.0f} s")
    while len(answered) < len(questions):
        seconds = None if budget.seconds is None else budget.seconds - (time.perf_counter() - start)
        room = None if budget.tokens is None else budget.tokens - tokens
        size = _room(bounds[len(answered) :][:at_once], room, seconds, slowest)
        if not size:
            break
        begun = time.perf_counter()
        found = work(questions[len(answered) : len(answered) + size])
        slowest = max(slowest, (time.perf_counter() - begun) / size)
        answered += found
        tokens += sum(a.prediction.tokens for a in found)
        tick(size)
    left_out = len(questions) - len(answered)
    if left_out:
        say(f"{name}: the budget is used up: {left_out} of {_count(len(questions))} not asked")
    spent = time.perf_counter() - start
    return Spent(answered, left_out, sum(bounds), first * len(questions), tokens, spent)


def _room(bounds: Sequence[int], tokens: int | None, seconds: float | None, slowest: float) -> int:
    """How many of the next questions fit."""
    size = len(bounds)
    if tokens is not None:
        while size and sum(bounds[:size]) > tokens:
            size -= 1
    if seconds is not None:
        size = min(size, max(0, int(seconds / max(slowest, 1e-9))))
    return size


def _limits(budget: Budget) -> str:
    parts = [] if budget.tokens is None else [f"{budget.tokens:,} tokens"]
    parts += [] if budget.seconds is None else [f"{budget.seconds:g} s"]
    return f", of a budget of {' and '.join(parts)}" if parts else ""


def _count(number: int) -> str:
    return f"{number:,} question{'' if number == 1 else 's'}"
