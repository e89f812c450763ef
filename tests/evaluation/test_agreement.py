from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from metier.errors import MetierError
from metier.evaluation.agreement import agreement, cohen_kappa

LABELS = ["a", "b", "c"]
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60)


def spread(table: list[list[int]]) -> tuple[list[str], list[str]]:
    """Two labellings with this confusion table."""
    cells = [(a, b) for i, a in enumerate(LABELS) for j, b in enumerate(LABELS) for _ in range(table[i][j])]
    return [a for a, _ in cells], [b for _, b in cells]


def test_worked_example_of_cohen() -> None:
    # Cohen (1960), two diagnosticians of 200 patients: p_o = (88 + 40 + 12) / 200 = 0.70;
    # rows 120, 60, 20, columns 100, 60, 40: p_e = 0.6 * 0.5 + 0.3 * 0.3 + 0.1 * 0.2 = 0.41; κ = 0.29 / 0.59 = 0.492
    table = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
    found = agreement(*spread(table), LABELS, seed=0)
    assert found.matrix == table
    assert found.raw.value == pytest.approx(0.70)
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(0.29 / 0.59)
    assert found.kappa.n == found.raw.n == 200
    assert found.kappa.low is not None
    assert found.kappa.high is not None
    # the delta method's standard error here is 0.05 to 0.06: an interval of about ± 0.11
    assert 0.36 < found.kappa.low < 0.40
    assert 0.58 < found.kappa.high < 0.62
    assert agreement(*spread(table), LABELS, seed=0) == found


@given(pairs, st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_kappa_equals_scikit_learn_and_lies_in_its_interval(drawn: list[tuple[str, str]], seed: int) -> None:
    first, second = [a for a, _ in drawn], [b for _, b in drawn]
    found = agreement(first, second, LABELS, seed=seed, resamples=200)
    if len({*first, *second}) == 1:
        assert found.kappa is None  # 0/0
        return
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)
    swapped = agreement(second, first, LABELS, seed=seed, resamples=200)
    assert swapped.kappa is not None
    assert swapped.kappa.value == pytest.approx(found.kappa.value, abs=1e-9)
    if found.kappa.low is None:
        assert found.kappa.reason
    else:
        assert found.kappa.high is not None
        assert -1 - 1e-9 <= found.kappa.low <= found.kappa.value <= found.kappa.high <= 1 + 1e-9


def test_full_agreement_is_not_certainty() -> None:
    kappa = agreement(*spread([[10, 0, 0], [0, 10, 0], [0, 0, 0]]), LABELS, seed=0).kappa
    assert kappa is not None
    assert kappa.low is not None
    assert (kappa.value, kappa.high) == (1, 1)
    # lower Clopper-Pearson end of 20 of 20 is 0.8316, chance agreement 0.5
    assert kappa.low == pytest.approx((0.025 ** (1 / 20) - 0.5) / 0.5)


def test_no_agreement_at_all_is_not_certainty() -> None:
    kappa = agreement(*spread([[0, 10, 0], [10, 0, 0], [0, 0, 0]]), LABELS, seed=0).kappa
    assert kappa is not None
    assert (kappa.value, kappa.low) == (-1, -1)
    assert kappa.high == pytest.approx((1 - 0.025 ** (1 / 20) - 0.5) / 0.5)


def test_no_interval_where_most_samples_have_no_kappa() -> None:
    kappa = agreement(*spread([[8, 1, 0], [1, 0, 0], [0, 0, 0]]), LABELS, seed=0).kappa
    assert kappa is not None
    assert kappa.value == pytest.approx((0.8 - 0.82) / 0.18)
    assert kappa.low is None
    assert "only one label" in (kappa.reason or "")


def test_one_label_alone_gives_no_certainty_of_no_agreement() -> None:
    kappa = agreement(["x", "x", "x"], ["x", "y", "z"], ["x", "y", "z"], seed=0).kappa
    assert kappa is not None
    assert (kappa.value, kappa.low, kappa.high) == (0, None, None)
    assert "single label" in (kappa.reason or "")


def test_tables_at_once() -> None:
    tables = np.array([[[20, 5], [10, 15]], [[5, 0], [0, 5]]], np.float64)
    assert cohen_kappa(tables) == pytest.approx([0.4, 1.0])


def test_nothing_to_compare_and_unknown_labels() -> None:
    with pytest.raises(MetierError, match="nothing to score"):
        agreement([], [], LABELS, seed=0)
    with pytest.raises(MetierError, match="'d' is not a label"):
        agreement(["a"], ["d"], LABELS, seed=0)
