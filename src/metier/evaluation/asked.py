"""What a way of asking scored and cost: its entry in ``scores.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metier.evaluation.evidence import against, evaluate_choices, evaluate_classification
from metier.evaluation.groups import extreme_share, groups_of, interval, share, summed
from metier.evaluation.intervals import Ints, resample_sums
from metier.evaluation.scores import Prediction, Score
from metier.evaluation.written import evaluate_written
from metier.tasks import Task

Facts = Mapping[str, Any]


def evaluate_asked(
    task: Task,
    predictions: Sequence[Prediction],
    *,
    seed: int,
    cost: Facts,
    reference: tuple[str, Sequence[Prediction]] | None = None,
) -> dict[str, Any]:
    """One strategy's entry: scores of the task's kind, paired with ``reference``, and ``strategy``: what it cost.

    Args:
        predictions: of the questions that were asked.
        cost: facts of :func:`summary`.
        reference: zero-shot's name and predictions, of the same questions or more.
    """
    others = {}
    if reference:
        asked = {p.example_id for p in predictions}
        same = [p for p in reference[1] if p.example_id in asked]
        if len(same) == len(asked):
            others = {reference[0]: same}
    if task.kind == "multiple_choice":
        entry = evaluate_choices(predictions, seed=seed, others=others)
    elif task.written:
        entry = evaluate_written(task.kind, predictions, seed=seed, types=task.labels, others=others)
    else:
        metric = task.metric if task.metric in ("accuracy", "weighted_f1", "macro_f1") else "weighted_f1"
        entry = evaluate_classification(task.labels, predictions, seed=seed, others=others, metric=metric)
        for name, other in others.items():
            entry["against"][name]["accuracy"] = against(predictions, other, metric="accuracy", seed=seed)["difference"]
    return entry | {"strategy": dict(cost)}


def summary(
    predictions: Sequence[Prediction], facts: Sequence[Facts], *, not_asked: int, truncated: int, seed: int
) -> dict[str, Any]:
    """What the answers of one strategy have in common, from each question's facts; intervals are over groups.

    Returns:
        ``asked``, ``not_asked``, ``truncated`` (prompts whose middle was left out), ``tokens`` and ``seconds`` a
        question; where it samples ``free_text`` (how many samples state an option) with ``free_text_accuracy``,
        ``single_accuracy`` (the first sample alone), ``agreement``, ``ties``, ``cut_off``; where it shuffles
        ``order_dependence`` and ``accuracy_by_order``; where it cites ``cited`` and ``invented_citations``.
    """
    n, groups = len(predictions), groups_of(predictions)
    found: dict[str, Any] = {
        "asked": n,
        "not_asked": not_asked,
        "truncated": truncated,
        "tokens": sum(p.tokens for p in predictions) / n,
        "seconds": sum(p.seconds for p in predictions) / n,
    }
    if "votes" in facts[0]:
        found |= _votes(predictions, facts, groups, seed)
    if "orders" in facts[0]:
        rights = [f["right"] for f in facts]
        count = min(len(right) for right in rights)
        found["order_dependence"] = share([f["depends_on_order"] for f in facts], groups).to_json()
        found["accuracy_by_order"] = [
            share([right[place] for right in rights], groups).to_json() for place in range(count)
        ]
    if "cited" in facts[0]:
        found["cited"] = share([bool(f["cited"]) for f in facts], groups).to_json()
        found["invented_citations"] = sum(f["invented"] for f in facts)
    return found


def _votes(predictions: Sequence[Prediction], facts: Sequence[Facts], groups: Ints | None, seed: int) -> dict[str, Any]:
    n = len(predictions)
    stated = [f["stated_answer"] == p.gold for f, p in zip(facts, predictions, strict=True)]
    hits, votes = [f["stated"] for f in facts], [f["votes"] for f in facts]
    return {
        "samples": int(facts[0]["votes"]),
        "free_text": share_of_samples(hits, votes, groups, seed=seed).to_json(),
        "free_text_accuracy": share(stated, groups).to_json(),
        "single_accuracy": share([f["single_right"] for f in facts], groups).to_json(),
        "agreement": sum(f["agreement"] for f in facts) / n,
        "ties": sum(f["tied"] for f in facts),
        "cut_off": sum(f["cut_off"] for f in facts),
        "shortened": sum(bool(f.get("shortened")) for f in facts),
    }


def share_of_samples(hits: Sequence[int], counts: Sequence[int], groups: Ints | None = None, *, seed: int) -> Score:
    """A share of samples, its interval by questions: samples of one question are no independent trials.

    A bootstrap over questions, or their ``groups``, (n,); where all samples agree it would claim certainty, and the
    interval is that of a share of 0 or 1 among these. A single one shows no spread. ``n`` counts questions.
    """
    total, all_ = sum(hits), sum(counts)
    n, value = len(counts), total / all_
    if max(counts) == 1:
        return share(np.array(hits) == 1, groups)
    if total in (0, all_):
        return extreme_share(value, n, groups)
    columns = summed(np.array([hits, counts], np.float64).T, groups)
    if len(columns) < 2:
        return Score(value, 0.0, 1.0, n)
    totals = resample_sums(columns, seed=seed)
    return interval(value, totals[:, 0] / totals[:, 1], n, groups)
