from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.evaluation.confidence import BY, at_temperature, confidence, entropy, margin, probability, vote_shares

weights = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any), min_size=1, max_size=12)


def rows_of(drawn: list[list[int]]) -> list[list[float]]:
    return [[w / sum(row) for w in row] for row in drawn]


def test_each_by_hand_on_rows_of_differing_widths() -> None:
    rows = [[0.5, 0.5], [0.7, 0.2, 0.1], [1.0], [0.0, 1.0, 0.0, 0.0]]
    assert probability(rows).tolist() == [0.5, 0.7, 1, 1]
    assert margin(rows) == pytest.approx([0, 0.5, 1, 1])
    spread = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1)) / np.log(3)
    assert entropy(rows) == pytest.approx([0, 1 - spread, 1, 1])


@given(weights)
@settings(max_examples=40, deadline=None)
def test_between_0_and_1_and_the_order_of_a_row_does_not_matter(drawn: list[list[int]]) -> None:
    rows = rows_of(drawn)
    for by in BY:
        found = confidence(rows, by)
        assert np.all((found >= 0) & (found <= 1))
        assert confidence([row[::-1] for row in rows], by) == pytest.approx(found)


@given(weights)
@settings(max_examples=40, deadline=None)
def test_each_row_is_judged_by_itself(drawn: list[list[int]]) -> None:
    rows = rows_of(drawn)
    for by in BY:
        assert confidence(rows, by) == pytest.approx([confidence([row], by)[0] for row in rows])


def test_votes_make_shares_and_the_unread_are_votes_for_nobody() -> None:
    shares = vote_shares(["B", "A", None, "A"])
    assert shares == {"A": 0.5, "B": 0.25}
    assert list(vote_shares(["B", "A"])) == ["B", "A"]
    assert vote_shares([None]) == {}
    agreement = probability([list(shares.values())])[0]
    assert agreement == 0.5
    assert entropy([[0.5, 0.25]])[0] < entropy([[2 / 3, 1 / 3]])[0]


@pytest.mark.parametrize("rows", [[[]], [[0.9, 0.9]], [[-0.1, 1.0]], [[float("nan"), 0.5]]])
def test_what_is_no_distribution_is_refused(rows: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="probabilit"):
        probability(rows)


def test_a_temperature_softens_each_row_whatever_its_width() -> None:
    hot = at_temperature([[0.9, 0.1], [0.8, 0.1, 0.1]], 3.0)
    assert [len(row) for row in hot] == [2, 3]
    assert probability(hot).tolist() < [0.9, 0.8]
