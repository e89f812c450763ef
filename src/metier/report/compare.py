"""The specialist against each other system, and the base before against after: what is beyond chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metier.report.read import Json, Run
from metier.report.words import count, metric, number, p_value, percent, span, system_key, system_title

SIGNIFICANT = 0.05
MCNEMAR = "exact McNemar test"
Outcome = Literal["better", "worse", "tie", "unclear", "unknown"]


@dataclass(frozen=True)
class Comparison:
    """The specialist against one other system on the same examples.

    ``tie``: no test sees a difference. ``unclear``: the tests disagree. ``unknown``: nothing to judge by.
    """

    other: str
    outcome: Outcome
    basis: str  # the numbers behind the outcome, ready to print
    difference: Json | None
    p: float | None
    only_this: int | None
    only_other: int | None
    test: str = MCNEMAR  # what p is of

    @property
    def title(self) -> str:
        """The other system's name on the page."""
        return system_title(self.other)


def _by_interval(difference: Json | None, up: bool) -> int | None:
    """1 better, -1 worse, 0 the interval holds zero, None no interval."""
    if not difference or difference.get("low") is None or difference.get("high") is None:
        return None
    sign = int(difference["low"] > 0) - int(difference["high"] < 0)
    return sign if up else -sign


def _by_mcnemar(pair: Json) -> int | None:
    if pair.get("p") is None:
        return None
    if pair["p"] >= SIGNIFICANT:
        return 0
    return 1 if pair.get("only_this", 0) > pair.get("only_other", 0) else -1


def _agreed(signs: list[int]) -> Outcome:
    if not signs:
        return "unknown"
    if len(set(signs)) > 1:
        return "unclear"
    names: dict[int, Outcome] = {1: "better", -1: "worse", 0: "tie"}
    return names[signs[0]]


def _test(pair: Json) -> str:
    return str(pair.get("test") or MCNEMAR)


def _basis(pair: Json, metric_name: str) -> str:
    parts = []
    difference = pair.get("difference")
    if difference:
        parts.append(
            f"difference in {metric(metric_name).title} {number(difference['value'], sign=True)} "
            f"{span(difference, sign=True)}"
        )
    if pair.get("p") is not None:
        parts.append(
            f"right alone on {count(pair.get('only_this', 0))} against {count(pair.get('only_other', 0))}, "
            f"{_test(pair).replace(' test', '')} {p_value(pair['p'])}"
        )
    return "; ".join(parts)


def _unpaired(this: Json | None, other: Json | None, up: bool) -> tuple[Outcome, str]:
    """Without a paired test only intervals that lie apart say something."""
    if not this or not other or None in (this.get("low"), this.get("high"), other.get("low"), other.get("high")):
        return "unknown", "no paired test and no intervals"
    if this["low"] > other["high"]:
        return ("better" if up else "worse"), "the 95 % intervals lie apart; no paired test"
    if this["high"] < other["low"]:
        return ("worse" if up else "better"), "the 95 % intervals lie apart; no paired test"
    return "unknown", "the 95 % intervals overlap and there is no paired test"


def compare(run: Run, other: str, *, task: str | None = None, metric_name: str | None = None) -> Comparison:
    """The specialist against ``other``; "better" and "worse" need every test that was made to agree."""
    name = metric_name or run.metric
    up = metric(name).higher_is_better
    record = run.ok("specialist", task) or {}
    pair = (record.get("against") or {}).get(other) or {}
    signs = [s for s in (_by_interval(pair.get("difference"), up), _by_mcnemar(pair)) if s is not None]
    outcome, basis = _agreed(signs), _basis(pair, name)
    if not signs:
        outcome, basis = _unpaired(run.score("specialist", name, task), run.score(other, name, task), up)
    return Comparison(
        other, outcome, basis, pair.get("difference"), pair.get("p"), pair.get("only_this"), pair.get("only_other"),
        _test(pair),
    )  # fmt: skip


def comparisons(run: Run) -> list[Comparison]:
    """The specialist against every system that was scored on the main task, the cheapest first.

    What the same models score by another protocol (``-generated``) or strategy is compared beside them, not here.
    """
    if not run.ok("specialist"):
        return []
    others = [s for s in sorted(run.systems, key=system_key) if s != "specialist" and not s.endswith("-generated")]
    return [compare(run, s) for s in others if "strategy" not in (run.ok(s) or {"strategy": None})]


@dataclass(frozen=True)
class Retention:
    """One measure of general ability, before (base) and after (specialist)."""

    task: str
    title: str
    metric: str
    before: Json
    after: Json
    outcome: Outcome
    basis: str

    @property
    def change(self) -> float:
        """After minus before."""
        return float(self.after["value"] - self.before["value"])

    @property
    def size(self) -> str:
        """The change as it is said: relative for bits per byte, in points for shares."""
        if self.metric == "bits_per_byte":
            return percent(self.change / self.before["value"], sign=True)
        return f"{number(100 * self.change, 1, sign=True)} points"

    @property
    def verdict(self) -> str:
        """What the change means."""
        return {
            "better": "a gain beyond chance",
            "worse": "a loss beyond chance",
            "tie": "no loss that this test can see",
            "unclear": "not settled: the tests disagree",
            "unknown": "not settled",
        }[self.outcome]


def _retention_tasks(run: Run) -> list[str]:
    """The manifest's list; without one, the tasks that only the base and the specialist were given."""
    main = run.task["name"]
    named = run.manifest.get("retention")
    if isinstance(named, dict | list) and named:
        return [str(name) for name in named]
    return [name for name, systems in run.scores.items() if name != main and set(systems) <= {"base", "specialist"}]


def _retention_title(run: Run, task: str) -> str:
    named = run.manifest.get("retention")
    about = named.get(task) if isinstance(named, dict) else None
    return str((about or {}).get("title") or task)


def _why_lacking(systems: dict[str, Json], lacking: list[str]) -> str:
    if not systems:
        return "not run"
    return "; ".join(f"{system_title(s)}: {systems[s].get('reason') if s in systems else 'not run'}" for s in lacking)


def retention(run: Run) -> tuple[list[Retention], list[str]]:
    """What was measured before and after, and in words what was not."""
    found, missing = [], []
    for task in _retention_tasks(run):
        systems = run.scores.get(task, {})
        title = _retention_title(run, task)
        lacking = [s for s in ("base", "specialist") if not run.ok(s, task)]
        if lacking:
            missing.append(f"{title} ({_why_lacking(systems, lacking)})")
            continue
        metrics = [m for m in systems["base"]["metrics"] if m in systems["specialist"]["metrics"]]
        # one figure a task: a multiple-choice set may carry F1 too, but accuracy is what people know it by
        name = next((m for m in ("bits_per_byte", "accuracy") if m in metrics), metrics[0] if metrics else None)
        if name is None:
            missing.append(f"{title} (no metric that both have)")
            continue
        pair = compare(run, "base", task=task, metric_name=name)
        before, after = systems["base"]["metrics"][name], systems["specialist"]["metrics"][name]
        found.append(Retention(task, title, name, before, after, pair.outcome, pair.basis))
    if not found and not missing:
        missing.append("no general text or general questions were scored before and after")
    return found, missing


def elsewhere(run: Run) -> list[str]:
    """Other test sets on which finished systems were scored."""
    known = {run.task["name"], *_retention_tasks(run)}
    return [name for name in run.scores if name not in known]
