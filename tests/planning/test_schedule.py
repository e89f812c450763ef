"""Steps and tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.planning.schedule import Schedule, Warmup, check, whole_batches

BLOOMBERG = Schedule(2048, 2048, (Warmup(7200, 1024),))
schedules = st.builds(
    Schedule, st.integers(1, 4096), st.integers(1, 4096),
    st.lists(st.builds(Warmup, st.integers(1, 1000), st.integers(1, 1000)), max_size=3).map(tuple),
)  # fmt: skip


def test_bloomberggpts_tokens_to_the_last() -> None:
    assert BLOOMBERG.tokens(139_200) == (7200 * 1024 + 132_000 * 2048) * 2048 == 568_747_622_400
    assert BLOOMBERG.tokens(7200) == 15_099_494_400
    assert BLOOMBERG.steps_within(568_747_622_400) == 139_200
    assert BLOOMBERG.steps_within(568_747_622_399) == 139_199


@given(schedules, st.integers(0, 10_000))
@settings(deadline=None)
def test_steps_and_tokens_are_each_others_inverse(schedule: Schedule, steps: int) -> None:
    assert schedule.steps_within(schedule.tokens(steps)) == steps
    assert schedule.tokens(steps) < schedule.tokens(steps + 1)


@given(schedules, st.floats(0, 1e9))
@settings(deadline=None)
def test_never_more_tokens_than_asked_for(schedule: Schedule, tokens: float) -> None:
    steps = schedule.steps_within(tokens)
    assert schedule.tokens(steps) <= tokens < schedule.tokens(steps + 1)


@given(st.floats(1, 1e9), st.integers(1, 4096), st.integers(1, 600), st.integers(1, 8))
@settings(deadline=None)
def test_batches_are_whole_on_every_device(tokens: float, length: int, devices: int, micro: int) -> None:
    sequences = whole_batches(tokens, length, devices, micro)
    assert sequences % (devices * micro) == 0
    assert sequences > 0
    assert abs(sequences * length - tokens) <= devices * micro * length


def test_a_batch_that_does_not_divide_is_refused() -> None:
    check(BLOOMBERG, 512)
    with pytest.raises(MetierError, match="2,048 sequences a step do not divide over 3 devices"):
        check(BLOOMBERG, 3)
    with pytest.raises(MetierError, match="1,024 sequences"):
        check(Schedule(2048, 2048, (Warmup(10, 1024),)), 2048)
