"""The verdict claims what the tests support, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metier.files import write_json
from metier.report.compare import compare, retention
from metier.report.read import read_run
from metier.report.verdict import key_figures, verdict
from tests.report.rundir import TASK, Case, build, manifest


def judged(tmp_path: Path, **case: Any) -> Any:
    return verdict(read_run(build(tmp_path, Case(**case))))


def skill(tfidf: float, specialist: float, base: float = 0.05) -> dict[str, float]:
    return {"tfidf": tfidf, "base": base, "base-fewshot": base, "specialist": specialist}


def test_a_clear_win_is_worth_using_and_gives_its_numbers(tmp_path: Path) -> None:
    run = read_run(build(tmp_path))
    found = verdict(run)
    assert found.stamp == "worth using"
    score = run.score("specialist")
    assert score
    assert f"{score['value']:.3f} [{score['low']:.3f},\N{NO-BREAK SPACE}{score['high']:.3f}]" in found.paragraph
    assert "240 held-out examples" in found.paragraph
    assert "McNemar" in found.paragraph
    assert "17.4" in found.paragraph


def test_a_loss_against_tfidf_says_do_not_use_it(tmp_path: Path) -> None:
    found = judged(tmp_path, skill=skill(2.6, 1.5))
    assert found.stamp == "do not use"
    assert found.headline == "Do not use it: TF-IDF with logistic regression is better."


def test_a_tie_with_tfidf_says_do_not_use_it(tmp_path: Path) -> None:
    found = judged(tmp_path, skill=skill(2.0, 2.0), n=150)
    assert found.stamp == "do not use"
    assert "as good, as far as this test can see" in found.headline


def test_a_tie_with_the_base_says_that_training_bought_nothing(tmp_path: Path) -> None:
    found = judged(tmp_path, skill=skill(0.4, 2.5, base=2.5), n=150)
    assert found.stamp == "do not use"
    assert "the base is as good" in found.headline


def test_a_test_too_small_to_tell_says_so(tmp_path: Path) -> None:
    found = judged(tmp_path, skill=skill(1.15, 2.15), n=30)
    assert found.stamp == "not proven"
    assert (
        found.headline
        == "Not proven: 30 held-out examples are too few to tell it from TF-IDF with logistic regression."
    )


def test_a_lower_score_that_one_test_calls_chance_is_not_said_to_be_higher(tmp_path: Path) -> None:
    found = judged(tmp_path, skill=skill(2.15, 2.15), n=30)
    assert found.headline.startswith("Not proven: it scored below TF-IDF with logistic regression; the tests disagree")


def test_a_tie_with_a_constant_answer_is_in_the_evidence_with_its_numbers(tmp_path: Path) -> None:
    path = build(tmp_path)
    tie = {
        "difference": {"value": 0.01, "low": -0.02, "high": 0.04, "n": 240},
        "p": 0.4,
        "only_this": 9,
        "only_other": 6,
    }
    found = verdict(read_run(with_pair(path, "majority", tie)))
    assert found.headline.startswith("Do not use it: always giving the most frequent answer is as good")
    assert "Between it and always giving the most frequent answer (+0.010" in found.paragraph


def test_no_test_is_named_that_was_not_made(tmp_path: Path) -> None:
    gap = {"value": 0.1, "low": 0.05, "high": 0.15, "n": 240}
    found = verdict(read_run(with_pair(build(tmp_path), "tfidf", {"difference": gap})))
    assert (
        "regression (+0.100 [+0.050,\N{NO-BREAK SPACE}+0.150]): the 95\N{NO-BREAK SPACE}% interval of"
        in found.paragraph
    )
    found = verdict(read_run(with_pair(build(tmp_path), "tfidf", {})))
    assert "It beats TF-IDF with logistic regression: the 95 % intervals lie apart; no paired test." in found.paragraph
    assert "It beats the base (" in found.paragraph


@pytest.mark.parametrize(
    ("low", "high", "stamp"), [(0.02, 0.06, "worth using"), (-0.02, 0.03, "do not use"), (-0.06, -0.01, "do not use")]
)
def test_what_was_pretrained_must_beat_the_same_task_on_the_plain_base(
    tmp_path: Path, low: float, high: float, stamp: str
) -> None:
    gap = {"value": (low + high) / 2, "low": low, "high": high, "n": 240}
    path = with_pair(build(tmp_path), "after-nothing", {"difference": gap})
    scores = json.loads((path / "evidence" / "scores.json").read_text("utf-8"))
    scores[TASK]["after-nothing"] = scores[TASK]["tfidf"]
    write_json(path / "evidence" / "scores.json", scores)
    found = verdict(read_run(path))
    assert found.stamp == stamp
    assert ("the same task learnt on the base as it was" in found.headline) == (stamp == "do not use")


def test_a_base_that_is_better_when_asked_otherwise_is_named(tmp_path: Path) -> None:
    path = build(tmp_path)
    scores = json.loads((path / "evidence" / "scores.json").read_text("utf-8"))
    sharp = {**entry(0.97), "strategy": {"name": "few-shot"}}
    sharp["metrics"]["weighted_f1"] |= {"low": 0.96, "high": 0.99}
    scores[TASK]["base-few-shot-nearest"] = sharp
    write_json(path / "evidence" / "scores.json", scores)
    assert verdict(read_run(path)).headline == "Do not use it: the base asked in another way (few-shot) is better."


def test_a_specialist_that_answers_nothing_is_not_worth_using(tmp_path: Path) -> None:
    path = build(tmp_path)
    scores = json.loads((path / "evidence" / "scores.json").read_text("utf-8"))
    scores[TASK]["specialist"]["selective"] = {
        "accuracy": 0.99, "confidence": 0.95, "by": "probability", "threshold": None, "n": 40, "reason": "too few",
    }  # fmt: skip
    write_json(path / "evidence" / "scores.json", scores)
    found = verdict(read_run(path))
    assert found.headline == "Not proven: no threshold promises the accuracy of 0.99 demanded, so it answers nothing."
    assert "abstains from everything" in found.paragraph
    test = {"coverage": {"value": 0.5}, "accuracy": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 120}, "held": "no"}
    scores[TASK]["specialist"]["selective"] |= {"threshold": 0.8, "test": test}
    write_json(path / "evidence" / "scores.json", scores)
    found = verdict(read_run(path))
    assert (
        found.headline == "Do not rely on it: its answers are below the accuracy of 0.99 demanded by more than chance."
    )
    assert "answers 50.0\N{NO-BREAK SPACE}% of the test part, with 0.700 [" in found.paragraph


def test_without_tfidf_nothing_is_proven_and_the_reason_is_given(tmp_path: Path) -> None:
    found = judged(tmp_path, failed={"tfidf": "out of memory"})
    assert found.stamp == "not proven"
    assert "failed: out of memory" in found.headline
    assert "could not be scored (failed: out of memory)" in found.paragraph


def test_a_failed_specialist_has_no_verdict(tmp_path: Path) -> None:
    run = read_run(build(tmp_path, Case(failed={"specialist": "the loss is nan"})))
    found = verdict(run)
    assert found.stamp == "no verdict"
    assert "the loss is nan" in found.headline
    assert key_figures(run)[0]["value"] == "\N{EN DASH}"


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    run = read_run(build(tmp_path, Case(retention=False)))
    assert "What it forgot was not measured" in verdict(run).paragraph


def test_a_measurable_loss_is_called_one(tmp_path: Path) -> None:
    run = read_run(build(tmp_path, Case(forgets=0.05)))
    kept = {r.task: r for r in retention(run)[0]}
    assert kept["wikipedia-passages"].outcome == "worse"
    assert "a loss beyond chance" in verdict(run).paragraph
    assert kept["piqa"].outcome == "tie"
    assert kept["piqa"].verdict == "no loss that this test can see"


def with_pair(path: Path, other: str, pair: dict[str, Any]) -> Path:
    """The run of ``path`` with another comparison of the specialist with ``other``."""
    scores = json.loads((path / "evidence" / "scores.json").read_text("utf-8"))
    scores[TASK]["specialist"]["against"][other] = pair
    write_json(path / "evidence" / "scores.json", scores)
    return path


def bare(tmp_path: Path, specialist: dict[str, Any], other: dict[str, Any]) -> Any:
    write_json(tmp_path / "manifest.json", manifest(Case()))
    write_json(tmp_path / "evidence" / "scores.json", {TASK: {"specialist": specialist, "tfidf": other}})
    return compare(read_run(tmp_path), "tfidf")


def entry(value: float, **more: Any) -> dict[str, Any]:
    score = {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 200}
    return {"status": "ok", "metrics": {"weighted_f1": score}, **more}


@pytest.mark.parametrize(
    ("low", "high", "only_this", "only_other", "p", "outcome"),
    [
        (0.02, 0.1, 40, 10, 0.001, "better"),
        (-0.1, -0.02, 10, 40, 0.001, "worse"),
        (-0.03, 0.05, 20, 18, 0.87, "tie"),
        (-0.01, 0.05, 30, 14, 0.02, "unclear"),
        (0.01, 0.05, 20, 18, 0.87, "unclear"),
        (0.01, 0.05, 10, 40, 0.001, "unclear"),
    ],
)
def test_every_test_must_agree(
    tmp_path: Path, low: float, high: float, only_this: int, only_other: int, p: float, outcome: str
) -> None:
    gap = {"value": (low + high) / 2, "low": low, "high": high, "n": 200}
    pair = {"only_this": only_this, "only_other": only_other, "p": p, "difference": gap}
    assert bare(tmp_path, entry(0.8, against={"tfidf": pair}), entry(0.7)).outcome == outcome


def test_without_a_paired_test_only_separate_intervals_decide(tmp_path: Path) -> None:
    assert bare(tmp_path, entry(0.8), entry(0.6)).outcome == "better"
    assert bare(tmp_path, entry(0.6), entry(0.8)).outcome == "worse"
    assert bare(tmp_path, entry(0.8), entry(0.75)).outcome == "unknown"


def test_an_unsettled_rival_leaves_it_unproven(tmp_path: Path) -> None:
    path = build(tmp_path)
    scores = json.loads((path / "evidence" / "scores.json").read_text("utf-8"))
    scores[TASK]["specialist"]["against"]["tfidf"]["p"] = 0.9
    write_json(path / "evidence" / "scores.json", scores)
    assert verdict(read_run(path)).stamp == "not proven"


@pytest.mark.parametrize(
    ("other", "headline"),
    [
        ("tfidf", "Do not use it for tweets: TF-IDF with logistic regression is better there."),
        ("alone", "Learn the tasks apart: an adapter for tweets alone is better."),
        (None, "Worth using: it beats every simpler system here by more than chance explains."),
    ],
)
def test_every_task_learnt_together_counts(tmp_path: Path, other: str | None, headline: str) -> None:
    path = build(tmp_path)
    scores = json.loads((path / "evidence" / "scores.json").read_text())
    main = next(iter(scores))
    tweets = json.loads(json.dumps(scores[main]))
    tweets["alone"] = tweets["tfidf"]
    if other:
        lost = {"value": -0.04, "low": -0.06, "high": -0.02, "n": 240}
        tweets["specialist"]["against"][other] = {"difference": lost, "p": 0.001, "only_this": 5, "only_other": 40}
    write_json(path / "evidence" / "scores.json", {**scores, "tweets": tweets})
    drawn = {task: {"train": 100, "held_out_elsewhere": 0, "an_epoch": 50} for task in (main, "tweets")}
    write_json(path / "data" / "mixture.json", {"drawn": drawn})
    found = verdict(read_run(path))
    assert found.headline == headline
    assert ("alone is better, beyond chance, on tweets" in found.paragraph) == (other == "alone")
