"""Entities and exact answers: what is read, what counts as the same, and how sure the scores are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from metier.errors import MetierError
from metier.evaluation.extraction import (
    entity_f1_difference,
    exact_match,
    extraction_metrics,
    normalised_answer,
    read_golds,
    same_entities,
)
from metier.tasks import format_entities, parse_entities

TYPES = ("PER", "ORG", "LOC")
surfaces = st.text(st.characters(codec="utf-8", exclude_characters=";"), min_size=1, max_size=12).filter(str.strip)
entities = st.lists(st.tuples(st.sampled_from(TYPES), surfaces.map(lambda s: " ".join(s.split()))), max_size=4)
few = st.lists(st.tuples(st.sampled_from(TYPES), st.sampled_from(["Ann", "Acme", "Rome"])), max_size=4)
cases = st.lists(st.tuples(few, st.one_of(st.none(), few)), min_size=1, max_size=20)


def test_reading_is_tolerant_of_order_case_and_space_only() -> None:
    assert parse_entities("PER: Ann Lee; ORG: Acme Corp") == [("PER", "Ann Lee"), ("ORG", "Acme Corp")]
    assert parse_entities("  org :Acme \n Corp ;per:Ann Lee ") == [("ORG", "Acme Corp"), ("PER", "Ann Lee")]
    assert parse_entities("ORG: Re: Invent", TYPES) == [("ORG", "Re: Invent")]
    assert parse_entities(" None\n") == []


@pytest.mark.parametrize(
    "text", ["", " ", "Ann Lee", "PER", "PER:", ": Ann", "PER: Ann;", "PER: Ann;; ORG: X", "PER: Ann, ORG Acme; no",
             "none; PER: Ann", "The person is: Ann", "nothing", "1: Ann", "[]", '{"PER": "Ann"}', "MISC: Ann"]
)  # fmt: skip
def test_anything_else_cannot_be_read(text: str) -> None:
    assert parse_entities(text, TYPES) is None


@given(entities)
def test_what_is_written_is_read_back(found: list[tuple[str, str]]) -> None:
    assert parse_entities(format_entities(found), TYPES) == found
    assert same_entities(found, list(reversed(found)))


def test_what_could_not_be_read_back_is_not_written() -> None:
    with pytest.raises(MetierError, match="';'"):
        format_entities([("PER", "Ann; Lee")])
    with pytest.raises(MetierError, match="right answer"):
        read_golds(["PER Ann"])


def test_all_or_nothing_does_not_claim_certainty() -> None:
    golds = [[("PER", "Ann")]] * 5
    for answers, value in (([[("PER", "Ann")]] * 5, 1.0), ([None] * 5, 0.0)):
        score = extraction_metrics(golds, answers, seed=0)["entity_f1"]
        assert score.value == value
        assert score.low is not None
        assert score.high is not None
        assert score.high - score.low > 0.3
    assert extraction_metrics(golds[:1], [[]], seed=0)["entity_f1"].reason
    gap = entity_f1_difference(golds, golds, [None] * 5, seed=0)
    assert (gap.value, gap.low, gap.high) == pytest.approx((1, 0.4782, 1), abs=1e-4)


def test_one_sentence_with_entities_among_empty_ones_is_no_certainty() -> None:
    golds = [[("PER", "Ann"), ("PER", "Ann")], [], []]
    score = extraction_metrics(golds, [[("PER", "Ann")], [], []], seed=0)["entity_f1"]
    assert (score.value, score.low, score.high) == (pytest.approx(2 / 3), 0.0, 1.0)


def test_a_known_case() -> None:
    golds = [[("PER", "Ann")], [("ORG", "Acme"), ("LOC", "Rome")], [], [("PER", "Ann"), ("PER", "Ann")]]
    answers = [[("PER", "Ann")], [("ORG", "Rome"), ("LOC", "Rome")], None, [("PER", "Ann")]]
    scores = extraction_metrics(golds, answers, seed=0)
    assert scores["entity_precision"].value == pytest.approx(3 / 4)
    assert scores["entity_recall"].value == pytest.approx(3 / 5)
    assert scores["entity_f1"].value == pytest.approx(2 / 3)
    assert scores["exact_match"].value == pytest.approx(1 / 4)
    assert scores["entity_f1"].n == 4


@given(cases)
@settings(deadline=None, max_examples=30)
def test_micro_averages_equal_scikit_learn(
    found: list[tuple[list[tuple[str, str]], list[tuple[str, str]] | None]],
) -> None:
    golds = [list(dict.fromkeys(gold)) for gold, _ in found]
    answers = [None if a is None else list(dict.fromkeys(a)) for _, a in found]
    if not any(golds):
        with pytest.raises(MetierError, match="no entity"):
            extraction_metrics(golds, answers, seed=0, resamples=20)
        return
    names = [(i, *e) for i in range(len(found)) for e in {*golds[i], *(answers[i] or ())}]
    there = [int(e in golds[i]) for i, *rest in names for e in [tuple(rest)]]
    given_ = [int(e in (answers[i] or ())) for i, *rest in names for e in [tuple(rest)]]
    precision, recall, f1, _ = precision_recall_fscore_support(there, given_, average="binary", zero_division=0)
    scores = extraction_metrics(golds, answers, seed=0, resamples=20)
    assert scores["entity_f1"].value == pytest.approx(f1)
    assert scores["entity_recall"].value == pytest.approx(recall)
    assert ("entity_precision" in scores) == any(answers)
    if any(answers):
        assert scores["entity_precision"].value == pytest.approx(precision)
    assert all(score.low is None or score.low <= score.value <= score.high for score in scores.values())


@given(cases)
@settings(deadline=None, max_examples=20)
def test_the_difference_is_that_of_the_scores(
    found: list[tuple[list[tuple[str, str]], list[tuple[str, str]] | None]],
) -> None:
    golds = [[("PER", "Ann")], *(gold for gold, _ in found)]
    this, other = [None, *(a for _, a in found)], [[("PER", "Ann")], *(a for _, a in found)]
    gap = entity_f1_difference(golds, this, other, seed=0, resamples=50)
    ours, theirs = (extraction_metrics(golds, a, seed=0, resamples=20)["entity_f1"].value for a in (this, other))
    assert gap.value == pytest.approx(ours - theirs)
    back = entity_f1_difference(golds, other, this, seed=0, resamples=50)
    assert (back.value, back.low, back.high) == pytest.approx((-gap.value, -gap.high, -gap.low))
    assert entity_f1_difference(golds, this, this, seed=0).value == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [("1,234.50", "1234.5"), ("$1,234", "1234"), ("14.1%", "0.141"), ("14.10 %", "14.1%"), ("-0", "0"), ("−5", "-5.0"),
     ("+3", "3"), (".5", "0.50"), ("-$3.20", "$-3.2"), ("12.", "12"), ("  Yes. ", "yes"), ("New  York", "new york")],
)  # fmt: skip
def test_the_same_answer_written_otherwise(one: str, other: str) -> None:
    assert normalised_answer(one) == normalised_answer(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("14.1", "14.1%"), ("1.5", "15"), ("1,5", "1.5"), ("-5", "5"), ("5 million", "5000000"), ("(5)", "-5"),
     ("12,34", "1234"), ("€5", "$5"), ("0.1411", "0.141"), ("yes", "no"), ("#5", "5"), ("$", "%"), ("--5", "5")],
)  # fmt: skip
def test_other_answers(one: str, other: str) -> None:
    assert normalised_answer(one) != normalised_answer(other)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_a_number_in_any_dress(number: object) -> None:
    text = f"{number:f}"
    for dress in (f"{number:,f}", f"${text}", f"{text}000", f" {text}."):
        assert normalised_answer(dress) == normalised_answer(text)


@given(st.text(max_size=40))
def test_normalising_never_fails_and_unread_is_wrong(text: str) -> None:
    normalised_answer(text)
    assert exact_match([text, text], [text, None]).value == 0.5


def test_two_that_find_nothing_are_no_certain_tie() -> None:
    golds = [[("ORG", f"Firm {i}")] for i in range(20)]
    wrong: list[list[tuple[str, str]] | None] = [[("PER", "Ann")]] * 20
    gap = entity_f1_difference(golds, wrong, [None] * 20, seed=0)
    assert gap.value == 0
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low < -0.1 < 0.1 < gap.high
