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

HERE = Path(__file__).parent / "results"
EVIDENCE = ("seeds", "curve", "search")
KEPT = ("status", "reason", "parse_rate", "majority", "metrics", "against")


def collect(run: Path) -> Path:
    """Write ``docs/results/<run>.json`` from the run directory alone."""
    manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    scores = json.loads((run / "evidence" / "scores.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = {"run": manifest["name"], "finished": manifest["finished"]}
    found["scores"] = {
        task: {name: _short(entry) for name, entry in systems.items()} for task, systems in scores.items()
    }
    for name in EVIDENCE:
        file = run / "evidence" / f"{name}.json"
        if file.exists():
            found[name] = json.loads(file.read_text(encoding="utf-8"))
    kept = ("training", "device", "versions", "splits", "base")
    found |= {name: manifest[name] for name in kept if name in manifest}
    found.get("base", {}).pop("path", None)  # where it lies on one machine is nobody's business
    HERE.mkdir(exist_ok=True)
    target = HERE / f"{manifest['name']}.json"
    target.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return target


def _short(entry: dict[str, Any]) -> dict[str, Any]:
    """What the documentation may quote: no curves, no confusion."""
    return {name: entry[name] for name in KEPT if name in entry}


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(collect(Path(folder)))
