"""A run under a published protocol: its wording is trained, its shots are drawn, its mark is kept."""

from __future__ import annotations

import json
from pathlib import Path

from metier.report.published import OTHER, beside
from metier.run import run
from tests.toy import sentences


def test_the_protocol_and_its_mark_are_in_what_a_run_leaves(toy_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "finance" / "financial_phrasebank"
    folder.mkdir(parents=True)
    lines = [f"{text}@{label}" for text, label in sentences(100)]
    (folder / "Sentences_50Agree.txt").write_text("\n".join(lines) + "\n", "latin-1")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: toy\nprotocol: bloomberg\nbase: {toy_base}\ntask: {{name: financial-phrasebank}}\n"
        "adapt: {epochs: 1, batch_size: 16}\nretention: null\ndtype: float32\n"
        "measure: {systems: [majority, base-fewshot]}\n"
    )
    out = run(recipe, out=tmp_path / "out", data_root=tmp_path / "data", offline=True)
    manifest = json.loads((out / "manifest.json").read_text())
    splits = json.loads((out / "data" / "splits.json").read_text())
    assert manifest["task"]["protocol"] == splits["protocol"]
    assert (splits["protocol"]["name"], splits["protocol"]["mark"]) == ("bloomberg", OTHER)
    assert manifest["prompt"]["rendered"].endswith("\nQuestion: what is the sentiment?\nAnswer:")
    assert manifest["stages"]["base-fewshot"]["shots"] == {"each": 5}
    assert OTHER in (out / "report.html").read_text()
    assert {line.rows for line in beside(out) if line.origin == "published"} == {OTHER}
