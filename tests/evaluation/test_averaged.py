"""The mean of several questions' F1, resampled by text."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from metier.evaluation.averaged import Slices, average_difference, average_weighted_f1
from metier.evaluation.evidence import evaluate_classification
from metier.evaluation.scores import Prediction
from metier.tasks import Example, catalogue

LABELS = ["no", "yes"]


def made(texts: int, right: float, seed: int) -> tuple[list[Prediction], Slices]:
    rng, rows = np.random.default_rng(seed), []
    for text in range(texts):
        for question in "abc":
            gold = LABELS[int(np.random.default_rng([text, ord(question)]).random() < 0.3)]
            wrong = LABELS[1 - LABELS.index(gold)]
            answer = gold if rng.random() < right else wrong
            identity = f"{text}{question}"
            rows.append(Prediction(example_id=identity, split="test", text="", gold=gold, answer=answer,
                                   probabilities={}, parsed=True, tokens=0, seconds=0.0))  # fmt: skip
    return rows, Slices({p.example_id: p.example_id[-1] for p in rows}, {p.example_id: p.example_id[:-1] for p in rows})


def test_it_is_the_mean_of_each_questions_weighted_f1() -> None:
    rows, slices = made(200, 0.8, 1)
    score = average_weighted_f1(rows, LABELS, slices, seed=0)
    each = [
        f1_score(
            [p.gold for p in rows if p.example_id.endswith(q)],
            [p.answer for p in rows if p.example_id.endswith(q)],
            average="weighted",
        )
        for q in "abc"
    ]
    assert score.value == pytest.approx(np.mean(each))
    assert score.n == 200
    assert score.low < score.value < score.high


def test_texts_are_resampled_whole() -> None:
    """Where all answers about a text stand or fall together, the interval is as wide as that of the texts."""
    rows, slices = made(100, 1.0, 1)
    flip = {"no": "yes", "yes": "no"}
    bound = [p if int(p.example_id[:-1]) % 4 else Prediction(**{**vars(p), "answer": flip[p.gold]}) for p in rows]
    by_text = average_weighted_f1(bound, LABELS, slices, seed=0)
    alone = Slices(slices.question, {p.example_id: p.example_id for p in rows})
    by_answer = average_weighted_f1(bound, LABELS, alone, seed=0)
    assert by_text.value == pytest.approx(by_answer.value)
    assert by_text.high - by_text.low > 1.4 * (by_answer.high - by_answer.low)


def test_certainty_is_not_claimed() -> None:
    rows, slices = made(40, 1.0, 1)
    score = average_weighted_f1(rows, LABELS, slices, seed=0)
    assert (score.value, score.high) == (1.0, 1.0)
    assert score.low < 0.95
    same = average_difference(rows, rows, LABELS, slices, seed=0)
    assert (same.value, same.low) == (0.0, -same.high)
    wrong, _ = made(40, 0.0, 1)
    gap = average_difference(rows, wrong, LABELS, slices, seed=0)
    assert (gap.value, gap.low, gap.high) == (1.0, 1 - same.high, 1.0)


def test_one_text_or_two_that_are_never_right_are_no_certainty() -> None:
    rows, slices = made(1, 0.5, 2)
    score = average_weighted_f1(rows, LABELS, slices, seed=0)
    assert 0 < score.value < 1
    assert (score.low, score.high) == (max(0.0, score.value - 0.975), min(1.0, score.value + 0.975))
    wrong, slices = made(40, 0.0, 1)
    unread = [Prediction(**{**vars(p), "answer": None, "parsed": False}) for p in wrong]
    gap = average_difference(wrong, unread, LABELS, slices, seed=0)
    assert (gap.value, gap.low, gap.high) == pytest.approx((0, -0.0881, 0.0881), abs=1e-4)


def test_an_entry_carries_it_and_the_paired_difference() -> None:
    better, slices = made(150, 0.95, 1)
    worse, _ = made(150, 0.6, 2)
    entry = evaluate_classification(
        LABELS, better, seed=0, others={"base": worse}, metric="average_weighted_f1", slices=slices
    )
    assert entry["metrics"]["average_weighted_f1"]["n"] == 150
    assert entry["metrics"]["accuracy"]["n"] == 450
    assert entry["against"]["base"]["difference"]["low"] > 0


def test_slices_come_from_the_task() -> None:
    example = Example("1", {"headline": "h", "question": "q"}, "yes", group="g")
    assert Slices.of(catalogue.get("gold-headlines"), [example]) == Slices({"1": "q"}, {"1": "g"})
    assert Slices.of(catalogue.get("financial-phrasebank"), [example]) is None
