"""Scores with intervals, from the predictions on disk: every system of a task, and the specialist against the others.

``predictions`` is the run's folder of them; what is returned are entries of ``scores.json`` by system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metier.evaluation.averaged import Slices
from metier.evaluation.calibration import Temperature, fit_temperature, log_probabilities, probability_matrix
from metier.evaluation.choices import places
from metier.evaluation.evidence import evaluate_choices, evaluate_classification, read_predictions
from metier.evaluation.groups import in_groups
from metier.evaluation.scores import Prediction
from metier.evaluation.written import evaluate_written, not_applicable
from metier.tasks import Example, Task

NO_TFIDF_IN_WORDS = "TF-IDF chooses among labels; the answers of this task are written out"
NO_TFIDF_OF_OPTIONS = "TF-IDF chooses among classes; here every question has options of its own"


def score_systems(
    predictions: Path, task: Task, systems: Sequence[str], test: Sequence[Example], seed: int
) -> dict[str, Any]:
    """Every system on the examples of the ``test`` part, as the task's kind has it."""
    if task.written:
        return _score_written(predictions, task, systems, test, seed)
    if task.kind == "multiple_choice":
        return _score_choices(predictions, task, systems, test, seed)
    return score_labels(predictions, task, systems, test, seed)


def score_labels(
    predictions: Path,
    task: Task,
    systems: Sequence[str],
    test: Sequence[Example],
    seed: int,
    *,
    on: str | None = None,
) -> dict[str, Any]:
    """Systems that choose among labels.

    Args:
        on: another task with the same labels, whose answers are scored instead. The specialist's temperature is fitted
            on its validation answers to ``task`` nevertheless.
    """
    found = {name: _tested(predictions, on or task.name, name, test) for name in systems}
    entries: dict[str, Any] = {}
    for name in systems:
        temperature = None
        others: dict[str, list[Prediction]] = {}
        if name == "specialist":
            held_out = _answers(predictions, task.name, name, "validation")
            temperature = fitted_temperature(task, held_out) if held_out else None
            others = {other: p for other, p in found.items() if other != name}
        entries[name] = evaluate_classification(
            task.labels, found[name], seed=seed, others=others, metric=task.metric, temperature=temperature,
            slices=Slices.of(task, test),
        )  # fmt: skip
    return entries


def _score_choices(
    predictions: Path, task: Task, systems: Sequence[str], test: Sequence[Example], seed: int
) -> dict[str, Any]:
    found = {name: _tested(predictions, task.name, name, test) for name in systems if name != "tfidf"}
    entries: dict[str, Any] = {"tfidf": not_applicable(NO_TFIDF_OF_OPTIONS)}
    for name, answers in found.items():
        temperature, others = None, None
        if name == "specialist":
            held_out = _answers(predictions, task.name, name, "validation")
            temperature = fitted_temperature(task, held_out) if held_out else None
            others = {other: p for other, p in found.items() if other != name}
        entries[name] = evaluate_choices(answers, seed=seed, others=others, temperature=temperature)
    return {name: entries[name] for name in systems}


def _score_written(
    predictions: Path, task: Task, systems: Sequence[str], test: Sequence[Example], seed: int
) -> dict[str, Any]:
    found = {name: _tested(predictions, task.name, name, test) for name in systems if name != "tfidf"}
    entries: dict[str, Any] = {"tfidf": not_applicable(NO_TFIDF_IN_WORDS)}
    for name, answers in found.items():
        others = {other: p for other, p in found.items() if other != name} if name == "specialist" else {}
        entries[name] = evaluate_written(task.kind, answers, seed=seed, types=task.labels, others=others)
    return {name: entries[name] for name in systems}


def score_generated(
    predictions: Path, task: Task, systems: Sequence[str], test: Sequence[Example], seed: int
) -> dict[str, Any]:
    """``base-generated`` and ``specialist-generated`` of a classification task.

    Each is held against the likelihood scores of the same model, if that is among ``systems``; the specialist's also
    against the base's.
    """
    rivals: Mapping[str, list[str]] = {
        "base-generated": ["base"],
        "specialist-generated": ["specialist", "base-generated"],
    }
    known = [*(name for name in ("base", "specialist") if name in systems), *rivals]
    found = {name: _tested(predictions, task.name, name, test) for name in known}
    return {
        name: evaluate_classification(
            task.labels,
            found[name],
            seed=seed,
            metric=task.metric,
            others={other: found[other] for other in others if other in found},
            slices=Slices.of(task, test),
        )
        for name, others in rivals.items()
    }


def fitted_temperature(task: Task, validation: Sequence[Prediction]) -> Temperature:
    """Temperature from the validation part's probabilities; a question with fewer options has 0 for the others."""
    if task.kind == "multiple_choice":
        names = places(validation)
        logs = log_probabilities(probability_matrix([p.probabilities for p in validation], names))
    else:
        names = task.labels
        logs = np.log(np.array([[max(p.probabilities[label], 1e-30) for label in names] for p in validation]))
    return fit_temperature(logs, np.array([list(names).index(p.gold) for p in validation]))


def _file(predictions: Path, task: str, system: str) -> Path:
    return predictions / f"{task}.{system}.parquet"


def _tested(predictions: Path, task: str, system: str, test: Sequence[Example]) -> list[Prediction]:
    return in_groups(_answers(predictions, task, system, "test"), test)


def _answers(predictions: Path, task: str, system: str, part: str) -> list[Prediction]:
    return [p for p in read_predictions(_file(predictions, task, system)) if p.split == part]
