"""The vote: its winner, its ties, and what it gains, against theory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metier.errors import MetierError
from metier.evaluation.intervals import clopper_pearson
from metier.inference.strategies.plurality import plurality
from tests.inference.strategies.theory import plurality_accuracy


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_the_winner_has_most_votes_and_came_first_among_equals(answers: list[str]) -> None:
    vote = plurality(answers)
    counts = {answer: answers.count(answer) for answer in answers}
    best = [answer for answer in counts if counts[answer] == max(counts.values())]
    assert vote.answer == min(best, key=answers.index)
    assert vote.tied == (len(best) > 1)
    assert sum(vote.shares.values()) == pytest.approx(1)
    assert vote.shares[vote.answer] == max(vote.shares.values())


def test_no_vote_is_no_answer() -> None:
    with pytest.raises(MetierError, match="no sample"):
        plurality([])


@given(st.integers(1, 7), st.integers(2, 3), st.floats(0.01, 0.99))
def test_over_all_sequences_the_vote_is_right_as_often_as_theory_says(samples: int, options: int, p: float) -> None:
    """Exact: every sequence of answers with its probability. Ties are shared fairly by taking what came first."""
    chances = [p, *[(1 - p) / (options - 1)] * (options - 1)]
    found = 0.0
    for sequence in itertools.product(range(options), repeat=samples):
        if plurality([str(place) for place in sequence]).answer == "0":
            found += float(np.prod([chances[place] for place in sequence]))
    assert found == pytest.approx(plurality_accuracy(p, samples, options))


@given(st.integers(0, 12), st.floats(0.02, 0.98))
def test_of_two_options_an_odd_vote_is_a_binomial_tail(half: int, p: float) -> None:
    samples = 2 * half + 1
    tail = float(stats.binom(samples, p).sf(half))
    assert plurality_accuracy(p, samples, 2) == pytest.approx(tail)
    # Condorcet: a vote helps those who are more often right than wrong, and harms the others
    assert (tail >= p - 1e-12) if p >= 0.5 else (tail <= p + 1e-12)


def test_intervals_of_votes_cover_what_theory_says() -> None:
    """Of 400 simulated examinations of 60 questions the 95 % intervals cover the true accuracy in at least 95 %."""
    generator, truth = np.random.default_rng(3), plurality_accuracy(0.45, 5, 4)
    right = []
    for _ in range(400):
        drawn = generator.choice(4, size=(60, 5), p=[0.45, 0.55 / 3, 0.55 / 3, 0.55 / 3])
        right.append(sum(plurality([str(place) for place in row]).answer == "0" for row in drawn))
    low, high = clopper_pearson(np.array(right), 60)
    assert np.mean((low <= truth) & (truth <= high)) >= 0.95
