"""What waits while the model is busy goes together, and nobody pays for another's fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from typing import Any

import pytest

from metier.inference.answers import TextAnswer
from metier.serving.gathering import BusyError, Demand, Gatherer


class Held:
    """A specialist that answers a text by itself, when it is let."""

    def __init__(self) -> None:
        self.let, self.begun = threading.Event(), threading.Event()
        self.calls: list[list[Any]] = []
        self.demands: list[float | None] = []

    def predict(self, texts: Sequence[Any], *, abstain_below: float | None, **_: Any) -> list[TextAnswer]:
        self.calls.append(list(texts))
        self.demands.append(abstain_below)
        self.begun.set()
        assert self.let.wait(10)
        if "bad" in texts:
            raise ValueError("bad")
        return [TextAnswer(str(text), True) for text in texts]


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def gatherer(held: Held) -> Iterator[Gatherer]:
    found = Gatherer(held, waiting=6, together=4)
    found.ask(["first"], Demand())
    assert held.begun.wait(10)  # the model is busy from here on
    yield found
    held.let.set()
    found.close(10)


def texts(future: Any) -> list[str]:
    return [answer.answer for answer in future.result(10)]


def test_what_waits_goes_together_by_demand_and_room(held: Held, gatherer: Gatherer) -> None:
    asked = [(["a", "b"], Demand()), (["c"], Demand(0.5)), (["d"], Demand()), (["e", "f"], Demand())]
    futures = [gatherer.ask(*one) for one in asked]
    assert gatherer.waiting == 6
    held.let.set()
    assert [texts(future) for future in futures] == [inputs for inputs, _ in asked]
    assert held.calls == [["first"], ["a", "b", "d"], ["c"], ["e", "f"]]
    assert held.demands == [None, None, 0.5, None]
    gatherer.close()
    assert (gatherer.answered, gatherer.batches, gatherer.waiting) == (7, 4, 0)


def test_one_request_larger_than_a_batch_is_answered_whole(held: Held, gatherer: Gatherer) -> None:
    many = gatherer.ask(list("abcdef"), Demand())
    held.let.set()
    assert texts(many) == list("abcdef")


def test_more_than_may_wait_is_refused_at_once(held: Held, gatherer: Gatherer) -> None:
    kept = gatherer.ask(list("abcde"), Demand())
    with pytest.raises(BusyError) as refused:
        gatherer.ask(["f", "g"], Demand())
    assert refused.value.seconds >= 1
    last = gatherer.ask(["f"], Demand())
    held.let.set()
    assert texts(kept) + texts(last) == list("abcdef")


def test_one_slow_text_alone_says_little_of_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.9, 1.0, 1.8])  # one text in 0.9 s, then eight in 0.8 s
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    held = Held()
    held.let.set()
    found = Gatherer(held, waiting=100)
    found.ask(["first"], Demand()).result(10)
    found.ask(list("abcdefgh"), Demand()).result(10)
    found.close(10)
    assert found.seconds_a_text == pytest.approx(0.1)  # half of 0.1 that was, half of 0.1


def test_a_fault_is_its_own_requests_alone(held: Held, gatherer: Gatherer) -> None:
    good, bad, other = (gatherer.ask([text], Demand()) for text in ("a", "bad", "b"))
    held.let.set()
    assert texts(good) + texts(other) == ["a", "b"]
    with pytest.raises(ValueError, match="bad"):
        bad.result(10)


def test_what_nobody_waits_for_is_not_computed(held: Held, gatherer: Gatherer) -> None:
    gone, kept = gatherer.ask(["gone"], Demand()), gatherer.ask(["kept"], Demand())
    assert gone.cancel()
    assert gatherer.waiting == 1
    held.let.set()
    assert texts(kept) == ["kept"]
    only = gatherer.ask(["x"], Demand())
    only.cancel()
    gatherer.close(10)
    assert ["gone"] not in held.calls


def test_closing_answers_what_was_taken_and_takes_no_more(held: Held, gatherer: Gatherer) -> None:
    future = gatherer.ask(["a"], Demand())
    closing = threading.Thread(target=gatherer.close)
    closing.start()
    held.let.set()
    closing.join(10)
    assert not wait([future], 0).not_done
    with pytest.raises(BusyError):
        gatherer.ask(["b"], Demand())
