"""An expert's examples of multiple choice: read like the task's own, and never what is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metier.errors import MetierError
from metier.recipe import load_recipe
from metier.run.data import Data, prepare_data

OPTIONS = ["zinc", "iron", "statins", "aspirin"]
TASK = "file: t.jsonl, kind: multiple_choice, text: q, options: opts, label: right"


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def row(question: str, right: object, options: Sequence[str] = OPTIONS) -> dict[str, Any]:
    return {"q": question, "opts": list(options), "right": right}


def prepared(folder: Path, task: str, root: Path | None = None, more: str = "") -> Data:
    path = folder / "recipe.yaml"
    path.write_text(f"name: own\nbase: none\nretention: null\ntask: {{{task}}}\n{more}")
    return prepare_data(load_recipe(path), data_root=root, lock=None, offline=True)


def test_numbers_count_as_in_the_table(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", [row(f"What helps in case {n}?", n % 4) for n in range(40)])
    plain = prepared(tmp_path, TASK)
    measured = plain.part("test")[0]
    turned = [measured.choices[place] for place in (2, 0, 3, 1)]
    twin = row(measured.text.upper(), turned.index(measured.target), turned)
    # no 0 here, and none that is the number of options: the table alone would not tell
    write(tmp_path / "ex.jsonl", [row("An expert's question?", 1), row("Another?", 2), twin])
    data = prepared(tmp_path, TASK + ", exemplars: ex.jsonl, exemplar_weight: 5")
    heavy = {e.text: (e.choices, e.target) for e in data.part("train") if e.weight == 5}
    assert heavy == {
        "An expert's question?": (tuple(OPTIONS), "iron"),
        "Another?": (tuple(OPTIONS), "statins"),
    }
    assert [e.id for e in data.part("test")] == [e.id for e in plain.part("test")]


def test_what_is_set_aside_for_a_demand_is_not_learnt(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", [row(f"What helps in case {n}?", OPTIONS[n % 4]) for n in range(60)])
    demand = "selective: {accuracy: 0.9}\n"
    held = prepared(tmp_path, TASK, more=demand).part("calibration")
    write(tmp_path / "ex.jsonl", [row("Another?", "iron"), *(row(e.text, e.target) for e in held)])
    data = prepared(tmp_path, TASK + ", exemplars: ex.jsonl, exemplar_weight: 2", more=demand)
    assert [e.text for e in data.part("train") if e.weight] == ["Another?"]


def test_a_recipe_says_how_numbers_count(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", [row(f"What helps in case {n}?", 1 + n % 3) for n in range(40)])
    with pytest.raises(MetierError, match="count from 0 or from 1"):
        prepared(tmp_path, TASK)
    for said, right in (("number", "zinc"), ("number from 0", "iron")):
        data = prepared(tmp_path, f"{TASK}, label_is: {said}")
        assert {e.target for e in data.loaded.examples if e.text == "What helps in case 0?"} == {right}
        assert any(f"read by their {said}" in told for told in data.loaded.warnings)
    with pytest.raises(MetierError, match="'label_is' are for multiple choice"):
        prepared(tmp_path, "file: t.jsonl, text: q, label: right, label_is: number")
    with pytest.raises(MetierError, match="'label_is' is for your own table"):
        prepared(tmp_path, "name: medqa, label_is: number")


def test_exemplars_for_a_task_of_the_catalogue(tmp_path: Path) -> None:
    for part in ("test", "dev_mediq"):
        (tmp_path / "medicine/medqa").mkdir(parents=True, exist_ok=True)
        lettered = dict(zip("ABCD", OPTIONS, strict=True))
        rows = [{"question": f"{part} {n}?", "options": lettered, "answer_idx": "ABCD"[n % 4]} for n in range(20)]
        write(tmp_path / f"medicine/medqa/{part}.jsonl", rows)
    task = "name: medqa, exemplars: ex.jsonl, exemplar_weight: 2"
    write(tmp_path / "ex.jsonl", [{"question": "Which?", "options": {"B": "no", "A": "yes"}, "label": "B"}])
    with pytest.raises(MetierError, match="no column 'text'") as error:
        prepared(tmp_path, task, tmp_path)
    assert "choice1" not in str(error.value)
    write(tmp_path / "ex.jsonl", [{"text": "Which?", "options": {"B": "no", "A": "yes"}, "label": "B"}])
    data = prepared(tmp_path, task, tmp_path)
    assert [(e.inputs, e.choices, e.target) for e in data.part("train") if e.weight == 2] == [
        ({"text": "Which?"}, ("yes", "no"), "no")
    ]
