"""Texts longer than a prompt may be: counted and told everywhere, and solved examples that do not fit are left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metier.run import run as carry_out
from metier.run.lengths import fitting_shots
from metier.run.preflight import preflight
from metier.sources import write_table
from tests.toy import write_recipe

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recipe(tmp_path: Path, toy_base: Path) -> Path:
    """A yes/no question about an abstract, in ten lines; every tenth abstract is long."""
    path = write_recipe(tmp_path, toy_base, extra="max_tokens: 200\nmeasure: {systems: [majority, base-fewshot]}\n")
    rows = [
        {
            "abstract": f"Study {n} gave a dose. " + "It went on for long. " * (60 if n % 10 == 0 else 1),
            "question": f"Did dose {n} help?",
            "answer": "yes" if n % 3 else "no",
        }
        for n in range(60)
    ]
    write_table(tmp_path / "bio.csv", rows, ["abstract", "question", "answer"])
    task = "task: {file: bio.csv, text: [abstract, question], label: answer, labels: [yes, no]}"
    text = path.read_text().replace("task: {file: table.csv, text: sentence, label: mood}", task)
    path.write_text(text.replace("epochs: 3", "epochs: 1"))
    return path


def test_they_are_told_in_validate_log_manifest_and_report(
    recipe: Path, tmp_path: Path, command: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    out = carry_out(recipe, out=tmp_path / "out")
    said = capsys.readouterr().err
    cut = json.loads((out / "manifest.json").read_text())["cut"]
    assert sum(cut["counts"].values()) == 6
    assert cut["max_tokens"] == 200
    assert cut["samples"][0]["field"] == "abstract"
    assert cut["samples"][0]["where"].startswith("bio.csv:")
    assert cut["samples"][0]["tokens"] > 200
    assert "the middle of 6 texts is left out" in said
    assert "of 6 solved examples fit into base-fewshot's prompt" in said
    assert "raise max_tokens if the base can read more" in said
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [event["counts"] for event in events if event["event"] == "cut"] == [cut["counts"]]
    assert "Texts cut in the middle" in (out / "report.html").read_text()
    code, printed, _ = command("validate", recipe)
    assert code == 0
    assert "the middle of 6 texts is left out" in printed
    assert "bio.csv:" in printed


def test_nothing_is_told_where_nothing_is_cut(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("max_tokens: 200", "max_tokens: 4000"))
    found = preflight(recipe, data_root=None, offline=True)
    [note] = [note for note in found.notes if "middle of 6 texts" in note]  # the toy base has 512 positions, not 4000
    assert "than 448 tokens" in note
    assert "this base reads no more" in note
    assert found.limit == 448
    rows = (recipe.parent / "bio.csv").read_text().replace("It went on for long. " * 60, "")
    (recipe.parent / "bio.csv").write_text(rows)
    assert not any("left out" in note for note in preflight(recipe, data_root=None, offline=True).notes)


def test_as_many_solved_examples_as_fit(toy_base: Path, recipe: Path) -> None:
    from metier.models.encode import Encoder
    from metier.models.load import load_tokenizer

    task = preflight(recipe, data_root=None, offline=True).data.task
    encoder = Encoder(load_tokenizer(toy_base), task, max_tokens=400)
    short, long = ({"abstract": text, "question": "so?"} for text in ("dose " * 3, "dose " * 300))
    assert fitting_shots(encoder, [(short, "yes"), (long, "no"), (short, "no")]) == [(short, "yes")]
    assert fitting_shots(encoder, [(long, "yes")]) == []


def test_where_no_solved_example_fits_nothing_is_said_of_few_shot(recipe: Path, tmp_path: Path, command: Run) -> None:
    long = "instruction: " + "Say yes or no. " * 20
    recipe.write_text(
        recipe.read_text()
        .replace("max_tokens: 200", "max_tokens: 400")
        .replace("epochs: 1", "steps: 2")
        .replace("labels: [yes, no]", f"labels: [yes, no], {long}")
    )
    code, _, said = command("curve", recipe, "--out", tmp_path / "out", "--sizes", "20")
    assert code == 0, said
    assert "base-fewshot is not measured: no solved example fits" in said
    entry = json.loads((tmp_path / "out" / "evidence" / "scores.json").read_text())["bio"]["base-fewshot"]
    assert entry == {"status": "not applicable", "reason": "no solved example fits into half of the longest prompt"}
    points = json.loads((tmp_path / "out" / "evidence" / "curve.json").read_text())["points"]
    assert all("base-fewshot" not in point["systems"] for point in points)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "no solved example fits" in page
    assert "the base with examples in its prompt" not in page
