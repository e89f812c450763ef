"""Thresholds that are asked for."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from metier.errors import MetierError
from metier.inference.abstaining import check_below, check_level


@pytest.mark.parametrize("below", ["0.5", True, 1.5, -1, math.nan, math.inf, [0.5]])
def test_a_threshold_is_a_probability(below: Any) -> None:
    with pytest.raises(MetierError, match="a number from 0 to 1"):
        check_below(below)


@pytest.mark.parametrize("below", [None, 0, 1, 0.8, np.float64(0.8), np.float32(0.8)])
def test_thresholds_that_may_be_asked_for(below: Any) -> None:
    check_below(below)


@pytest.mark.parametrize("level", ["0.9", True, None, math.nan, math.inf, 1, 0.905])
def test_a_level_of_sets_is_a_probability(level: Any) -> None:
    bundle: Any = SimpleNamespace(task=SimpleNamespace(written=False))
    with pytest.raises(MetierError, match=r"0\.50 to 0\.99 in steps of 0\.01"):
        check_level(bundle, level, "lac")
