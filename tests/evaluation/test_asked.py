"""Shares of samples: intervals by questions, since samples of one question are no independent trials."""

from __future__ import annotations

import pytest

from metier.evaluation.asked import evaluate_asked, share_of_samples, summary
from metier.evaluation.scores import Prediction
from metier.tasks import Task


def test_samples_that_repeat_each_other_count_as_one_question() -> None:
    split = share_of_samples([11] * 20 + [0] * 20, [11] * 40, seed=0)  # each question all or nothing
    spread = share_of_samples([6] * 20 + [5] * 20, [11] * 40, seed=0)
    assert split.value == spread.value == 0.5
    assert split.n == 40
    assert split.high - split.low > 0.25 > spread.high - spread.low
    every = share_of_samples([11] * 20, [11] * 20, seed=0)
    assert every.low == pytest.approx(0.832, abs=0.001)  # Clopper-Pearson of 20 of 20
    assert share_of_samples([1, 0, 1], [1, 1, 1], seed=0).n == 3


TASK = Task(name="t", version=1, kind="multiple_choice", title="T", metric="accuracy")


def answers(given: str) -> list[Prediction]:
    return [
        Prediction(example_id=str(n), split="test", text="", gold="0", answer=a, probabilities={}, parsed=True,
                   tokens=10, seconds=0.5)
        for n, a in enumerate(given)
    ]  # fmt: skip


def test_what_was_asked_is_compared_on_the_questions_both_were_asked() -> None:
    zero, more = answers("0101"), answers("00")
    about = summary(more, [{}, {}], not_asked=2, truncated=0, seed=0)
    entry = evaluate_asked(TASK, more, seed=0, cost=about, reference=("base-zero-shot", zero))
    assert entry["against"]["base-zero-shot"]["difference"]["n"] == 2
    assert entry["against"]["base-zero-shot"]["only_this"] == 1
    assert entry["strategy"] == {"asked": 2, "not_asked": 2, "truncated": 0, "tokens": 10, "seconds": 0.5}
    longer = evaluate_asked(TASK, zero, seed=0, cost=about, reference=("base-zero-shot", more))
    assert "against" not in longer  # zero-shot was asked fewer
