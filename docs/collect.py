"""Copy what finished runs measured into docs/results, which the figures of the documentation are checked against.

    metier run recipes/finance-sentiment.yaml
    python docs/collect.py runs/finance-sentiment

One file a run: scores of every system, what training cost, the machine, the versions. Nothing is typed by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent / "results"
EVIDENCE = ("seeds", "curve", "search", "mixes")
KEPT = ("status", "reason", "parse_rate", "majority", "metrics", "against")


def collect(run: Path) -> Path:
    """Write ``docs/results/<run>.json`` from the run directory alone."""
    manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = {"run": recipe["name"], "finished": manifest.get("finished")}
    found["scores"] = _scores(run)
    if ledger := _read(run / "ledger.json"):
        found["ledger"] = {name: ledger[name] for name in ("total", "domains", "sources")}
    learnt = run / "pretrained" if (run / "pretrained").is_dir() else run  # apart, where a task is learnt on top
    for one in sorted(learnt.glob("mixes/*/manifest.json")):
        part = _read(one) or {}
        about = {name: part[name] for name in ("training", "device", "versions")}
        found.setdefault("models", {})[one.parent.name] = {**about, "scores": _scores(one.parent)}
    for name in EVIDENCE:
        if evidence := _read((learnt if name == "mixes" else run) / "evidence" / f"{name}.json"):
            found[name] = evidence
    kept = ("training", "device", "versions", "splits", "base")
    found |= {name: manifest[name] for name in kept if name in manifest}
    base = found.get("base", {})
    base.pop("path", None)  # where it lies on one machine is nobody's business
    if Path(base.get("ref", "")).is_absolute():
        base["ref"] = base["name"]
    if asked := {name: _asked(stage["facts"]) for name, stage in manifest["stages"].items() if "facts" in stage}:
        found["strategies"] = {name.removeprefix("strategy-"): facts for name, facts in asked.items()}
    HERE.mkdir(exist_ok=True)
    target = HERE / f"{recipe['name']}.json"
    target.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return target


def _asked(facts: dict[str, Any]) -> dict[str, Any]:
    """How many questions a way of asking was put to, its samples, and tokens and seconds of one question."""
    return {name: facts[name] for name in ("asked", "not_asked", "samples", "tokens", "seconds") if name in facts}


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def _scores(run: Path) -> dict[str, Any]:
    scores = _read(run / "evidence" / "scores.json") or {}
    return {task: {name: _short(entry) for name, entry in systems.items()} for task, systems in scores.items()}


def _short(entry: dict[str, Any]) -> dict[str, Any]:
    """What the documentation may quote: no curves, no confusion."""
    return {name: entry[name] for name in KEPT if name in entry}


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(collect(Path(folder)))
