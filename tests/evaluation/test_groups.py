"""Rows in groups: intervals, tests and promises hold at the rate they claim, and nothing changes without groups."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.evaluation.calibration import fit_temperature
from metier.evaluation.evidence import against, evaluate_choices, evaluate_classification
from metier.evaluation.groups import TEST, groups_of, in_groups, interval, one_of_each, share, sign_flip_exact
from metier.evaluation.intervals import clopper_pearson, proportion
from metier.evaluation.paired import mcnemar_exact
from metier.evaluation.scores import Prediction, Score
from metier.evaluation.selective import aurc, choose_threshold
from metier.evaluation.written import evaluate_written
from metier.tasks import Example


def answers(right: list[bool], groups: list[str | None], *, gold: str = "yes") -> list[Prediction]:
    return [
        Prediction(example_id=f"e{n}", split="test", text="", gold=gold, answer=gold if ok else "no",
                   probabilities={"yes": 0.5, "no": 0.5}, parsed=True, tokens=0, seconds=0.0, group=group)
        for n, (ok, group) in enumerate(zip(right, groups, strict=True))
    ]  # fmt: skip


def patients(generator: np.random.Generator, count: int, size: int, mean: float, spread: float) -> np.ndarray:
    """(count, size) right or wrong; every patient has an accuracy of its own, the more alike the larger ``spread``."""
    own = generator.beta(mean * spread, (1 - mean) * spread, size=count)
    return generator.random((count, size)) < own[:, None]


def holds(score: Score, truth: float) -> bool:
    assert score.low is not None
    assert score.high is not None
    return score.low <= truth <= score.high


@pytest.mark.parametrize("size", [5, 10])
def test_a_promise_is_broken_in_at_most_one_case_in_twenty(size: int) -> None:
    """Accuracy just below the demand at every threshold, rows of a patient alike: any threshold breaks the promise."""
    generator, demand, draws = np.random.default_rng(size), 0.9, 400
    rows = answers([True] * 600, [f"p{n // size}" for n in range(600)])
    broken = {"one a group": 0, "all": 0}
    for seed in range(draws):
        right = patients(generator, 600 // size, size, demand - 0.001, 0.05).ravel()
        sure = generator.random(600)
        kept = [int(p.example_id[1:]) for p in one_of_each(rows, seed)]
        assert len(kept) == 600 // size
        for name, places in (("one a group", kept), ("all", list(range(600)))):
            broken[name] += choose_threshold(sure[places], right[places], accuracy=demand).value is not None
    assert broken["one a group"] / draws <= 0.05
    assert broken["all"] / draws > 0.1  # what treating them as independent would do


@pytest.mark.parametrize(("count", "size"), [(20, 10), (8, 25), (60, 3)])
def test_intervals_hold_the_truth_as_often_as_they_claim(count: int, size: int) -> None:
    generator, draws, held, alone = np.random.default_rng(0), 1000, 0, 0
    groups = np.repeat(np.arange(count), size)
    for _ in range(draws):
        right = patients(generator, count, size, 0.8, 5).ravel()
        held += holds(share(right, groups), 0.8)
        alone += holds(proportion(int(right.sum()), right.size), 0.8)
    assert clopper_pearson(held, draws, 0.99)[1] >= 0.95
    if size > 3:
        assert alone / draws < 0.9


def test_a_paired_test_rejects_no_difference_in_at_most_one_case_in_twenty() -> None:
    generator, draws, rejected, alone = np.random.default_rng(1), 1000, 0, 0
    groups = np.repeat(np.arange(30), 10)
    for _ in range(draws):
        a, b = patients(generator, 30, 10, 0.7, 1).ravel(), patients(generator, 30, 10, 0.7, 1).ravel()
        rejected += mcnemar_exact(a.tolist(), b.tolist(), groups)["p"] < 0.05
        alone += mcnemar_exact(a.tolist(), b.tolist())["p"] < 0.05
    assert rejected / draws <= 0.05 + 0.01
    assert alone / draws > 0.2


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_signs_are_flipped_in_every_way(differences: list[int]) -> None:
    flips = [sum(s * d for s, d in zip(signs, differences, strict=True))
             for signs in itertools.product((1, -1), repeat=len(differences))]  # fmt: skip
    by_hand = np.mean([abs(total) >= abs(sum(differences)) for total in flips])
    assert sign_flip_exact(np.array(differences)) == pytest.approx(by_hand)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), st.integers(1, 4))
def test_with_copies_of_each_row_as_its_group_the_test_is_mcnemars(pairs: list[tuple[bool, bool]], copies: int) -> None:
    a, b = ([pair[side] for pair in pairs] for side in (0, 1))
    groups = np.repeat(np.arange(len(pairs)), copies)
    found = mcnemar_exact(np.repeat(a, copies).tolist(), np.repeat(b, copies).tolist(), groups)
    assert found["p"] == pytest.approx(mcnemar_exact(a, b)["p"])
    assert found["only_a"] == copies * mcnemar_exact(a, b)["only_a"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["yes", "no"])), min_size=1, max_size=30))
def test_groups_of_one_change_nothing(rows: list[tuple[bool, str]]) -> None:
    plain = [replace(answers([ok], [None], gold=gold)[0], example_id=f"{n}") for n, (ok, gold) in enumerate(rows)]
    alone = [replace(p, group=f"patient {p.example_id}") for p in plain]
    other = [replace(p, answer="yes") for p in plain]
    for evaluate in (
        lambda given: evaluate_classification(["yes", "no"], given, seed=3, others={"other": other}),
        lambda given: evaluate_written("generation", given, seed=3, others={"other": other}),
    ):
        assert evaluate(plain) == evaluate(alone)
        assert "groups" not in evaluate(plain)


def test_every_interval_of_an_entry_is_over_the_groups_and_says_so() -> None:
    generator = np.random.default_rng(2)
    right = patients(generator, 25, 8, 0.8, 1.5).ravel().tolist()
    groups: list[str | None] = [f"p{n // 8}" for n in range(200)]
    turned = {"yes": "no", "no": "yes"}
    alike = [replace(p, gold=turned[p.gold], answer=turned[str(p.answer)]) if n % 3 else p
             for n, p in enumerate(answers(right, groups))]  # fmt: skip
    worse = [replace(p, answer=turned[str(p.answer)]) if n // 8 % 4 == 0 else p for n, p in enumerate(alike)]
    for evaluate in (
        lambda given: evaluate_classification(["yes", "no"], given, seed=0, others={"worse": worse}),
        lambda given: evaluate_choices(given, seed=0, others={"worse": worse}, deferral=False),
        lambda given: evaluate_written("generation", given, seed=0, others={"worse": worse}),
    ):
        grouped, plain = evaluate(alike), evaluate([replace(p, group=None) for p in alike])
        assert grouped["groups"] == 25
        assert grouped["against"]["worse"]["test"] == TEST
        assert "test" not in plain["against"]["worse"]
        for name, score in grouped["metrics"].items():
            before = plain["metrics"][name]
            assert (score["value"], score["n"]) == (before["value"], before["n"])
            assert score["high"] - score["low"] > 1.2 * (before["high"] - before["low"])
        gap, before = (entry["against"]["worse"]["difference"] for entry in (grouped, plain))
        assert gap["high"] - gap["low"] > 1.2 * (before["high"] - before["low"])


def test_entities_are_counted_over_groups() -> None:
    gold = "PER: Ann"
    rows = [replace(p, gold=gold, answer=gold if p.correct else "none") for p in
            answers([n // 5 % 3 > 0 for n in range(90)], [f"d{n // 5}" for n in range(90)])]  # fmt: skip
    grouped = evaluate_written("extraction", rows, seed=0, types=["PER"], others={"none": rows})
    plain = evaluate_written("extraction", [replace(p, group=None) for p in rows], seed=0, types=["PER"])
    for name in ("entity_f1", "entity_recall", "exact_match"):
        found, before = grouped["metrics"][name], plain["metrics"][name]
        assert found["high"] - found["low"] > 1.5 * (before["high"] - before["low"])
    high = float(clopper_pearson(0, 18)[1])
    assert grouped["against"]["none"]["difference"]["high"] == pytest.approx(high)


def test_copies_of_a_row_count_as_one() -> None:
    right = np.random.default_rng(0).random(40) < 0.8
    one, copied = share(right), share(np.repeat(right, 5), np.repeat(np.arange(40), 5))
    assert copied.n == 200
    assert (copied.low, copied.high) == pytest.approx((one.low, one.high), abs=0.01)


def test_all_right_or_a_single_group_claim_no_certainty() -> None:
    groups = np.repeat(np.arange(5), 10)
    assert share([True] * 50, groups).low == pytest.approx(float(clopper_pearson(5, 5)[0]))
    one = share([True, False], np.array([0, 0]))
    assert (one.low, one.high) == (0.0, 1.0)
    assert interval(0.1, np.array([0.1]), 9, np.zeros(9, np.int64), ends=(-1.0, 1.0)).low == -1.0
    entry = evaluate_classification(["yes", "no"], answers([True, False], ["a", "a"]), seed=0)
    assert entry["metrics"]["weighted_f1"]["low"] == 0.0


def test_groups_that_are_all_alike_claim_no_certainty() -> None:
    rows = answers([True, False] * 5, [name for name in "abcde" for _ in range(2)])
    score = evaluate_classification(["yes", "no"], rows, seed=0)["metrics"]["weighted_f1"]
    end = float(clopper_pearson(0, 5)[1])
    assert score["low"] == pytest.approx(max(0, score["value"] - end))
    assert score["high"] == pytest.approx(min(1, score["value"] + end))


def test_a_row_is_drawn_from_every_group_whatever_the_order() -> None:
    rows = answers([True] * 40, [f"g{n % 10}" if n < 30 else None for n in range(40)])
    drawn = one_of_each(rows, 7)
    assert Counter(p.group for p in drawn) == Counter({None: 10, **{f"g{n}": 1 for n in range(10)}})
    assert {p.example_id for p in one_of_each(rows[::-1], 7)} == {p.example_id for p in drawn}
    assert len({tuple(p.example_id for p in one_of_each(rows, seed)) for seed in range(20)}) > 10
    plain = [replace(p, group=None) for p in rows]
    assert one_of_each(plain, 7) == plain
    assert groups_of(plain) is None


def test_groups_come_from_the_examples_and_systems_are_joined_by_id() -> None:
    rows = answers([True, True, False, False], [None] * 4)
    found = in_groups(rows, [Example(f"e{n}", {}, "yes", group=f"p{n // 2}") for n in range(3)])
    assert [p.group for p in found] == ["p0", "p0", "p1", None]
    other = [replace(p, answer="no") for p in rows][::-1]
    pair = against(found, other, metric="accuracy", seed=0)
    assert (pair["only_this"], pair["only_other"], pair["p"]) == (2, 0, 1.0)


def test_curves_of_deferring_are_over_the_groups() -> None:
    generator = np.random.default_rng(4)
    right = patients(generator, 40, 10, 0.7, 0.5).ravel()
    rows = [replace(p, probabilities={"yes": sure, "no": 1 - sure}, answer="yes", gold="yes" if ok else "no")
            for p, ok, sure in zip(answers([True] * 400, [f"p{n // 10}" for n in range(400)]), right.tolist(),
                                   (0.5 + 0.5 * generator.random(400)).tolist(), strict=True)]  # fmt: skip
    temperature = fit_temperature([[0.0, -1.0]], [0])
    grouped, plain = (
        evaluate_classification(["yes", "no"], given, seed=0, temperature=temperature)
        for given in (rows, [replace(p, group=None) for p in rows])
    )
    for entry in (grouped, plain):
        found = entry["deferral"]["probability"]
        entry["widths"] = [score["high"] - score["low"] for score in (
            found["aurc"], found["points"][1]["accuracy"], found["curve"][-1], entry["risk_coverage"][-1]
        )]  # fmt: skip
    assert all(wide > 1.5 * narrow for wide, narrow in zip(grouped["widths"], plain["widths"], strict=True))
    assert grouped["deferral"]["probability"]["aurc"]["value"] == plain["deferral"]["probability"]["aurc"]["value"]


def test_the_area_over_groups_holds_that_of_all_patients() -> None:
    generator, draws, held, alone = np.random.default_rng(5), 150, 0, 0
    every = patients(generator, 4000, 10, 0.7, 1).ravel()
    sure, groups = generator.random(every.size), np.repeat(np.arange(40), 10)
    truth = aurc(sure, every, seed=0, resamples=2).value
    for _ in range(draws):
        drawn = (generator.choice(4000, 40, replace=False)[:, None] * 10 + np.arange(10)).ravel()
        held += holds(aurc(sure[drawn], every[drawn], seed=0, resamples=150, groups=groups), truth)
        alone += holds(aurc(sure[drawn], every[drawn], seed=0, resamples=150), truth)
    assert held / draws >= 0.88
    assert alone / draws < 0.8
