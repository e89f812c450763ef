"""Hold the specialists of two runs against each other on the test rows that both answered.

    python docs/paired.py runs/finance-tweets-larger runs/finance-tweets

Writes ``docs/results/<first run>-paired.json``: by how much the first is better, with the interval of the paired
bootstrap and the exact McNemar test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from metier.evaluation.evidence import against, read_predictions

HERE = Path(__file__).parent / "results"


def pair(first: Path, second: Path) -> Path:
    """Write the file. Errors: MetierError for runs that did not answer the same test rows."""
    manifest = json.loads((first / "manifest.json").read_text(encoding="utf-8"))
    task, labels = manifest["task"]["name"], manifest["task"]["labels"]
    mine, theirs = ([p for p in read_predictions(_answers(run, task)) if p.split == "test"] for run in (first, second))
    record = against(mine, theirs, labels=labels, metric="weighted_f1", seed=0)
    found: dict[str, Any] = {
        "run": f"{first.name}-paired",
        "device": manifest["device"],
        "scores": {task: {first.name: {"against": {second.name: record}}}},
    }
    target = HERE / f"{first.name}-paired.json"
    target.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return target


def _answers(run: Path, task: str) -> Path:
    return run / "evidence" / "predictions" / f"{task}.specialist.parquet"


if __name__ == "__main__":
    print(pair(Path(sys.argv[1]), Path(sys.argv[2])))
