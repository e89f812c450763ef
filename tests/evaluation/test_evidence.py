from __future__ import annotations

import errno
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.evaluation.calibration import Temperature, fit_temperature, log_probabilities, probability_matrix
from metier.evaluation.evidence import (
    against,
    evaluate_choices,
    evaluate_classification,
    failed,
    merge_scores,
    read_predictions,
    read_scores,
    write_predictions,
)
from metier.evaluation.scores import Prediction

LABELS = ["positive", "neutral", "negative"]


def made(n: int, seed: int, right: float = 0.8, unread: float = 0.0, probabilities: bool = True) -> list[Prediction]:
    """Predictions of an invented system; right labels depend on the position alone."""
    generator = np.random.default_rng(seed)
    golds = np.random.default_rng(99).choice(3, n, p=[0.3, 0.6, 0.1])
    found = []
    for i, gold in enumerate(golds):
        logits = generator.normal(0, 1, 3)
        logits[gold if generator.random() < right else (gold + 1) % 3] += 4
        shares = np.exp(logits) / np.exp(logits).sum()
        read = generator.random() >= unread
        found.append(
            Prediction(
                example_id=f"row-{i}",
                split="test",
                text=f"Sentence {i}: “naïve” 利益",
                gold=LABELS[gold],
                answer=LABELS[int(shares.argmax())] if read else None,
                probabilities=dict(zip(LABELS, shares.tolist(), strict=True)) if read and probabilities else {},
                parsed=read,
                tokens=12,
                seconds=0.01,
            )
        )
    return found


def test_predictions_come_back_as_they_were(tmp_path: Path) -> None:
    predictions = made(50, 1, unread=0.2)
    path = tmp_path / "evidence" / "predictions" / "task.base.parquet"
    write_predictions(path, predictions)
    assert read_predictions(path) == predictions
    table = pq.read_table(path)
    assert table.column_names[:5] == ["example_id", "split", "text", "gold", "answer"]
    assert table.column_names[5:] == ["parsed", "tokens", "p.positive", "p.neutral", "p.negative"]
    assert pq.ParquetFile(path).metadata.row_group(0).column(2).compression == "ZSTD"
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, "task.base.seconds.json"]


@given(st.text(min_size=1), st.text(), st.none() | st.text(), st.dictionaries(st.text(), st.floats(0, 1), max_size=4))
@settings(deadline=None, max_examples=25)
def test_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory, key: str, text: str, answer: str | None, shares: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("evidence") / "x.parquet"
    prediction = Prediction(
        example_id=key,
        split="test",
        text=text,
        gold=text,
        answer=answer,
        probabilities=shares,
        parsed=answer is not None,
        tokens=1,
        seconds=0.0,
    )
    write_predictions(path, [prediction])
    assert read_predictions(path) == [prediction]


def test_what_a_system_wrote_comes_back(tmp_path: Path) -> None:
    wrote, silent = made(2, 1)
    predictions = [Prediction(**{**vars(wrote), "output": "Positive, I think."}), silent]
    write_predictions(tmp_path / "x.parquet", predictions)
    assert read_predictions(tmp_path / "x.parquet") == predictions


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(table: object, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space")

    write_predictions(tmp_path / "x.parquet", made(5, 1))
    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(MetierError, match="disk is full"):
        write_predictions(tmp_path / "x.parquet", made(9, 2))
    assert read_predictions(tmp_path / "x.parquet") == made(5, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.parquet", "x.seconds.json"]


def test_an_earlier_release_kept_seconds_in_the_table(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_predictions(path, made(5, 1))
    pq.write_table(pq.read_table(path).append_column("seconds", [[2.0] * 5]), path)
    assert [p.seconds for p in read_predictions(path)] == [2.0] * 5


def test_no_predictions_and_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_predictions(path, [])
    assert read_predictions(path) == []
    write_predictions(path, made(50, 1))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MetierError, match=r"cannot read the predictions(.|\n)*x\.parquet"):
        read_predictions(path)
    pq.write_table(pq.read_table(_written(tmp_path)).drop_columns(["gold"]), path)
    with pytest.raises(MetierError, match="lack the column gold"):
        read_predictions(path)
    with pytest.raises(MetierError, match="cannot read"):
        read_predictions(tmp_path / "absent.parquet")


def _written(folder: Path) -> Path:
    write_predictions(folder / "whole.parquet", made(5, 1))
    return folder / "whole.parquet"


def test_scores_are_merged_by_task_and_system(tmp_path: Path) -> None:
    path = tmp_path / "evidence" / "scores.json"
    assert read_scores(path) == {}
    merge_scores(path, "fpb", "base", {"status": "ok", "metrics": {}})
    merge_scores(path, "fpb", "tfidf", failed("all training rows have the label 'positive'"))
    merge_scores(path, "piqa", "base", {"status": "ok", "metrics": {}})
    merge_scores(path, "fpb", "base", {"status": "ok", "metrics": {"accuracy": {"value": 1.0}}})
    scores = read_scores(path)
    assert list(scores) == ["fpb", "piqa"]
    assert scores["fpb"]["base"]["metrics"] == {"accuracy": {"value": 1.0}}
    assert scores["fpb"]["tfidf"] == {"status": "failed", "reason": "all training rows have the label 'positive'"}


@pytest.mark.parametrize("entry", [{}, {"status": "fine"}, {"status": "failed"}])
def test_an_entry_without_an_honest_status_is_refused(tmp_path: Path, entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="status"):
        merge_scores(tmp_path / "scores.json", "fpb", "base", entry)


def test_damaged_scores_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    for text in ('{"fpb": ', "[]"):
        path.write_text(text)
        with pytest.raises(MetierError, match=r"scores\.json"):
            merge_scores(path, "fpb", "base", failed("x"))


def test_the_whole_entry_has_the_agreed_shape() -> None:
    specialist, base = made(200, 1, right=0.9), made(200, 2, right=0.5, unread=0.1)
    logs = log_probabilities(probability_matrix([p.probabilities for p in specialist], LABELS))
    temperature = fit_temperature(logs, [LABELS.index(p.gold) for p in specialist])
    entry = evaluate_classification(
        LABELS, specialist, seed=1, others={"base": base}, temperature=temperature, seconds=4.0
    )
    json.dumps(entry, allow_nan=False)
    assert list(entry) == [
        *("status", "parse_rate", "majority", "metrics", "per_class", "confusion", "calibration", "risk_coverage"),
        *("aurc", "deferral", "against", "seconds", "examples_per_s"),
    ]
    assert (entry["status"], entry["parse_rate"], entry["examples_per_s"]) == ("ok", 1.0, 50.0)
    assert list(entry["metrics"]) == ["accuracy", "weighted_f1", "macro_f1"]
    assert all(list(score) == ["value", "low", "high", "n"] for score in entry["metrics"].values())
    assert list(entry["per_class"]["neutral"]) == ["precision", "recall", "f1", "support"]
    assert np.sum(entry["confusion"]["matrix"]) == 200
    assert list(entry["calibration"]) == ["temperature", "before", "after"]
    assert list(entry["calibration"]["after"]["bins"][0]) == ["low", "high", "confidence", "accuracy", "n"]
    assert list(entry["risk_coverage"][0]) == ["coverage", "risk", "low", "high", "threshold"]
    assert entry["risk_coverage"][-1]["risk"] == pytest.approx(1 - entry["metrics"]["accuracy"]["value"])
    assert list(entry["against"]["base"]) == ["only_this", "only_other", "p", "metric", "difference"]
    assert entry["against"]["base"]["difference"]["low"] > 0
    assert entry["against"]["base"]["p"] < 1e-6


def test_with_a_temperature_what_is_told_is_of_the_probabilities_that_are_served() -> None:
    predictions, served = made(100, 1), []
    for p in predictions:
        shares = np.array([p.probabilities[label] for label in LABELS]) ** (1 / 3)
        cooler = dict(zip(LABELS, (shares / shares.sum()).tolist(), strict=True))
        served.append(Prediction(**{**vars(p), "probabilities": cooler}))

    def thresholds(entry: dict[str, Any]) -> list[float]:
        curves = [entry["risk_coverage"], *(found["curve"] for found in entry["deferral"].values())]
        return [float(point["threshold"]) for curve in curves for point in curve]

    entry = evaluate_classification(LABELS, predictions, seed=1, temperature=Temperature(3.0, False, 1.0, 0.5, 100))
    assert thresholds(entry) == pytest.approx(thresholds(evaluate_classification(LABELS, served, seed=1)))
    for when, rows in (("before", predictions), ("after", served)):
        bins = [found for found in entry["calibration"][when]["bins"] if found["n"]]
        assert sum(b["n"] * b["confidence"] for b in bins) == pytest.approx(sum(p.confidence for p in rows))
    plain = evaluate_classification(LABELS, predictions, seed=1)["risk_coverage"]
    assert plain[-1]["threshold"] == min(p.confidence for p in predictions)


def test_temperature_one_leaves_calibration_as_it_was() -> None:
    temperature = fit_temperature(np.zeros((2, 3)), [0, 1])
    entry = evaluate_classification(LABELS, made(100, 1), seed=1, temperature=temperature)
    before, after = entry["calibration"]["before"], entry["calibration"]["after"]
    assert after["ece"] == pytest.approx(before["ece"])
    assert [b["n"] for b in after["bins"]] == [b["n"] for b in before["bins"]]


def test_a_temperature_at_its_bound_is_reported() -> None:
    temperature = fit_temperature([[0.0, -4.0, -4.0]], [0])
    entry = evaluate_classification(LABELS, made(100, 1), seed=1, temperature=temperature)
    found = entry["calibration"]
    assert "end of its range" in found["warning"]
    # what is reported is what the specialist answers with: its probabilities as they are
    assert temperature.served == found["temperature"] == 1.0
    assert found["after"]["ece"] == pytest.approx(found["before"]["ece"])


def test_majority_is_the_share_in_the_scored_set_and_unread_answers_count_as_wrong() -> None:
    predictions = made(300, 3, right=1.0, unread=0.4)
    entry = evaluate_classification(LABELS, predictions, seed=1)
    golds = [p.gold for p in predictions]
    assert entry["majority"] == golds.count("neutral") / 300
    assert entry["parse_rate"] == sum(p.parsed for p in predictions) / 300
    assert entry["metrics"]["accuracy"]["value"] <= entry["parse_rate"]
    assert sum(entry["confusion"]["unparsed"]) == 300 - sum(p.parsed for p in predictions)
    assert entry["risk_coverage"][-1]["coverage"] == 1
    assert entry["risk_coverage"][-1]["threshold"] == 0
    assert entry["risk_coverage"][-1]["risk"] == pytest.approx(1 - entry["metrics"]["accuracy"]["value"])


def test_the_curve_over_groups_is_the_same_wherever_unread_answers_stand() -> None:
    rows = [Prediction(**{**vars(p), "group": f"g{i % 7}"}) for i, p in enumerate(made(60, 1, unread=0.3))]
    ends = []
    for some in (rows, sorted(rows, key=lambda p: p.parsed)):
        curve = evaluate_classification(LABELS, some, seed=1)["risk_coverage"]
        ends.append([end for point in curve for end in (point["low"], point["high"])])
    assert ends[0] == pytest.approx(ends[1])


def test_a_system_that_is_never_readable_scores_nothing_but_is_scored() -> None:
    entry = evaluate_classification(LABELS, made(50, 1, unread=1.1), seed=1)
    assert (entry["status"], entry["parse_rate"]) == ("ok", 0)
    assert entry["metrics"]["weighted_f1"]["value"] == 0
    assert "risk_coverage" not in entry


def test_without_probabilities_there_is_no_calibration() -> None:
    entry = evaluate_classification(LABELS, made(50, 1, probabilities=False), seed=1)
    assert not {"calibration", "risk_coverage", "aurc"} & entry.keys()


def test_comparison_joins_by_id_and_not_by_order() -> None:
    this, other = made(80, 1), made(80, 2, right=0.6)
    shuffled = list(other)
    random.Random(1).shuffle(shuffled)
    assert against(this, other, labels=LABELS, seed=1) == against(this, shuffled, labels=LABELS, seed=1)
    record = against(this, this, labels=LABELS, seed=1)
    assert (record["only_this"], record["only_other"], record["p"], record["difference"]["value"]) == (0, 0, 1.0, 0.0)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_comparison_says_which_of_the_two_is_right_more_often(metric: str) -> None:
    def answered(*answers: str) -> list[Prediction]:
        rows = zip(made(4, 1), ("positive", "neutral", "negative", "neutral"), answers, strict=True)
        return [Prediction(**{**vars(row), "gold": gold, "answer": answer}) for row, gold, answer in rows]

    this = answered("positive", "neutral", "negative", "positive")
    other = answered("neutral", "positive", "negative", "neutral")[::-1]
    record = evaluate_classification(LABELS, this, seed=1, metric=metric, others={"base": other})["against"]["base"]
    assert (record["only_this"], record["only_other"], record["p"], record["metric"]) == (2, 1, 1.0, metric)
    assert record["difference"]["value"] == pytest.approx({"accuracy": 1 / 4, "macro_f1": 7 / 9 - 1 / 2}[metric])


def test_comparison_refuses_other_examples() -> None:
    this = made(20, 1)
    with pytest.raises(MetierError, match=r"20 and 19, and 'row-19' belongs to just one"):
        against(this, this[:-1], labels=LABELS, seed=1)
    with pytest.raises(MetierError, match="same example id"):
        against(this, [*this[:-1], this[0]], labels=LABELS, seed=1)
    changed = [*this[:-1], Prediction(**{**vars(this[-1]), "gold": "another"})]
    with pytest.raises(MetierError, match="different right labels: example 'row-19'"):
        against(this, changed, labels=LABELS, seed=1)


def test_deferral_of_multiple_choice_is_by_calibrated_probabilities() -> None:
    places = [
        Prediction(**{**vars(p), "gold": str(LABELS.index(p.gold)), "answer": str(LABELS.index(str(p.answer))),
                      "probabilities": {str(i): value for i, value in enumerate(p.probabilities.values())}})
        for p in made(60, 1)
    ]  # fmt: skip
    entry = evaluate_choices(places, seed=1, temperature=Temperature(3.0, False, 0.0, 0.0, 60))
    thresholds = [point["threshold"] for point in entry["risk_coverage"]]
    assert [point["threshold"] for point in entry["deferral"]["probability"]["curve"]] == pytest.approx(thresholds)


def test_multiple_choice_has_accuracy_only() -> None:
    entry = evaluate_choices(made(60, 1), seed=1, others={"base": made(60, 2)})
    json.dumps(entry, allow_nan=False)
    assert list(entry["metrics"]) == ["accuracy"]
    assert entry["against"]["base"]["metric"] == "accuracy"
    assert entry.keys() - evaluate_choices(made(60, 1), seed=1, deferral=False).keys() == {"deferral", "against"}
    with pytest.raises(MetierError, match="nothing to score"):
        evaluate_choices([], seed=1)
