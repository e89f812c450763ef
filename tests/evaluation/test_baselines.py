from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from metier.errors import MetierError
from metier.evaluation.baselines import MANY_ROWS, majority, predict, tfidf

LABELS = ["positive", "neutral", "negative"]
WORDS = {"positive": "profit rose gained", "neutral": "meeting held agenda", "negative": "loss fell declined"}


def sentences(n: int, seed: int) -> tuple[list[str], list[str]]:
    generator = random.Random(seed)
    golds = [generator.choice(LABELS) for _ in range(n)]
    noise = ["the", "company", "said", "today", "that", "its", "quarter", "unit", "group", "plan"]
    texts = [" ".join([*generator.sample(noise, 5), generator.choice(WORDS[gold].split())]) for gold in golds]
    return texts, golds


def test_majority_answers_the_training_majority_with_training_shares() -> None:
    model = majority(["neutral"] * 6 + ["negative"] * 3 + ["positive"], LABELS)
    found = predict(model, ids=["1", "2"], texts=["a", "b"], golds=["positive", "neutral"], split="test")
    assert [p.answer for p in found] == ["neutral", "neutral"]
    assert found[0].probabilities == pytest.approx({"positive": 0.1, "neutral": 0.6, "negative": 0.3})
    assert [p.correct for p in found] == [False, True]
    assert model.setting == {"answer": "neutral"}


def test_majority_breaks_ties_by_the_task_and_not_by_row_order() -> None:
    assert majority(["negative", "positive"], LABELS).setting == {"answer": "positive"}
    with pytest.raises(MetierError, match="no training rows"):
        majority([], LABELS)


def test_tfidf_learns_and_is_deterministic() -> None:
    train, validation, test = (sentences(n, seed) for seed, n in enumerate((120, 30, 60)))
    model = tfidf(*train, *validation, LABELS)
    probabilities = model.probabilities(test[0])
    assert probabilities.shape == (60, 3)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(60))
    assert f1_score(test[1], [LABELS[i] for i in probabilities.argmax(axis=1)], average="weighted") > 0.95
    assert np.array_equal(tfidf(*train, *validation, LABELS).probabilities(test[0]), probabilities)
    assert {"C", "class_weight", "validation_weighted_f1", "features"} <= model.setting.keys()
    found = predict(model, ids=[str(i) for i in range(60)], texts=test[0], golds=test[1], split="test")
    assert [LABELS.index(str(p.answer)) for p in found] == probabilities.argmax(axis=1).tolist()
    assert all(p.parsed and p.seconds > 0 and p.text for p in found)


def test_one_training_row_a_class_and_a_class_missing_in_validation() -> None:
    texts = ["profit rose", "meeting held", "loss fell"]
    model = tfidf(texts, LABELS, ["profit rose again"], ["positive"], LABELS)
    assert model.probabilities(["the profit rose"]).argmax() == 0
    assert model.probabilities(["%", "", "利益が増えた"]).shape == (3, 3)
    assert model.probabilities([]).shape == (0, 3)


def test_a_label_without_training_rows_has_probability_zero() -> None:
    model = tfidf(["profit rose", "loss fell"], ["positive", "negative"], ["held"], ["neutral"], LABELS)
    assert model.probabilities(["profit"])[0, 1] == 0
    assert model.setting["validation_weighted_f1"] == 0


def test_many_rows_that_share_no_word_are_fitted_too() -> None:
    generator = random.Random(0)
    names = ["".join(generator.choices("abcdefgh", k=9)) for _ in range(MANY_ROWS)]
    golds = [LABELS[name[-1] < "d"] for name in names]
    assert tfidf(names, golds, names[:50], golds[:50], LABELS).setting["min_df"] == 1


def test_what_cannot_be_fitted_is_explained() -> None:
    with pytest.raises(MetierError, match="all training rows have the label 'positive'"):
        tfidf(["a", "b"], ["positive"] * 2, ["c"], ["positive"], LABELS)
    with pytest.raises(MetierError, match="no validation rows"):
        tfidf(["a", "b"], ["positive", "negative"], [], [], LABELS)
    with pytest.raises(MetierError, match="did you mean 'negative'"):
        tfidf(["a", "b"], ["positive", "negativ"], ["c"], ["positive"], LABELS)


def test_tfidf_on_published_data(data_root: Path) -> None:
    path = data_root / "finance/financial_phrasebank/Sentences_50Agree.txt"
    lines = path.read_text("latin-1").splitlines()
    rows = dict(line.rsplit("@", 1) for line in lines if line.strip())
    texts, golds = list(rows), [label.strip() for label in rows.values()]
    rest, test, rest_golds, test_golds = train_test_split(texts, golds, test_size=0.2, random_state=0, stratify=golds)
    train, validation, train_golds, validation_golds = train_test_split(
        rest, rest_golds, test_size=0.125, random_state=0, stratify=rest_golds
    )
    model = tfidf(train, train_golds, validation, validation_golds, LABELS)
    answers = [LABELS[i] for i in model.probabilities(test).argmax(axis=1)]
    assert 0.73 < f1_score(test_golds, answers, average="weighted") < 0.82
