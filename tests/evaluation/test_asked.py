"""Shares of samples: intervals by questions, since samples of one question are no independent trials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
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


def test_samples_and_votes_are_counted_over_the_groups_of_their_questions() -> None:
    hits, groups = [11] * 20 + [0] * 20, np.repeat(np.arange(8), 5)
    grouped, plain = share_of_samples(hits, [11] * 40, groups, seed=0), share_of_samples(hits, [11] * 40, seed=0)
    assert (grouped.value, grouped.n) == (plain.value, plain.n)
    assert grouped.high - grouped.low > 1.5 * (plain.high - plain.low)
    assert share_of_samples([11] * 40, [11] * 40, groups, seed=0).low == pytest.approx(0.631, abs=0.001)  # 8 of 8
    one = share_of_samples(hits, [11] * 40, np.zeros(40, np.int64), seed=0)
    assert (one.low, one.high) == (0, 1)
    facts = {"votes": 3, "stated": 2, "agreement": 1.0, "tied": False, "cut_off": 0,
             "orders": 2, "depends_on_order": False, "right": [True, False]}  # fmt: skip
    rows = answers("0000000011")
    patients = [replace(p, group=f"p{n // 2}") for n, p in enumerate(rows)]
    told = [{**facts, "stated_answer": p.answer, "single_right": p.correct} for p in rows]
    alone, shared = (summary(given, told, not_asked=0, truncated=0, seed=0) for given in (rows, patients))
    for name in ("free_text_accuracy", "single_accuracy"):
        assert shared[name]["value"] == alone[name]["value"] == 0.8
        assert shared[name]["low"] < alone[name]["low"]
    assert shared["order_dependence"]["high"] == pytest.approx(0.522, abs=0.001)  # Clopper-Pearson of 0 of 5
    assert shared["accuracy_by_order"][0]["low"] < alone["accuracy_by_order"][0]["low"]


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
