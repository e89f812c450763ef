"""What costs next to nothing and must be beaten: the majority class, and TF-IDF with logistic regression.

Both are fitted on the training rows alone and answer any text. Neither has a random part, so neither takes a
seed: the same rows give the same answers. (With another number of BLAS threads sums are taken in another
order, and the last bits of the probabilities may differ.)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from metier.errors import MetierError
from metier.evaluation.intervals import Floats
from metier.evaluation.metrics import encode_golds, tally, weighted_f1
from metier.evaluation.scores import Prediction

C_GRID = (0.3, 1.0, 3.0, 10.0, 30.0)
CLASS_WEIGHTS = (None, "balanced")
MANY_ROWS = 1000  # from here on a feature must occur in two rows: halves the features at the same F1


class Baseline(Protocol):
    """A fitted baseline.

    Attributes:
        labels: the task's labels, in the order of the columns of :meth:`probabilities`.
        setting: what was chosen in fitting, ready for JSON.
    """

    @property
    def labels(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def setting(self) -> dict[str, Any]: ...  # noqa: D102

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Probabilities of the labels for each text, (texts, labels)."""


@dataclass(frozen=True, eq=False)
class Majority:
    """Always answers the most frequent training label; its probabilities are the training shares."""

    labels: tuple[str, ...]
    shares: Floats

    @property
    def setting(self) -> dict[str, Any]:
        """``{"answer"}``."""
        return {"answer": self.labels[int(self.shares.argmax())]}

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """The training shares for each text, (texts, labels)."""
        return np.tile(self.shares, (len(texts), 1))


@dataclass(frozen=True, eq=False)
class Tfidf:
    """TF-IDF of words and characters with logistic regression.

    Attributes:
        labels: the task's labels.
        pipeline: the fitted scikit-learn pipeline; it knows only the labels that occur in training.
        setting: C, class weight, features, and the validation weighted F1 they were chosen by.
    """

    labels: tuple[str, ...]
    pipeline: Any
    setting: dict[str, Any]

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Probabilities of the labels for each text, (texts, labels); 0 for a label without training rows."""
        if not len(texts):
            return np.zeros((0, len(self.labels)))
        return _spread(self.pipeline.predict_proba(list(texts)), self.pipeline.classes_, self.labels)


def majority(train_labels: Sequence[str], labels: Sequence[str]) -> Majority:
    """Fit the majority baseline. Of equally frequent labels the first in the task's order is answered.

    Raises:
        MetierError: there are no training rows, or one has a label that the task does not declare.
    """
    _require_rows(train_labels, "training")
    counts = np.bincount(encode_golds(labels, train_labels), minlength=len(labels))
    return Majority(tuple(labels), counts / counts.sum())


def tfidf(
    train_texts: Sequence[str],
    train_labels: Sequence[str],
    validation_texts: Sequence[str],
    validation_labels: Sequence[str],
    labels: Sequence[str],
) -> Tfidf:
    """Fit TF-IDF with multinomial logistic regression.

    Features are words and pairs of words, and runs of 3 to 5 characters within words, each with sublinear term
    frequency. C and the class weight are those with the best weighted F1 on the validation rows; of equals, the
    unweighted and the smallest C. The validation rows serve for nothing else: the model is not fitted again on
    both parts, so that it has seen exactly the rows that a specialist is trained on.

    Raises:
        MetierError: no rows, a label that the task does not declare, or training rows of one class only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    _require_rows(train_labels, "training")
    _require_rows(validation_labels, "validation")
    encode_golds(labels, train_labels)
    gold = encode_golds(labels, validation_labels)
    if len(classes := Counter(train_labels)) < 2:
        raise MetierError(
            f"all training rows have the label '{next(iter(classes))}'", fix="a classifier needs rows of two labels"
        )
    fewest = 2 if len(train_texts) >= MANY_ROWS else 1
    features = _features(fewest)
    try:
        train = features.fit_transform(list(train_texts))
    except ValueError:
        if fewest == 1:
            raise
        fewest = 1  # no word stands in two rows, such as where each row is a name
        features = _features(fewest)
        train = features.fit_transform(list(train_texts))
    validation = features.transform(list(validation_texts))
    best: tuple[float, Any, dict[str, Any]] | None = None
    for class_weight in CLASS_WEIGHTS:
        for c in C_GRID:
            # newton-cg needs a third of the time of lbfgs here; a looser tol stops before large C matters
            model = LogisticRegression(solver="newton-cg", C=c, class_weight=class_weight, tol=1e-5, max_iter=500)
            model.fit(train, list(train_labels))
            answer = _spread(model.predict_proba(validation), model.classes_, labels).argmax(axis=1)
            score = float(weighted_f1(tally(np.ones(len(gold)), gold, answer, len(labels))))
            if best is None or score > best[0]:
                best = (score, model, {"C": c, "class_weight": class_weight})
    assert best is not None
    score, model, chosen = best
    setting = chosen | {"validation_weighted_f1": score, "min_df": fewest, "features": int(train.shape[1])}
    return Tfidf(tuple(labels), Pipeline([("features", features), ("classifier", model)]), setting)


def predict(
    model: Baseline, *, ids: Sequence[str], texts: Sequence[str], golds: Sequence[str], split: str
) -> list[Prediction]:
    """A baseline's predictions; the time taken is shared evenly among them.

    Args:
        model: a fitted baseline.
        ids: (n,), example ids.
        texts: (n,), what is read.
        golds: (n,), right labels; only recorded.
        split: the part the examples belong to.
    """
    start = time.perf_counter()
    probabilities = model.probabilities(texts)
    answers = probabilities.argmax(axis=1)
    seconds = (time.perf_counter() - start) / max(1, len(texts))
    return [
        Prediction(
            example_id=example_id,
            split=split,
            text=text,
            gold=gold,
            answer=model.labels[int(answer)],
            probabilities=dict(zip(model.labels, map(float, row), strict=True)),
            parsed=True,
            tokens=0,
            seconds=seconds,
        )
        for example_id, text, gold, answer, row in zip(ids, texts, golds, answers, probabilities, strict=True)
    ]


def _require_rows(labels: Sequence[str], part: str) -> None:
    if not len(labels):
        raise MetierError(f"a baseline cannot be fitted: there are no {part} rows", fix=f"give the {part} part a share")


def _features(min_df: int) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    # single characters and signs count as words too: "%", "+" and "-" matter in finance, and no text that has
    # a visible character is without features
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]+", sublinear_tf=True, min_df=min_df)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=min_df)
    return FeatureUnion([("words", words), ("characters", characters)])


def _spread(probabilities: Floats, classes: Sequence[str], labels: Sequence[str]) -> Floats:
    """Columns for all labels, in the task's order, from columns for the labels that were seen in training."""
    spread = np.zeros((len(probabilities), len(labels)))
    spread[:, [list(labels).index(str(name)) for name in classes]] = probabilities
    return spread
