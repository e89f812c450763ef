"""Figures as small inline SVG: no fonts, scripts or identifiers of their own, coloured by the page's CSS.

Two families. ``panel`` figures have a view box 360 units wide, close to a phone's width, so that their text
stays legible when they scale; a desktop sets two side by side. ``track`` figures are one row of a table, as
wide as they are given: their positions are percentages. All output is a function of the numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

from metier.report.words import number

WIDTH = 360.0
DIGIT = 6.6  # width of a digit of a tick label
Point = tuple[float, float]


def _f(value: float) -> str:
    """A coordinate, short and the same on every machine."""
    return f"{value + 0.0:.2f}".rstrip("0").rstrip(".")


def nice_step(span: float, ticks: int) -> float:
    """The step of 1, 2, 2.5 or 5 times a power of ten that divides ``span`` into about ``ticks`` parts."""
    raw = span / max(ticks, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)


@dataclass(frozen=True)
class Axis:
    """A range with round ends and the ticks to print on it."""

    low: float
    high: float
    step: float
    percent: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, ticks: int = 4, zero: bool = False, percent: bool = False) -> Axis:
        """The smallest round range that holds ``values`` (and zero, if asked)."""
        low, high = min(values), max(values)
        if zero:
            low = min(low, 0.0)
        size = max(abs(low), abs(high))
        if high - low < 1e-9 * max(size, 1.0):
            around = 0.5 * (size if size > 1e-6 else 1.0)
            low, high = low - around, high + around
        step = nice_step(high - low, ticks)
        return cls(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step, percent)

    def inside(self, low: float, high: float) -> Axis:
        """The same axis without what lies beyond ``low`` and ``high``, which are ticks of it."""
        return replace(self, low=max(self.low, low), high=min(self.high, high))

    @property
    def ticks(self) -> list[float]:
        """Tick values from low to high."""
        n = math.floor((self.high - self.low) / self.step + 1e-9)
        return [self.low + i * self.step for i in range(n + 1)]

    def at(self, value: float) -> float:
        """Where ``value`` lies, 0 to 1, held inside."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def label(self, value: float) -> str:
        """The text of a tick, with as many digits as the step needs."""
        scale = 100 if self.percent else 1
        step = self.step * scale
        digits = next((d for d in range(6) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 6)
        if not self.percent and abs(value) >= 10_000:
            return f"{value / 1000:g}k"
        return number(value * scale, digits) + ("%" if self.percent else "")


UNIT = Axis(0.0, 1.0, 0.25)
SHARE = Axis(0.0, 1.0, 0.25, percent=True)


@dataclass(frozen=True)
class Panel:
    """A plot area with two axes inside a view box of 360 by ``height`` units."""

    x: Axis
    y: Axis
    height: float = 250.0
    left: float = 46.0
    right: float = 12.0
    top: float = 12.0
    bottom: float = 44.0

    def px(self, value: float) -> float:
        """The horizontal position of ``value``."""
        return self.left + self.x.at(value) * (WIDTH - self.left - self.right)

    def py(self, value: float) -> float:
        """The vertical position of ``value``; up is more."""
        return self.height - self.bottom - self.y.at(value) * (self.height - self.top - self.bottom)

    def frame(self, x_label: str, x_ticks: Sequence[tuple[float, str]] | None = None) -> str:
        """Grid lines, tick labels (those of the axis, or ``(position, text)``) and the horizontal axis' name."""
        parts = []
        right, floor = WIDTH - self.right, self.height - self.bottom
        for tick in self.y.ticks:
            y = self.py(tick)
            parts.append(f'<line class="grid" x1="{_f(self.left)}" x2="{_f(right)}" y1="{_f(y)}" y2="{_f(y)}"/>')
            parts.append(
                f'<text class="tick" x="{_f(self.left - 7)}" y="{_f(y + 4)}" text-anchor="end">'
                f"{self.y.label(tick)}</text>"
            )
        for tick, text in self._apart(x_ticks or [(tick, self.x.label(tick)) for tick in self.x.ticks]):
            parts.append(
                f'<text class="tick" x="{_f(self.px(tick))}" y="{_f(floor + 17)}" text-anchor="middle">{text}</text>'
            )
        parts.append(f'<line class="axis" x1="{_f(self.left)}" x2="{_f(right)}" y1="{_f(floor)}" y2="{_f(floor)}"/>')
        middle = (self.left + right) / 2
        parts.append(
            f'<text class="name" x="{_f(middle)}" y="{_f(floor + 36)}" text-anchor="middle">{escape(x_label)}</text>'
        )
        return "".join(parts)

    def _apart(self, ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
        """The labels that do not run into the next one; the last is always there."""
        kept: list[tuple[float, str]] = []
        for tick, text in sorted(ticks, reverse=True):
            if not kept or self.px(kept[-1][0]) - self.px(tick) > DIGIT * (len(text) + len(kept[-1][1]) + 1) / 2:
                kept.append((tick, text))
        return kept[::-1]

    def path(self, points: Sequence[Point]) -> str:
        """The ``d`` of a line through ``points``, drawn from left to right."""
        return "M" + "L".join(f"{_f(self.px(x))} {_f(self.py(y))}" for x, y in points)

    def line(self, points: Sequence[Point], css: str) -> str:
        """A line through ``points``."""
        return f'<path class="{css}" d="{self.path(points)}"/>' if len(points) > 1 else ""

    def dot(self, x: float, y: float, css: str, radius: float = 4.0) -> str:
        """A filled circle."""
        return f'<circle class="{css}" cx="{_f(self.px(x))}" cy="{_f(self.py(y))}" r="{_f(radius)}"/>'

    def note(self, x: float, y: float, text: str, *, below: bool = False) -> str:
        """Text beside a point, turned inward near the right edge; above it where there is room, or ``below``."""
        px, py = self.px(x), self.py(y)
        inward = px > WIDTH * 0.6
        anchor, shift = ("end", -8) if inward else ("start", 8)
        py = py - 9 if py > self.top + 18 and not below else py + 19
        return f'<text class="note" x="{_f(px + shift)}" y="{_f(py)}" text-anchor="{anchor}">{escape(text)}</text>'

    def svg(self, body: str, title: str, description: str) -> Markup:
        """The finished picture with the words that a screen reader says."""
        return Markup(
            f'<svg class="panel" viewBox="0 0 {_f(WIDTH)} {_f(self.height)}" role="img">'
            f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
        )


def thinned(points: Sequence[Point], most: int = 160) -> list[Point]:
    """At most ``most`` points, each the mean of its neighbours: noise that no eye can resolve is averaged."""
    if len(points) <= most:
        return list(points)
    bins: list[Point] = []
    for i in range(most):
        part = points[i * len(points) // most : (i + 1) * len(points) // most]
        bins.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return bins


def smoothed(points: Sequence[Point], width: int) -> list[Point]:
    """A centred moving mean over ``width`` points, narrower at the ends."""
    half = width // 2
    out = []
    for i, (x, _) in enumerate(points):
        reach = min(half, i, len(points) - 1 - i)
        part = points[i - reach : i + reach + 1]
        out.append((x, sum(y for _, y in part) / len(part)))
    return out


def _below(points: Sequence[Point], top: float) -> list[Point]:
    """The line's part up to ``top``: what comes from above enters at the edge instead of running along it."""
    inside: list[Point] = []
    for i, (x, y) in enumerate(points):
        if i and (points[i - 1][1] > top) != (y > top):
            x0, y0 = points[i - 1]
            inside.append((x0 + (x - x0) * (y0 - top) / (y0 - y), top))
        if y <= top:
            inside.append((x, y))
    return inside


def loss_curve(train: Sequence[Point], validation: Sequence[Point], best: Point | None) -> Markup:
    """Loss by step: training thin and noisy with its moving mean, validation in the accent, the best step marked."""
    points = thinned(train)
    mean = smoothed(points, max(5, len(points) // 12))
    values = sorted(y for _, y in [*points, *validation])
    # one early spike must not flatten the rest: the axis ends at the 98th percentile or the validation's maximum
    high = max([values[int(0.98 * (len(values) - 1))], *(y for _, y in validation)])
    panel = Panel(_steps([*train, *validation]), Axis.around([0.0, high], zero=True))
    body = panel.frame("step")
    body += panel.line(_below(points, panel.y.high), "raw") + panel.line(_below(mean, panel.y.high), "line quiet")
    body += panel.line(validation, "line accent") + "".join(panel.dot(x, y, "dot accent", 2.5) for x, y in validation)
    if best:
        body += panel.dot(*best, "ring") + panel.note(*best, f"step {best[0]:.0f}")
    ends = [f"training loss starts at {number(train[0][1])} and ends near {number(mean[-1][1])}"] if train else []
    ends += [f"validation loss ends at {number(validation[-1][1])}"] if validation else []
    return panel.svg(body, "Loss by training step", "; ".join(ends))


def by_size(series: Mapping[str, Sequence[Sequence[float]]]) -> Markup:
    """Scores by number of examples, on a scale that doubles: points ``(examples, value, low, high)`` by system.

    The last system stands in the accent, the others in dashes of different length.
    """
    every = [p for points in series.values() for p in points]
    powers = [math.log2(p[0]) for p in every]
    panel = Panel(
        Axis(min(powers) - 0.15, max(powers) + 0.15, 1.0), Axis.around([y for p in every for y in p[1:]]), height=290
    )
    labels = sorted({p[0] for p in every})
    body = panel.frame("examples learnt from", [(math.log2(size), f"{size:,.0f}") for size in labels])
    words = []
    for place, (title, points) in enumerate(series.items()):
        last = place == len(series) - 1
        css = "accent" if last else f"quiet dash-{place}"
        for size, _, low, high in points:
            x = _f(panel.px(math.log2(size)) + 2.5 * (place - (len(series) - 1) / 2))
            ends = f'y1="{_f(panel.py(high))}" y2="{_f(panel.py(low))}"'
            body += f'<line class="whisker {css.split()[0]}" x1="{x}" x2="{x}" {ends}/>'
        drawn = [(math.log2(size), value) for size, value, _, _ in points]
        body += panel.line(drawn, f"line {css}")
        body += "".join(panel.dot(x, y, f"dot {css.split()[0]}", 3) for x, y in drawn)
        words.append(f"{title}: " + ", ".join(f"{size:,.0f} examples {number(value)}" for size, value, _, _ in points))
    return panel.svg(body, "Score by number of examples learnt from", "; ".join(words))


def score_curve(points: Sequence[Point], best: Point | None, title: str) -> Markup:
    """A validation score by step, a share or a log-likelihood, the step whose weights are kept marked."""
    values = [y for _, y in points]
    axis = Axis.around([*values, max(values) + 0.15 * (max(values) - min(values))])
    share = min(values) >= 0 and max(values) <= 1
    panel = Panel(_steps(points), axis.inside(0.0, 1.0) if share else axis)
    body = panel.frame("step") + panel.line(points, "line accent")
    body += "".join(panel.dot(x, y, "dot accent", 2.5) for x, y in points)
    if best:
        text = f"kept: {number(best[1])}, step {best[0]:.0f}"
        body += panel.dot(*best, "ring") + panel.note(*best, text, below=best[1] < max(values))
    return panel.svg(body, f"{title} by training step", f"from {number(values[0])} to {number(values[-1])}")


def _steps(points: Sequence[Point]) -> Axis:
    last = max(x for x, _ in points)
    return Axis(0.0, last, max(1.0, nice_step(last, 5)))  # ends where training ended


@dataclass(frozen=True)
class Bin:
    """A reliability bin: how sure on average, how often right (with interval), over how many answers."""

    confidence: float
    accuracy: float
    low: float | None
    high: float | None
    n: int


def reliability(bins: Sequence[Bin], css: str, title: str) -> Markup:
    """How often answers were right against how sure they were; below the axis, how many answers there were."""
    panel = Panel(SHARE, SHARE, height=300, bottom=82)
    diagonal = panel.line([(0, 0), (1, 1)], "diagonal")
    filled = [b for b in bins if b.n]
    body = panel.frame("") + diagonal
    for b in filled:
        if b.low is not None and b.high is not None:
            x = _f(panel.px(b.confidence))
            top, foot = _f(panel.py(b.high)), _f(panel.py(b.low))
            body += f'<line class="whisker {css}" x1="{x}" x2="{x}" y1="{top}" y2="{foot}"/>'
    body += "".join(panel.dot(b.confidence, b.accuracy, f"dot {css}", 4) for b in filled)
    base, most = panel.height - 22, max((b.n for b in filled), default=1)
    for b in filled:
        tall = 28 * b.n / most
        body += (
            f'<rect class="count" x="{_f(panel.px(b.confidence) - 3)}" width="6" y="{_f(base - tall)}" '
            f'height="{_f(tall)}"/>'
        )
    middle = (panel.left + WIDTH - panel.right) / 2
    body += (
        f'<text class="name" x="{_f(middle)}" y="{_f(panel.height - 6)}" text-anchor="middle">'
        "how sure it was (bars: how many answers)</text>"
    )
    words = "; ".join(f"sure {b.confidence:.0%}, right {b.accuracy:.0%} (n = {b.n})" for b in filled)
    return panel.svg(body, title, words)


def risk_coverage(points: Sequence[tuple[float, float, float, float]], marks: Sequence[Point]) -> Markup:
    """Error among the answers given, by the share of examples answered; ``points``: coverage, risk, low, high."""
    # the first few answers have intervals as wide as the page: the axis follows what covers 10 % and more
    tall = max([p[3] for p in points if p[0] >= 0.1] or [p[1] for p in points])
    step = max(1, len(points) // 160)
    kept = [*points[::step], *([points[-1]] if (len(points) - 1) % step else [])]
    panel = Panel(SHARE, Axis.around([0.0, min(1.0, tall)], zero=True, percent=True))
    upper, lower = [(p[0], p[3]) for p in kept], [(p[0], p[2]) for p in kept]
    band = f'<path class="band" d="{panel.path([*upper, *reversed(lower)])}Z"/>'
    body = panel.frame("share of examples answered") + band + panel.line([(p[0], p[1]) for p in kept], "line accent")
    for x, y in marks:
        body += panel.dot(x, y, "ring") + panel.note(x, y, f"{100 * y:.1f} %")
    words = "; ".join(f"answering {x:.0%}: {y:.1%} wrong" for x, y in marks)
    return panel.svg(body, "Error by share of examples answered, with 95 % band", words)


def track(
    axis: Axis, value: float, low: float | None, high: float | None, css: str, *, bar: bool, grid: bool = True
) -> Markup:
    """One row: a bar from zero or a dot, with its interval, on the shared grid of ``axis``."""
    ticks = axis.ticks if grid else []
    body = "".join(f'<line class="grid" x1="{_at(axis, t)}" x2="{_at(axis, t)}" y1="0" y2="100%"/>' for t in ticks)
    if bar:
        body += f'<rect class="bar {css}" x="0" y="25%" height="50%" width="{_at(axis, value)}"/>'
    if low is not None and high is not None:
        a, b = _at(axis, low), _at(axis, high)
        kind = "whisker over" if bar else f"whisker {css}"
        if bar:
            body += f'<line class="halo" x1="{a}" x2="{b}" y1="50%" y2="50%"/>'
        body += f'<line class="{kind}" x1="{a}" x2="{b}" y1="50%" y2="50%"/>'
        body += "".join(f'<line class="{kind}" x1="{x}" x2="{x}" y1="36%" y2="64%"/>' for x in (a, b))
    if not bar:
        body += f'<circle class="dot {css}" cx="{_at(axis, value)}" cy="50%" r="5"/>'
    return Markup(f'<svg class="track" aria-hidden="true" focusable="false">{body}</svg>')


def scale(axis: Axis) -> Markup:
    """The tick labels that stand beneath a column of tracks."""
    texts = "".join(
        f'<text class="tick" x="{_at(axis, t)}" y="13" text-anchor="middle">{axis.label(t)}</text>' for t in axis.ticks
    )
    return Markup(f'<svg class="scale" aria-hidden="true" focusable="false">{texts}</svg>')


def _at(axis: Axis, value: float) -> str:
    return _f(100 * axis.at(value)) + "%"
