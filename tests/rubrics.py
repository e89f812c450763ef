"""Questions with answers of two or three systems, and raters who fill in everything by a rule."""

from __future__ import annotations

import json
from pathlib import Path

from metier.evaluation.rubric_axes import load_rubric
from metier.run.rubric import Workbench
from metier.run.rubric_answers import Columns, gather
from metier.run.rubric_new import make
from metier.sources import write_table

QUESTIONS = [f"Question {i}: why is it so?" for i in range(12)]


def write_answers(folder: Path, systems: str = "xyz", name: str = "answers.csv") -> Path:
    rows = [
        {"question": q, "system": f"sys-{s}", "answer": f"Because of {q[:11]}, " + s * (4 + i)}
        for i, q in enumerate(QUESTIONS)
        for s in systems
    ]
    write_table(folder / name, rows, ["question", "system", "answer"])
    return folder / name


def new_bench(
    folder: Path, axes: str = "lay", raters: str = "anna,ben", systems: str = "xyz", **options: int
) -> Workbench:
    table = write_answers(folder, systems)
    questions = gather([str(table)], Columns())
    return make(folder / "bench", questions, load_rubric(axes), raters.split(","), **options).bench


def key(bench: Workbench) -> dict[str, list[str]]:
    items = json.loads((bench.folder / "key.json").read_text())["items"]
    return {item: one["systems"] for item, one in items.items()}
