"""What the page shows of the ways of asking: what each scored, what it bought over zero-shot, what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metier.report.read import Json, Run
from metier.report.words import metric, number, percent

View = dict[str, Any]
_TITLES = {
    "zero-shot": "Zero-shot",
    "few-shot": "Few-shot",
    "chain-of-thought": "Chain of thought",
    "self-consistency": "Self-consistency",
    "ensemble-refinement": "Ensemble refinement",
    "chain-of-retrieval": "Chain of retrieval",
}


def asked(run: Run, system: str) -> Json | None:
    """What ``scores.json`` says of a strategy; None for a system that is none."""
    found = (run.ok(system) or {}).get("strategy")
    return found if isinstance(found, dict) else None


def strategies(run: Run) -> View | None:
    """The strategies in the order of the recipe; None where there are none."""
    names = [name for name in run.systems if asked(run, name)]
    if not names:
        return None
    kind = run.task.get("kind")
    name = "exact_match" if kind == "generation" else "entity_f1" if kind == "extraction" else "accuracy"
    rows = [_row(run, system, name) for system in names]
    cheapest = rows[0]
    return {
        "rows": rows,
        "metric": metric(name),
        "sampling": [row for row in rows if row["about"]["free_text"]],
        "shuffled": [row for row in rows if row["about"]["order_dependence"]],
        "cited": [row for row in rows if row["about"]["cited"]],
        "left_out": sum(row["about"]["not_asked"] for row in rows),
        "truncated": sum(row["about"]["truncated"] for row in rows),
        "reference": cheapest["title"],
    }


def _row(run: Run, system: str, name: str) -> View:
    about, record = asked(run, system) or {}, run.ok(system) or {}
    who, _, called = system.partition("-")
    pairs = record.get("against") or {}
    pair = next(iter(pairs.values()), None)
    difference = pair and (pair.get("accuracy") or pair["difference"])
    kind = _TITLES.get(str(about["name"]), str(about["name"]))
    return {
        "title": f"{kind}, {who}",
        "called": called if called != about["name"] else None,
        "setting": _setting(about),
        "about": about,
        "score": run.score(system, name),
        "difference": difference,
        "p": pair and pair.get("p"),
        "order": "" if not about["accuracy_by_order"] else _range(about["accuracy_by_order"]),
    }


def _setting(about: Json) -> str:
    """The settings that differ from one entry to another, in words."""
    said = about["settings"] or {}
    parts = [f"{said['k']} {said['select']} examples"] if said.get("k") else []
    if said.get("samples"):
        parts.append(f"{said['samples']} samples" + (f", then {said['second']}" if said.get("second") else ""))
    if said.get("temperature"):
        parts.append(f"temperature {number(said['temperature'], 1)}")
    if said.get("exemplars"):
        parts.append(f"worked examples of {Path(said['exemplars']).name}")
    if said.get("answer"):
        parts.append(f"by {said['answer']}")
    if said.get("normalise") not in (None, "auto"):
        parts.append(f"normalised by {said['normalise']}")
    if said.get("unconditional"):
        parts.append("without what is likely anyway")
    if (said.get("shuffles") or 1) > 1:
        parts.append(f"{said['shuffles']} orders")
    return ", ".join(parts)


def _range(scores: list[Json]) -> str:
    values = [score["value"] for score in scores]
    return f"{percent(min(values))} to {percent(max(values))}"
