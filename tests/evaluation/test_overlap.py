from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from metier.errors import MetierError
from metier.evaluation.intervals import proportion_difference
from metier.evaluation.overlap import DEFINITIONS, accuracy_apart, overlapping


def test_the_difference_that_was_published_for_medmcqa() -> None:
    """Med-PaLM 2: 70.5 on 3,290 clean items less 75.0 on 893 overlapping ones is -4.6 [-7.7, -1.3]."""
    found = proportion_difference(round(0.705 * 3290), 3290, round(0.75 * 893), 893)
    assert 100 * found.value == pytest.approx(-4.6, abs=0.15)
    assert 100 * found.low == pytest.approx(-7.7, abs=0.15)  # type: ignore[operator]
    assert 100 * found.high == pytest.approx(-1.3, abs=0.15)  # type: ignore[operator]
    assert found.n == 4183


def test_newcombes_own_examples() -> None:
    """Newcombe 1998, table II, method 10: 56/70 and 48/80; 9/10 and 3/10; 10/10 and 0/20."""
    for (a, m, b, n), (low, high) in {
        (56, 70, 48, 80): (0.0524, 0.3339),
        (9, 10, 3, 10): (0.1705, 0.8090),
        (10, 10, 0, 20): (0.6791, 1.0),
    }.items():
        found = proportion_difference(a, m, b, n)
        assert found.low == pytest.approx(low, abs=1e-4)
        assert found.high == pytest.approx(high, abs=1e-4)


@pytest.mark.parametrize(("p", "m", "q", "n"), [(0.7, 12, 0.5, 200), (0.95, 30, 0.9, 100), (0.3, 60, 0.3, 60)])
def test_it_covers_the_truth_as_often_as_it_says(p: float, m: int, q: float, n: int) -> None:
    covered = 0.0
    for a in range(m + 1):
        for b in range(n + 1):
            weight = binom.pmf(a, m, p) * binom.pmf(b, n, q)
            if weight > 1e-6:
                found = proportion_difference(a, m, b, n)
                covered += weight * (found.low <= p - q <= found.high)  # type: ignore[operator]
    assert 0.93 < covered < 0.98


def test_nothing_on_one_side_is_no_difference() -> None:
    with pytest.raises(MetierError):
        proportion_difference(0, 0, 1, 2)


def test_definitions() -> None:
    bits = np.array([0, 1, 2, 4, 8, 8, 12])
    words = np.array([20, 7, 90, 9, 20, 20, 30])
    found = [flags.tolist() for flags in overlapping(bits, words).values()]
    assert found == [
        [False, True, True, False, False, False, False],
        [False, True, False, True, False, False, True],
        [False, True, False, False, True, True, True],
    ]
    assert list(overlapping(bits, words)) == list(DEFINITIONS)


def test_few_or_no_overlapping_items_are_told() -> None:
    ids = [str(n) for n in range(100)]
    correct = {id: int(id) % 2 == 0 for id in ids if id != "99"}
    apart = accuracy_apart(ids, np.array([n < 20 for n in range(100)]), correct)
    assert apart["overlapping"]["n"] == 20
    assert apart["clean"]["n"] == 79
    assert apart["note"] is None
    assert apart["difference"]["value"] == pytest.approx(10 / 20 - 40 / 79)
    few = accuracy_apart(ids, np.array([n < 3 for n in range(100)]), correct)
    assert few["note"] == "only 3 overlapping items: too few to say whether overlap matters"
    assert few["difference"]["high"] - few["difference"]["low"] > 0.5
    none = accuracy_apart(ids, np.zeros(100, bool), correct)
    assert none["difference"] is None
    assert none["note"] == "no overlapping item: nothing to compare"
    assert "only 1 clean item:" in accuracy_apart(ids, np.arange(100) > 0, correct)["note"]
