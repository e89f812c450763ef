"""Figures: inside their frame, well-formed, the same every time."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from metier.report import figures
from metier.report.figures import Axis, Bin

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(FINITE, min_size=1, max_size=30), st.booleans())
def test_an_axis_holds_its_values_between_few_round_ticks(values: list[float], zero: bool) -> None:
    axis = Axis.around(values, zero=zero)
    slack = 1e-6 * (abs(axis.high) + abs(axis.low) + 1)
    assert axis.low <= min(values) + slack
    assert axis.high >= max(values) - slack
    assert 2 <= len(axis.ticks) <= 9
    assert all(0 <= axis.at(v) <= 1 for v in values)


@given(st.floats(1e-6, 1e9), st.integers(1, 10))
def test_a_step_is_round(span: float, ticks: int) -> None:
    step = figures.nice_step(span, ticks)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert any(math.isclose(mantissa, m, rel_tol=1e-6) for m in (1, 2, 2.5, 5, 10))
    assert step * ticks >= span * 0.99


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=900))
def test_thinning_keeps_the_mean(points: list[tuple[float, float]]) -> None:
    thin = figures.thinned(points, 100)
    assert len(thin) <= 100
    assert min(y for _, y in points) - 1e-6 <= thin[0][1] <= max(y for _, y in points) + 1e-6


def test_tick_labels_have_the_digits_that_their_step_needs() -> None:
    assert [Axis(0, 0.1, 0.025).label(t) for t in (0, 0.025)] == ["0.000", "0.025"]
    assert Axis(0, 300, 100).label(200) == "200"
    assert Axis(0, 1, 0.25, percent=True).label(0.25) == "25%"
    assert Axis(-2, 0, 1).label(-1) == "\N{MINUS SIGN}1"


def test_a_loss_above_the_axis_leaves_the_picture_instead_of_running_along_its_edge() -> None:
    train = [(float(i), 9.0 if i < 3 else 0.9 - i / 400) for i in range(200)]
    tree = ET.fromstring(str(figures.loss_curve(train, [], None)))
    mean = next(path for path in tree if path.get("class") == "line quiet").get("d", "")
    heights = [float(point.split()[1]) for point in mean.removeprefix("M").split("L")]
    assert heights.count(12.0) == 1  # the edge is where the line enters


@given(st.lists(st.integers(0, 200).map(lambda n: n / 200), min_size=1, max_size=9), st.booleans())
def test_a_score_curve_shows_no_score_that_cannot_be(values: list[float], level: bool) -> None:
    points = [(float(step), values[0] if level else value) for step, value in enumerate(values, 1)]
    tree = ET.fromstring(str(figures.score_curve(points, points[-1], "Validation weighted F1")))
    ends = [float(tick.text or "") for tick in tree if tick.get("text-anchor") == "end" and tick.get("class") == "tick"]
    assert len(ends) >= 2
    assert all(0 <= tick <= 1 for tick in ends)


@given(st.lists(st.integers(-900, -1).map(lambda n: n / 100), min_size=2, max_size=9, unique=True))
def test_a_curve_of_log_likelihoods_keeps_its_own_scale(values: list[float]) -> None:
    points = [(float(step), value) for step, value in enumerate(values, 1)]
    tree = ET.fromstring(str(figures.score_curve(points, points[-1], "Validation log likelihood")))
    heights = [float(dot.get("cy") or 0) for dot in tree if dot.get("class") == "dot accent"]
    assert sorted(values, reverse=True) == [value for _, value in sorted(zip(heights, values, strict=True))]
    assert len({round(height, 1) for height in heights}) > 1
    ends = [tick.text for tick in tree if tick.get("text-anchor") == "end" and tick.get("class") == "tick"]
    assert len(ends) >= 2


def test_every_figure_is_well_formed_and_says_what_it_shows() -> None:
    train = [(float(i), 2 / (1 + i / 10)) for i in range(500)]
    looks = [(100.0, 0.8), (200.0, 0.6), (400.0, 0.7)]
    bins = [Bin(0.4, 0.5, 0.1, 0.9, 3), Bin(0.9, 0.7, None, None, 40), Bin(0.95, 0.8, 0.7, 0.9, 0)]
    made = [
        figures.loss_curve(train, looks, looks[1]),
        figures.loss_curve(train, [], None),
        figures.score_curve(looks, looks[1], "Validation <F1>"),
        figures.reliability(bins, "accent", "Reliability"),
        figures.reliability([], "accent", "Reliability"),
        figures.risk_coverage([(0.1, 0, 0, 0.5), (1, 0.2, 0.1, 0.3)], [(1, 0.2)]),
        figures.risk_coverage([(0.05, 0, 0, 0.5)], []),
    ]
    for svg in made:
        root = ET.fromstring(svg)
        assert root.find("title") is not None
        assert root.get("role") == "img"
        assert "nan" not in svg
    for row in (
        figures.track(figures.UNIT, 0.7, 0.6, 0.8, "accent", bar=True),
        figures.track(Axis.around([0.9, 1.1]), 1.0, None, None, "quiet", bar=False),
        figures.scale(figures.UNIT),
    ):
        ET.fromstring(row)


def test_values_outside_the_frame_are_held_at_its_edge() -> None:
    panel = figures.Panel(figures.UNIT, figures.UNIT)
    assert panel.px(2.0) == panel.px(1.0)
    assert panel.py(-1.0) == panel.py(0.0)


def test_labels_of_ticks_do_not_run_into_each_other() -> None:
    def labels(sizes: list[int]) -> list[str]:
        systems = {"specialist": [(size, 0.8, 0.7, 0.9) for size in sizes]}
        return re.findall(r'text-anchor="middle">([\d,]+)</text>', str(figures.by_size(systems)))

    assert labels([64, 128, 256, 512, 1024, 1041]) == ["64", "128", "256", "512", "1,041"]
    assert labels([64, 128, 256, 512, 1024, 2000]) == ["64", "128", "256", "512", "1,024", "2,000"]
