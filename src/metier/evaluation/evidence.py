"""What a run leaves behind to be judged by: a file of predictions for each system, and ``scores.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.evaluation import times
from metier.evaluation.averaged import AVERAGE, Slices, average_difference, average_weighted_f1
from metier.evaluation.calibration import (
    Temperature,
    apply_temperature,
    log_probabilities,
    probability_matrix,
    reliability,
    risk_coverage,
)
from metier.evaluation.confidence import at_temperature
from metier.evaluation.groups import TEST, groups_of, share
from metier.evaluation.intervals import Ints, require_examples
from metier.evaluation.metrics import classification_metrics, confusion, majority_share, per_class
from metier.evaluation.paired import McNemar, accuracy_difference, difference, mcnemar_exact
from metier.evaluation.scores import Prediction, Score
from metier.evaluation.selective import curves, over_groups
from metier.files import replacing, write_json

_AGAIN = "run `metier run` on the recipe again: finished stages are not repeated"
_TEXTS = ("example_id", "split", "text", "gold", "answer")
_COLUMNS = (*_TEXTS, "parsed", "tokens")


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions as parquet (zstd), one row each, by rename; their seconds beside it.

    Columns: ``example_id``, ``split``, ``text``, ``gold``, ``answer`` (null if unreadable), ``parsed``,
    ``tokens``, ``output`` if any system wrote, and ``p.<label>`` for each label that has a probability.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"parsed": pa.bool_(), "tokens": pa.int64()}
    columns = {
        name: pa.array([getattr(p, name) for p in predictions], kinds.get(name, pa.string())) for name in _COLUMNS
    }
    if any(p.output is not None for p in predictions):
        columns["output"] = pa.array([p.output for p in predictions], pa.string())
    labels = dict.fromkeys(label for p in predictions for label in p.probabilities)
    for label in labels:
        columns[f"p.{label}"] = pa.array([p.probabilities.get(label) for p in predictions], pa.float64())
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")
    times.write_seconds(path, [p.seconds for p in predictions])


def read_predictions(path: Path) -> list[Prediction]:
    """Read what :func:`write_predictions` wrote.

    Raises:
        MetierError: the file is absent, damaged, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise MetierError(f"cannot read the predictions: {error}", where=str(path), fix=_AGAIN) from error
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise MetierError(f"the predictions lack the column {', '.join(missing)}", where=str(path), fix=_AGAIN)
    labels = [name.removeprefix("p.") for name in table.column_names if name.startswith("p.")]
    return [
        Prediction(
            **{name: row[name] for name in _COLUMNS},
            seconds=row.get("seconds", spent),  # earlier releases kept them in the table
            output=row.get("output"),
            probabilities={x: row[f"p.{x}"] for x in labels if row[f"p.{x}"] is not None},
        )
        for row, spent in zip(table.to_pylist(), times.read_seconds(path, table.num_rows), strict=True)
    ]


def read_scores(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """``scores.json`` as task, then system, then entry, with times where they are known; empty if there is no such
    file yet.

    Raises:
        MetierError: the file is not valid JSON.
    """
    if not path.is_file():
        return {}
    try:
        scores = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise MetierError(f"not valid JSON: {error}", where=str(path), fix=_AGAIN) from error
    if not isinstance(scores, dict):
        raise MetierError("scores are an object of tasks", where=str(path), fix=_AGAIN)
    times.together(scores, times.read(times.file_of(path)))
    return scores


def write_scores(path: Path, scores: times.Entries) -> None:
    """Write ``scores.json`` and, beside it, the times in it, by rename: scores are the same from run to run."""
    left, taken = times.apart(scores)
    write_json(times.file_of(path), taken)
    write_json(path, left)


def merge_scores(path: Path, task: str, system: str, entry: Mapping[str, Any]) -> None:
    """Put one system's entry into ``scores.json``, by rename; what else is there stays."""
    if entry.get("status") not in ("ok", "failed") or (entry["status"] == "failed" and not entry.get("reason")):
        raise ValueError("an entry has the status 'ok', or 'failed' with a reason")
    scores = read_scores(path)
    scores.setdefault(task, {})[system] = dict(entry)
    write_scores(path, scores)


def failed(reason: str) -> dict[str, Any]:
    """The entry of a system that could not be scored: never a score of 0."""
    return {"status": "failed", "reason": reason}


def evaluate_classification(
    labels: Sequence[str],
    predictions: Sequence[Prediction],
    *,
    seed: int,
    others: Mapping[str, Sequence[Prediction]] | None = None,
    metric: str = "weighted_f1",
    temperature: Temperature | None = None,
    seconds: float | None = None,
    slices: Slices | None = None,
) -> dict[str, Any]:
    """One system's entry in ``scores.json``.

    Args:
        labels: the task's labels.
        predictions: one for each example, with probabilities at temperature 1.
        seed: seed of the bootstraps.
        others: systems to hold this one against, by name, on the same examples.
        metric: the task's metric, in which differences are given.
        temperature: fitted on other examples. With it the entry has ``calibration``, before and after, and the
            thresholds of ``risk_coverage`` are calibrated probabilities.
        seconds: time spent; the sum over predictions unless given.
        slices: questions and texts, for a task that averages over questions.

    Raises:
        MetierError: nothing to score, an undeclared label, or another system that answered other examples.
    """
    golds, answers = [p.gold for p in predictions], [p.answer for p in predictions]
    scores = classification_metrics(golds, answers, labels, seed=seed, groups=groups_of(predictions))
    if slices:
        scores = {AVERAGE: average_weighted_f1(predictions, labels, slices, seed=seed), **scores}
    entry = head(predictions) | {
        "metrics": {name: score.to_json() for name, score in scores.items()},
        "per_class": per_class(golds, answers, labels),
        "confusion": confusion(golds, answers, labels),
    }
    entry |= _confidence(labels, predictions, temperature) | _deferral(predictions, temperature, seed)
    if others:
        entry["against"] = {
            name: against(predictions, other, labels=labels, metric=metric, seed=seed, slices=slices)
            for name, other in others.items()
        }
    return entry | speed(predictions, seconds)


NO_CONFUSION = "an option's place is no class: what stands there differs from question to question"


def evaluate_choices(
    predictions: Sequence[Prediction],
    *,
    seed: int,
    others: Mapping[str, Sequence[Prediction]] | None = None,
    seconds: float | None = None,
    deferral: bool = True,
    temperature: Temperature | None = None,
) -> dict[str, Any]:
    """One system's entry for multiple choice, where labels are positions and only accuracy has a meaning.

    Arguments and errors as in :func:`evaluate_classification`; without ``deferral`` no curves of what abstaining buys.
    """
    require_examples(len(predictions))
    right = share([p.correct for p in predictions], groups_of(predictions))
    entry = head(predictions) | {"metrics": {"accuracy": right.to_json()}, "left_out": {"confusion": NO_CONFUSION}}
    if deferral:
        entry |= _deferral(predictions, temperature, seed)
    if temperature is not None:
        labels = sorted({place for p in predictions for place in p.probabilities}, key=int)
        entry |= _confidence(labels, predictions, temperature)
    if others:
        entry["against"] = {
            name: against(predictions, other, metric="accuracy", seed=seed) for name, other in others.items()
        }
    return entry | speed(predictions, seconds)


def against(
    this: Sequence[Prediction],
    other: Sequence[Prediction],
    *,
    labels: Sequence[str] = (),
    metric: str = "weighted_f1",
    seed: int,
    slices: Slices | None = None,
) -> dict[str, Any]:
    """Two systems on the same examples, joined by id, whatever their order.

    Args:
        this: the system in question.
        other: the system it is held against.
        labels: the task's labels; not needed for accuracy.
        metric: ``accuracy``, ``weighted_f1``, ``macro_f1``, or with slices ``average_weighted_f1``.
        seed: seed of the bootstrap.
        slices: questions and texts, for a task that averages over questions.

    Returns:
        ``{"only_this", "only_other", "p", "metric", "difference"}``: examples that only one system answers
        rightly, the two-sided exact McNemar p value, and this system's metric minus the other's; where rows come in
        groups the p value is that of the ``test`` that is named.

    Raises:
        MetierError: the systems did not answer the same examples, or disagree about a right label.
    """
    pairs = paired(this, other)
    right_a, right_b = [a.correct for a, _ in pairs], [b.correct for _, b in pairs]
    groups = groups_of(this)
    test = mcnemar_exact(right_a, right_b, groups)
    if metric == "accuracy":
        gap = accuracy_difference(right_a, right_b, seed=seed, groups=groups)
    elif metric == AVERAGE and slices:
        gap = average_difference([a for a, _ in pairs], [b for _, b in pairs], labels, slices, seed=seed)
    else:
        golds, a, b = [p.gold for p in this], [a.answer for a, _ in pairs], [b.answer for _, b in pairs]
        gap = difference(golds, a, b, labels, metric=metric, seed=seed, groups=groups)
    return pair_record(test, metric, gap, groups)


def pair_record(test: McNemar, metric: str, gap: Score, groups: Ints | None) -> dict[str, Any]:
    """What ``scores.json`` says of two systems; of grouped rows also which test the p value is of."""
    record = {"only_this": test["only_a"], "only_other": test["only_b"], "p": test["p"]}
    named = {} if groups is None else {"test": TEST}
    return record | named | {"metric": metric, "difference": gap.to_json()}


def paired(this: Sequence[Prediction], other: Sequence[Prediction]) -> list[tuple[Prediction, Prediction]]:
    """Predictions of two systems, joined by example, in the order of the first.

    Errors: :class:`MetierError` where the systems did not answer the same examples, or disagree about a right answer.
    """
    mine, theirs = _by_id(this), _by_id(other)
    if mine.keys() != theirs.keys():
        stray = min(mine.keys() ^ theirs.keys())
        raise MetierError(
            f"two systems can be compared on the same examples only: they have {len(mine)} and {len(theirs)}, "
            f"and '{stray}' belongs to just one",
            fix="score both systems on the same split",
        )
    pairs = [(p, theirs[p.example_id]) for p in this]
    if changed := next((a for a, b in pairs if a.gold != b.gold), None):
        raise MetierError(
            f"the systems were scored with different right labels: example '{changed.example_id}'",
            fix="score both systems on the same version of the task",
        )
    return pairs


def _by_id(predictions: Sequence[Prediction]) -> dict[str, Prediction]:
    found = {p.example_id: p for p in predictions}
    if len(found) != len(predictions):
        raise MetierError("two predictions have the same example id", fix="give each example of the task its own id")
    return found


def head(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """``status``, ``parse_rate``, ``majority`` and, where rows share groups, how many ``groups``: what every entry
    begins with.
    """
    groups = groups_of(predictions)
    parsed = sum(p.parsed for p in predictions)
    most = majority_share([p.gold for p in predictions])
    found = {"status": "ok", "parse_rate": parsed / len(predictions), "majority": most}
    return found if groups is None else found | {"groups": int(groups.max()) + 1}


def speed(predictions: Sequence[Prediction], seconds: float | None = None) -> dict[str, float]:
    """``seconds`` and ``examples_per_s``: what every entry ends with."""
    spent = float(sum(p.seconds for p in predictions) if seconds is None else seconds)
    return {"seconds": spent} | ({"examples_per_s": len(predictions) / spent} if spent > 0 else {})


def _confidence(
    labels: Sequence[str], predictions: Sequence[Prediction], temperature: Temperature | None
) -> dict[str, Any]:
    """``calibration`` (with a temperature), ``risk_coverage`` and ``aurc``; nothing for a system without probabilities.

    An unreadable output has no confidence: calibration leaves it out, and in the risk-coverage curve it is
    the last to be answered, and wrong.
    """
    read = [p for p in predictions if p.parsed]
    if not read or not all(p.probabilities for p in read):
        return {}
    right, before = [p.correct for p in read], [p.confidence for p in read]
    record: dict[str, Any] = {}
    after = before
    if temperature is not None:
        logs = log_probabilities(probability_matrix([p.probabilities for p in read], labels))
        chosen = [list(labels).index(str(p.answer)) for p in read]
        after = apply_temperature(logs, temperature.served)[range(len(read)), chosen].tolist()
        record["calibration"] = {
            "temperature": temperature.served,
            "before": reliability(before, right).to_json(),
            "after": reliability(after, right).to_json(),
        } | ({"warning": temperature.warning} if temperature.warning else {})
    unread = len(predictions) - len(read)
    sure, correct = [*after, *[0.0] * unread], [*right, *[False] * unread]
    curve = risk_coverage(sure, correct)
    groups = groups_of([*read, *(p for p in predictions if not p.parsed)])
    return record | {"risk_coverage": over_groups(curve.to_json(), sure, correct, groups), "aurc": curve.aurc}


def _deferral(predictions: Sequence[Prediction], temperature: Temperature | None, seed: int) -> dict[str, Any]:
    """``deferral``: accuracy by share deferred, for each confidence; nothing for a system without probabilities."""
    rows = [list(p.probabilities.values()) if p.parsed else [] for p in predictions]
    if not any(rows) or not all(rows[i] for i, p in enumerate(predictions) if p.parsed):
        return {}
    if temperature is not None:
        rows = [at_temperature([row], temperature.served)[0].tolist() if row else [] for row in rows]
    right, groups = [p.correct for p in predictions], groups_of(predictions)
    return {"deferral": curves(rows, right, seed=seed, groups=groups)}
