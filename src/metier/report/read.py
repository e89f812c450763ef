"""The run directory, read once: the only thing a report knows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.evaluation.evidence import read_predictions, read_scores
from metier.evaluation.scores import Prediction

Json = dict[str, Any]


class Facts(Json):
    """A JSON object whose absent keys are None: a page asks for many things that a run need not have."""

    def __missing__(self, key: str) -> None:
        return None


def facts(value: Any) -> Any:
    """``value`` with every object in it turned into :class:`Facts`."""
    if isinstance(value, dict):
        return Facts({key: facts(inner) for key, inner in value.items()})
    if isinstance(value, list):
        return [facts(inner) for inner in value]
    return value


_AGAIN = "run `metier run` on the recipe again: finished stages are not repeated"


@dataclass(frozen=True)
class Run:
    """Everything that is read of a run directory. What is absent is empty, and the page says so."""

    path: Path
    manifest: Json
    scores: dict[str, dict[str, Json]]
    splits: Json
    lock: list[Json]
    log: list[Json]
    recipe: str
    calibration: Json  # specialist/calibration.json: what the specialist really uses
    curve: Json  # evidence/curve.json: scores by number of training examples
    seeds: Json  # evidence/seeds.json: scores by seed
    search: Json  # evidence/search.json: settings that were tried on validation before the run
    mixture: Json  # data/mixture.json: what else was learnt by the same adapter
    ledger: Json  # pretrained/ledger.json: the corpus that the base learnt first, which has a page of its own
    overlap: Json  # data/overlap.json: test items that stand in a training corpus

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.manifest.get("name") or self.path.name)

    def part(self, name: str) -> Json:
        """A section of the manifest, empty if it is absent."""
        found = self.manifest.get(name)
        return found if isinstance(found, dict) else Facts()

    @property
    def task(self) -> Json:
        """The manifest's description of the task the specialist was made for."""
        return self.part("task")

    def solved(self, system: str) -> int | None:
        """Solved examples before each question that was put to the system; None where that was not written down."""
        shots = (self.part("stages").get(system) or {}).get("shots")
        return shots.get("each") if isinstance(shots, dict) else None if shots is None else len(shots)

    @property
    def metric(self) -> str:
        """The name of the task's main metric."""
        return str(self.task.get("metric") or "weighted_f1")

    @property
    def systems(self) -> dict[str, Json]:
        """The records of all systems on the main task."""
        return self.scores.get(self.task["name"], {})

    def ok(self, system: str, task: str | None = None) -> Json | None:
        """A system's record if it was scored, None if it failed or is absent."""
        record = self.scores.get(task or self.task["name"], {}).get(system)
        return record if record and record.get("status") == "ok" else None

    def score(self, system: str, metric: str | None = None, task: str | None = None) -> Json | None:
        """One score ``{"value", "low", "high", "n"}`` of a system that was scored, or None."""
        record = self.ok(system, task)
        found = (record or {}).get("metrics", {}).get(metric or self.metric)
        return found if isinstance(found, dict) and found.get("value") is not None else None

    def predictions(self, system: str) -> list[Prediction] | None:
        """The system's predictions on the main task, None if there is no such file."""
        path = self.path / "evidence" / "predictions" / f"{self.task['name']}.{system}.parquet"
        return read_predictions(path) if path.is_file() else None

    @property
    def temperature(self) -> float:
        """What the specialist divides its log-probabilities by; 1 where none was fitted or it was not trusted."""
        shipped = self.calibration.get("temperature")
        found = (self.ok("specialist") or {}).get("calibration") or {}
        if shipped is None:
            shipped = None if found.get("warning") else found.get("temperature")
        return float(shipped or 1.0)


def read_run(run_dir: Path) -> Run:
    """Read a run directory.

    Raises:
        MetierError: there is no manifest, or a file is there but cannot be read.
    """
    manifest = _read_json(run_dir / "manifest.json")
    if manifest is None:
        raise MetierError(
            "this is not a run directory: there is no manifest.json",
            where=str(run_dir),
            fix="give the folder that `metier run` wrote",
        )
    if not isinstance(manifest, dict) or not (manifest.get("task") or {}).get("name"):
        raise MetierError("the manifest names no task", where=str(run_dir / "manifest.json"), fix=_AGAIN)
    lock = _read_json(run_dir / "lock.json") or []
    if isinstance(lock, dict):
        lock = lock.get("entries") or []
    recipe = run_dir / "recipe.yaml"
    return Run(
        path=run_dir,
        manifest=manifest,
        scores=facts(read_scores(run_dir / "evidence" / "scores.json")),
        splits=_read_json(run_dir / "data" / "splits.json") or Facts(),
        lock=lock,
        log=_read_log(run_dir / "log.jsonl"),
        recipe=recipe.read_text("utf-8") if recipe.is_file() else "",
        calibration=_read_json(run_dir / "specialist" / "calibration.json") or Facts(),
        curve=_read_json(run_dir / "evidence" / "curve.json") or Facts(),
        seeds=_read_json(run_dir / "evidence" / "seeds.json") or Facts(),
        search=_read_json(run_dir / "evidence" / "search.json") or Facts(),
        mixture=_read_json(run_dir / "data" / "mixture.json") or Facts(),
        ledger=_read_json(run_dir / "pretrained" / "ledger.json") or Facts(),
        overlap=_read_json(run_dir / "data" / "overlap.json") or Facts(),
    )


def _read_json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return facts(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise MetierError(f"not valid JSON: {error}", where=str(path), fix=_AGAIN) from error


def _read_log(path: Path) -> list[Json]:
    """All whole lines of the log. A killed run may leave its last line unfinished: that one is passed over."""
    if not path.is_file():
        return []
    lines = path.read_text("utf-8", errors="replace").splitlines()
    events = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                continue
            raise MetierError(f"not valid JSON: {error}", where=f"{path}:{number}", fix=_AGAIN) from error
    return [event for event in events if isinstance(event, dict)]
