"""A run's systems beside published ones: value, interval, rows, size, cost, and what may be said of the difference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.evaluation.published import Figure, figures, published_tasks
from metier.report.compare import Outcome
from metier.report.compare import compare as paired
from metier.report.read import Json, Run, read_run
from metier.report.words import metric, plural, system_key, system_title

OWN_ROWS, SAME, OTHER = "this run's rows", "same rows", "not the same rows"


@dataclass(frozen=True)
class Beside:
    """One line: a system of the run, or a published one.

    Attributes:
        approximate: the interval was made from n alone, as if the figure were a proportion.
        rows: :data:`OWN_ROWS`, :data:`SAME` or :data:`OTHER`; nothing is ranked across rows without this mark.
        outcome: the specialist against this system: better, worse, tie, unclear, unknown; None for the specialist.
        cost: in words, as published or as the run recorded it.
    """

    system: str
    origin: str
    metric: str
    value: float
    low: float | None
    high: float | None
    approximate: bool
    n: int | None
    rows: str
    outcome: Outcome | None
    shots: int | None
    parameters: float | None
    hardware: str | None
    cost: str | None
    source: str
    mark: str
    notes: list[str]

    @property
    def verdict(self) -> str:
        """The outcome with the mark it may not be read without."""
        if self.outcome is None:
            return ""
        said = {"unknown": "not ranked: no interval", "unclear": "not settled"}.get(self.outcome, self.outcome)
        return f"{said} ({OTHER})" if self.rows == OTHER else said

    def to_json(self) -> dict[str, Any]:
        """All fields, and the verdict."""
        return {**asdict(self), "verdict": self.verdict}


def beside(run_dir: Path, task: str | None = None) -> list[Beside]:
    """The run's specialist, its baselines, and everything published on the task.

    Args:
        run_dir: a finished run.
        task: a name in the run's scores; the task the specialist was made for if left out.

    Raises:
        MetierError: not a run, the specialist was not scored on the task, or nothing is published on it.
    """
    run = read_run(run_dir)
    name = task or str(run.task["name"])
    if run.ok("specialist", name) is None:
        scored = [known for known in run.scores if run.ok("specialist", known)]
        raise MetierError(
            f"this run's specialist has no score on '{name}'",
            where=str(run_dir),
            fix=f"it has scores on: {', '.join(scored) or 'nothing yet'}; or metier evaluate RUN --task {name}",
        )
    published = _figures(run, name)
    measure = published[0].metric
    mine = run.score("specialist", measure, name)
    if mine is None:
        raise MetierError(
            f"the run has no {metric(measure).title} on '{name}', in which its published figures are",
            where=str(run_dir),
            fix=f"metier evaluate RUN --task {name}",
        )
    systems = sorted((s for s in run.scores[name] if s != "specialist" and run.ok(s, name)), key=system_key)
    own = [_own(run, name, system, measure) for system in ("specialist", *systems)]
    rows = _protocol(run, name)
    return [line for line in own if line] + [_published(figure, mine, rows) for figure in published]


def _weights(training: Json, system: str) -> int | None:
    """Of the specialist with its adapters, of the base without them; of other systems they are not counted."""
    whole = int(training["total_parameters"])
    if system == "specialist":
        return whole
    added = int(training["trainable_parameters"]) if training["method"] in ("lora", "prompt") else 0
    return whole - added if system.startswith("base") else None


def _figures(run: Run, name: str) -> list[Figure]:
    """What is published on the task.

    Errors: :class:`MetierError` where nothing is: of a variant its task has figures, which are of other rows.
    """
    known = published_tasks()
    whole = next((task for task in known if name.startswith(f"{task}-")), None)
    if name in known or whole is None:
        return figures(name)
    scored = "" if run.ok("specialist", whole) else f"metier evaluate RUN --task {whole}, then "
    raise MetierError(
        f"no published figures are known for '{name}': those on '{whole}' are of other rows",
        fix=f"{scored}metier compare RUN --task {whole}",
    )


def _protocol(run: Run, task: str) -> str | None:
    """The published protocol whose test rows the run was scored on; None for rows of its own."""
    about = run.task.get("protocol") or {}
    return about.get("name") if task == run.task["name"] and about.get("rows") == "same" else None


def _own(run: Run, task: str, system: str, measure: str) -> Beside | None:
    score = run.score(system, measure, task)
    if score is None:
        return None
    first = system == "specialist"
    training, device = run.part("training"), run.part("device")
    return Beside(
        system=system_title(system),
        origin="run",
        metric=measure,
        value=score["value"],
        low=score["low"],
        high=score["high"],
        approximate=False,
        n=score["n"],
        rows=OWN_ROWS,
        outcome=None if first else paired(run, system, task=task, metric_name=measure).outcome,
        shots=run.solved(system) if task == run.task["name"] else None,
        parameters=_weights(training, system),
        hardware=_hardware(device) if first else None,
        cost=_cost(run.part("energy")) if first else None,
        source=str(run.path),
        mark="measured",
        notes=[],
    )


def _hardware(device: Json) -> str | None:
    if not device:
        return None
    counted = device.get("device") == "cpu" and device.get("threads")
    threads = f", {plural(device['threads'], 'thread')}" if counted else ""
    return f"{device.get('cpu') if device.get('device') == 'cpu' else device.get('device')}{threads}"


def _cost(energy: Json) -> str | None:
    seconds, watt_hours = energy.get("seconds"), energy.get("watt_hours")
    said = [] if seconds is None else [f"{seconds:,.0f} s"]
    said += [] if watt_hours is None else [f"about {watt_hours:.3g} Wh"]
    return ", ".join(said) or None


def _published(figure: Figure, mine: Json, protocol: str | None) -> Beside:
    system = figure.system
    price = [] if system.hours is None else [f"{system.hours:g} h"]
    price += [] if system.cost_usd is None else [f"${system.cost_usd:,.2f}".removesuffix(".00")]
    return Beside(
        system=system.title,
        origin="published",
        metric=figure.metric,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        approximate=figure.low is not None,
        n=figure.n,
        rows=SAME if protocol is not None and protocol == figure.protocol else OTHER,
        outcome=_outcome(mine, figure),
        shots=figure.shots,
        parameters=system.parameters,
        hardware=system.hardware,
        cost=", ".join(price) or None,
        source=figure.source,
        mark=figure.mark,
        notes=figure.notes,
    )


def _outcome(mine: Json, figure: Figure) -> Outcome:
    """A tie where the intervals overlap; only one that lies apart says better or worse."""
    if None in (mine["low"], mine["high"]) or figure.low is None or figure.high is None:
        return "unknown"
    if mine["low"] > figure.high:
        return "better"
    return "worse" if mine["high"] < figure.low else "tie"
