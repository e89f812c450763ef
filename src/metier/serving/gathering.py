"""One thread that runs the model, and the requests that wait for it.

What waits while the model is busy goes together in the next batch: nobody waits for company, and the busier it is the
larger batches become.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from metier.evaluation.conformal import Method
from metier.inference.answers import Answer, TextAnswer

Input = str | Mapping[str, Any]
Answers = Sequence[Answer | TextAnswer]

TOGETHER = 32  # texts of a batch at most, unless one request has more
_SMALL = 8  # texts from which on a batch counts for more than all before it


@dataclass(frozen=True)
class Demand:
    """How a request wants its texts answered; see :meth:`metier.Specialist.predict`."""

    abstain_below: float | None = None
    sets: float | None = None
    sets_by: Method = "lac"


class Predicts(Protocol):
    """What is needed of a specialist."""

    def predict(
        self, texts: Sequence[Input], *, abstain_below: float | None, sets: float | None, sets_by: Method
    ) -> Answers:
        """Answer each text, in order."""
        ...


class BusyError(Exception):
    """More waits than is allowed.

    Attributes:
        seconds: when to ask again, whole seconds, by how long texts took lately.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"ask again in {seconds} s")
        self.seconds = seconds


@dataclass
class _Job:
    inputs: Sequence[Input]
    demand: Demand
    future: Future[Answers] = field(default_factory=Future)


class Gatherer:
    """Answers requests of several threads by one specialist, in a thread of its own.

    Attributes:
        running: texts that the model is at.
        answered: texts so far.
        batches: calls of the model so far.
        seconds_a_text: of the latest batch.
    """

    def __init__(self, specialist: Predicts, *, waiting: int, together: int = TOGETHER) -> None:
        """``waiting``: texts that may wait, those being answered not counted."""
        self._specialist, self._most, self._together = specialist, waiting, together
        self._jobs: deque[_Job] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self.running, self.answered, self.batches, self.seconds_a_text = 0, 0, 0, 0.0
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def ask(self, inputs: Sequence[Input], demand: Demand) -> Future[Answers]:
        """Take a request; cancel the future when nobody waits for it any more.

        Errors: :class:`BusyError`, at once. The future raises what ``predict`` raises.
        """
        job = _Job(inputs, demand)
        with self._changed:
            if self._closed or self.waiting + len(inputs) > self._most:
                raise BusyError(max(1, math.ceil((self.waiting + self.running) * self.seconds_a_text)))
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    @property
    def waiting(self) -> int:
        """Texts that wait."""
        return sum(len(job.inputs) for job in self._jobs.copy() if not job.future.cancelled())

    def close(self, seconds: float | None = None) -> None:
        """Take nothing more, answer what waits, and end the thread, or leave it behind after so many seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _work(self) -> None:
        while (jobs := self._next()) is not None:
            self._answer(jobs)
            self.running = 0

    def _next(self) -> list[_Job] | None:
        """The next batch: the first request, and all behind it that demand the same and have room; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return None
            taken: list[_Job] = []
            left: deque[_Job] = deque()
            for job in self._jobs:
                fits = not taken or (job.demand == taken[0].demand and self.running + len(job.inputs) <= self._together)
                if not fits:
                    left.append(job)
                elif job.future.set_running_or_notify_cancel():  # else nobody waits for it
                    taken.append(job)
                    self.running += len(job.inputs)
            self._jobs = left
            return taken

    def _answer(self, jobs: Sequence[_Job]) -> None:
        if not jobs:
            return
        inputs = [one for job in jobs for one in job.inputs]
        demand, begin = jobs[0].demand, time.perf_counter()
        try:
            found = self._specialist.predict(
                inputs, abstain_below=demand.abstain_below, sets=demand.sets, sets_by=demand.sets_by
            )
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:  # one request's fault must not be another's
                self._answer([job])
            return
        # large batches say more of what a queue will take than one text alone, and than the first one of all
        share = len(inputs) / (len(inputs) + _SMALL)
        self.seconds_a_text += share * ((time.perf_counter() - begin) / len(inputs) - self.seconds_a_text)
        self.answered += len(inputs)
        self.batches += 1
        start = 0
        for job in jobs:
            job.future.set_result(found[start : start + len(job.inputs)])
            start += len(job.inputs)
