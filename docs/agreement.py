"""How a run's specialist fares by how many annotators agreed with the label, for tasks that publish it.

    metier run recipes/finance-sentiment.yaml
    METIER_DATA=FOLDER python docs/agreement.py runs/finance-sentiment

Writes ``docs/results/<run>-agreement.json``: for each share of annotators how many of the test examples the specialist
answers as the label says, with a 95 % interval. ``one_annotator`` is the mean share: how often one of the annotators
who made the labels gives them. Shares that were published as bands count as their middle.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from metier.evaluation.evidence import read_predictions, read_scores
from metier.evaluation.intervals import proportion
from metier.tasks.catalogue import load_task

HERE = Path(__file__).parent / "results"


def agreement(run: Path, data_root: Path) -> Path:
    """Write the file for one run directory."""
    recipe: dict[str, Any] = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    name, variant = recipe["task"]["name"], recipe["task"].get("variant")
    examples = load_task(name, variant, agreement=True, data_root=data_root).examples
    shares = {e.id: e.agreement for e in examples if e.agreement is not None}
    answers = read_predictions(run / "evidence" / "predictions" / f"{name}.specialist.parquet")
    rows = [(shares[p.example_id], p.answer == p.gold) for p in answers if p.split == "test"]
    by = {share: [right for other, right in rows if other == share] for share in sorted({share for share, _ in rows})}
    scores = read_scores(run / "evidence" / "scores.json")
    found = {
        "run": f"{recipe['name']}-agreement",
        "device": json.loads((run / "manifest.json").read_text(encoding="utf-8"))["device"],
        "scores": {name: {"specialist": {"metrics": scores[name]["specialist"]["metrics"]}}},
        "n": len(rows),
        "one_annotator": sum(share for share, _ in rows) / len(rows),
        "by_share": {str(share): asdict(proportion(sum(some), len(some))) for share, some in by.items()},
    }
    target = HERE / f"{recipe['name']}-agreement.json"
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return target


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(agreement(Path(folder), Path(os.environ["METIER_DATA"])))
