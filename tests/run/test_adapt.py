"""How often a training is looked at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.recipe import Adapt
from metier.run.adapt import LOOKS, schedule_of


def looks(adapt: Adapt, steps: int) -> list[int]:
    every = schedule_of(adapt, steps, seed=0).validate_every
    return sorted({*range(every, steps + 1, every), steps})


@pytest.mark.parametrize(("steps", "expected"), [(218, [55, 110, 165, 218]), (4, [1, 2, 3, 4]), (1, [1])])
def test_the_last_look_is_one_of_those_that_the_recipe_gives(steps: int, expected: list[int]) -> None:
    assert looks(Adapt(epochs=2, validations_per_epoch=2), steps) == expected


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 2000))
def test_there_are_never_more_looks_than_the_recipe_gives(epochs: int, per_epoch: int, steps: int) -> None:
    assert len(looks(Adapt(epochs=epochs, validations_per_epoch=per_epoch), steps)) <= epochs * per_epoch
    assert len(looks(Adapt(steps=steps), steps)) <= LOOKS
