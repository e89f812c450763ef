from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from metier.errors import MetierError
from metier.evaluation.metrics import classification_metrics, confusion, majority_share, per_class

LABELS = ["positive", "neutral", "negative"]
UNPARSED = "unparsed"
rows = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None])), min_size=1, max_size=60)
Rows = list[tuple[str, str | None]]


def parts(found: Rows) -> tuple[list[str], list[str | None], list[str]]:
    golds, answers = [g for g, _ in found], [a for _, a in found]
    return golds, answers, [a or UNPARSED for a in answers]


@given(rows)
@settings(deadline=None, max_examples=100)
def test_f1_equals_scikit_learn(found: Rows) -> None:
    golds, answers, named = parts(found)
    scores = classification_metrics(golds, answers, LABELS, seed=1, resamples=20)
    weighted = f1_score(golds, named, labels=LABELS, average="weighted", zero_division=0)
    macro = f1_score(golds, named, labels=sorted(set(golds)), average="macro", zero_division=0)
    assert scores["weighted_f1"].value == pytest.approx(weighted)
    assert scores["macro_f1"].value == pytest.approx(macro)
    assert scores["accuracy"].value == pytest.approx(np.mean([g == a for g, a in found]))


@given(rows)
@settings(deadline=None, max_examples=60)
def test_per_class_and_confusion_equal_scikit_learn(found: Rows) -> None:
    golds, answers, named = parts(found)
    precision, recall, f1, support = precision_recall_fscore_support(golds, named, labels=LABELS, zero_division=0)
    table = per_class(golds, answers, LABELS)
    for i, label in enumerate(LABELS):
        mine = table[label]
        assert (mine["precision"] or 0, mine["recall"] or 0, mine["f1"] or 0) == pytest.approx(
            (precision[i], recall[i], f1[i])
        )
        assert mine["support"] == support[i]
        assert (mine["recall"] is None) == (support[i] == 0)
        assert (mine["precision"] is None) == (label not in named)
    record = confusion(golds, answers, LABELS)
    whole = confusion_matrix(golds, named, labels=[*LABELS, UNPARSED])
    assert record["matrix"] == whole[:3, :3].tolist()
    assert record.get("unparsed", [0, 0, 0]) == whole[:3, 3].tolist()


@given(rows, st.randoms())
@settings(deadline=None, max_examples=50)
def test_order_does_not_matter_and_intervals_hold(found: Rows, shuffle: random.Random) -> None:
    golds, answers, _ = parts(found)
    scores = classification_metrics(golds, answers, LABELS, seed=7, resamples=100)
    shuffled = list(found)
    shuffle.shuffle(shuffled)
    assert classification_metrics(*parts(shuffled)[:2], LABELS, seed=7, resamples=100) == scores
    for score in scores.values():
        assert score.low is not None
        assert score.high is not None
        assert 0 <= score.low <= score.value <= score.high <= 1
        assert score.low < score.high or len(set(found)) == 1
        assert score.n == len(found)


def test_unreadable_answers_never_score_as_the_majority_class() -> None:
    golds = ["neutral"] * 60 + ["positive"] * 30 + ["negative"] * 10
    scores = classification_metrics(golds, [None] * 100, LABELS, seed=1)
    assert [score.value for score in scores.values()] == [0, 0, 0]
    assert all(
        row["recall"] == 0 and row["precision"] is None for row in per_class(golds, [None] * 100, LABELS).values()
    )
    assert confusion(golds, [None] * 100, LABELS) == {
        "labels": LABELS,
        "matrix": [[0, 0, 0]] * 3,
        "unparsed": [30, 60, 10],
    }


@given(rows, st.data())
@settings(deadline=None, max_examples=50)
def test_losing_an_answer_never_helps_accuracy_or_recall(found: Rows, data: st.DataObject) -> None:
    golds, answers, _ = parts(found)
    lost = list(answers)
    lost[data.draw(st.integers(0, len(found) - 1))] = None
    before, after = per_class(golds, answers, LABELS), per_class(golds, lost, LABELS)
    assert all((after[x]["recall"] or 0) <= (before[x]["recall"] or 0) for x in LABELS)


@pytest.mark.parametrize(
    ("answer", "low", "high"), [("positive", 0.025 ** (1 / 12), 1), (None, 0, 1 - 0.025 ** (1 / 12))]
)
def test_all_right_and_all_wrong_do_not_claim_certainty(answer: str | None, low: float, high: float) -> None:
    for score in classification_metrics(["positive"] * 12, [answer] * 12, LABELS, seed=1).values():
        assert (score.low, score.high) == pytest.approx((low, high))


def test_fewer_examples_widen_the_interval() -> None:
    golds, answers = ["positive", "neutral", "negative"] * 10, ["positive", "neutral", "neutral"] * 10
    few = classification_metrics(golds, answers, LABELS, seed=1)
    many = classification_metrics(golds * 10, answers * 10, LABELS, seed=1)
    for name, score in few.items():
        assert score.value == pytest.approx(many[name].value)
        assert (score.high or 0) - (score.low or 0) > 2 * ((many[name].high or 0) - (many[name].low or 0))


def test_bootstrap_covers_near_95_percent() -> None:
    # shares of (gold, answer) in a population whose weighted F1 is known
    population = np.array([[0.20, 0.06, 0.01], [0.05, 0.50, 0.04], [0.01, 0.03, 0.10]])
    hits, golds, answers = population.diagonal(), population.sum(1), population.sum(0)
    truth = float((golds * 2 * hits / (golds + answers)).sum())
    generator = np.random.default_rng(11)
    covered = []
    for trial in range(200):
        cells = generator.choice(9, size=300, p=population.ravel())
        named = [LABELS[c // 3] for c in cells], [LABELS[c % 3] for c in cells]
        score = classification_metrics(*named, LABELS, seed=trial, resamples=500)["weighted_f1"]
        covered.append(score.low is not None and score.high is not None and score.low <= truth <= score.high)
    assert 0.89 <= np.mean(covered) <= 0.99


def test_a_large_set_has_the_interval_that_theory_expects() -> None:
    generator = np.random.default_rng(0)
    labels = [f"class-{i}" for i in range(7)]
    golds = [labels[i] for i in generator.integers(0, 7, 10_000)]
    answers = [g if generator.random() < 0.8 else labels[generator.integers(0, 7)] for g in golds]
    score = classification_metrics(golds, answers, labels, seed=1)["weighted_f1"]
    assert (score.high or 0) - (score.low or 0) == pytest.approx(2 * 1.96 * (0.83 * 0.17 / 10_000) ** 0.5, rel=0.1)


def test_what_is_not_a_label_is_named() -> None:
    with pytest.raises(MetierError, match="did you mean 'positive'"):
        classification_metrics(["positve"], ["positive"], LABELS, seed=1)
    with pytest.raises(MetierError, match="the answer 'up' is not a label"):
        classification_metrics(["positive"], ["up"], LABELS, seed=1)
    with pytest.raises(MetierError, match="nothing to score"):
        classification_metrics([], [], LABELS, seed=1)
    with pytest.raises(ValueError, match="1 right labels but 2 answers"):
        classification_metrics(["positive"], ["positive"] * 2, LABELS, seed=1)


def test_majority_share_is_of_the_scored_set() -> None:
    assert majority_share(["a", "b", "b", "c"]) == 0.5
