"""What the page shows of the same recipe done again: other settings, fewer examples, other seeds, other tasks."""

from __future__ import annotations

from typing import Any

from metier.report import figures
from metier.report.compare import compare, elsewhere
from metier.report.read import Json, Run
from metier.report.words import METHODS, metric, system_key, system_title

View = dict[str, Any]


def sizes(run: Run) -> View | None:
    """Every system's score by the number of examples it learnt from."""
    points = run.curve["points"]
    if not points or len(points) < 2 or run.curve["task"] != run.task["name"]:
        return None
    names = sorted(points[0]["systems"], key=system_key)
    methods = run.curve["methods"] or {}
    rivals = [name for name in names if name in methods and name != "specialist"]
    series = {
        name: [
            (float(p["examples"]), *(_end(p["systems"][name], end) for end in ("value", "low", "high"))) for p in points
        ]
        for name in names
    }
    return {
        "figure": figures.by_size({system_title(name): points for name, points in series.items()}),
        "names": [(name, system_title(name)) for name in names],
        "rows": points,
        "metric": metric(run.curve["metric"]),
        "wins_from": run.curve["wins_from"],
        "steps": run.part("training").get("steps"),
        "same_steps": (run.part("recipe").get("adapt") or {}).get("steps"),
        "tfidf": "tfidf" in names,
        "methods": {name: METHODS.get(method, method) for name, method in methods.items()},
        "rivals": rivals,
    }


def _end(score: Json, end: str) -> float:
    """An end of a score's interval; the value itself where there is none."""
    return float(score["value"] if score[end] is None else score[end])


def seeds(run: Run) -> View | None:
    """One training a seed, on one scale."""
    found = run.seeds
    if not found["runs"] or found["task"] != run.task["name"]:
        return None
    ends = [_end(score, end) for score in found["runs"] for end in ("value", "low", "high")]
    axis = figures.Axis.around(ends, ticks=4)
    rows = [
        {
            "seed": score["seed"],
            "score": score,
            "track": figures.track(axis, score["value"], score["low"], score["high"], "accent", bar=False),
        }
        for score in found["runs"]
    ]
    return {"rows": rows, "scale": figures.scale(axis), "metric": metric(found["metric"]), "found": found}


def search(run: Run) -> View | None:
    """The settings that were tried on validation, in order, and which of them made the specialist."""
    found = run.search
    if not found["trials"] or found["task"] != run.task["name"]:
        return None
    rows = [
        {"trial": trial, "changed": _changed(trial["changes"]), "chosen": place == found["chosen"]}
        for place, trial in enumerate(found["trials"])
    ]
    return {"rows": rows, "metric": metric(found["metric"]), "found": found}


def _changed(changes: Json) -> str:
    named = {**changes, **(changes["adapt"] or {})}
    said = [f"{name.replace('_', ' ')} {value}" for name, value in named.items() if name != "adapt"]
    return ", ".join(said) or "nothing: the recipe as it is"


def other_sets(run: Run, *, mixed: bool) -> list[View]:
    """Further test sets on which the finished specialist was scored: those of its mixture, or all others."""
    drawn = run.mixture["drawn"] or {}
    views: list[View] = []
    for task in elsewhere(run):
        if (task in drawn) is not mixed:
            continue
        rows: list[View] = []
        for name in sorted(run.scores[task], key=system_key):
            record = run.scores[task][name]
            pair = compare(run, name, task=task) if name != "specialist" and run.ok(name, task) else None
            rows.append({"title": system_title(name), "name": name, "record": record, "pair": pair})
        names = {m for row in rows for m in (row["record"].get("metrics") or {})}
        ordered = [m for m in (run.metric, "accuracy", "macro_f1") if m in names]
        views.append({"task": task, "rows": rows, "metrics": ordered or sorted(names), "drawn": drawn.get(task)})
    return views
