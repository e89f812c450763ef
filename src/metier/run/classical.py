"""What costs next to nothing and must be beaten, fitted on a task's own train part: a constant answer, and TF-IDF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metier.evaluation import baselines
from metier.evaluation.scores import Prediction
from metier.run.choices import most_frequent_place
from metier.run.data import Data
from metier.run.generative import answer_the_same
from metier.tasks import Example


def classical_systems(data: Data) -> tuple[str, ...]:
    """Those that a task of its kind has: TF-IDF chooses among classes. None where there is nothing to fit them on."""
    if not data.part("train"):
        return ()
    return ("majority", "tfidf") if data.task.kind == "classification" else ("majority",)


def answer_classically(system: str, data: Data, examples: Sequence[Example]) -> tuple[dict[str, Any], list[Prediction]]:
    """The setting of ``majority`` or ``tfidf`` (the latter tuned on validation), and its answers to ``examples``."""
    train = data.part("train")
    if data.task.kind != "classification":
        same = answer_the_same(train, examples, "test") if data.task.written else most_frequent_place(train, examples)
        return {"answer": same[0]}, same[1]
    model = _fitted(system, data)
    ids, (texts, golds) = [example.id for example in examples], _texts_and_golds(examples)
    return model.setting, baselines.predict(model, ids=ids, texts=texts, golds=golds, split="test")


def classical_answers(data: Data, examples: Sequence[Example]) -> dict[str, list[Prediction]]:
    """The answers of all of them to any ``examples``, by system."""
    return {system: answer_classically(system, data, examples)[1] for system in classical_systems(data)}


def _fitted(system: str, data: Data) -> baselines.Baseline:
    texts, golds = _texts_and_golds(data.part("train"))
    if system == "majority":
        return baselines.majority(golds, data.task.labels)
    return baselines.tfidf(texts, golds, *_texts_and_golds(data.part("validation")), data.task.labels)


def _texts_and_golds(examples: Sequence[Example]) -> tuple[list[str], list[str]]:
    return [example.text for example in examples], [example.target for example in examples]
