"""Runs that meet the limits of the machine or of a base, and go on afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from metier import Specialist
from metier.errors import MetierError
from metier.report.compare import elsewhere, retention
from metier.report.read import read_run
from metier.run import run
from metier.tasks import Loaded, load_task
from tests.toy import write_recipe, write_tokenizer

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
from metier.cli import main
sys.argv = ["metier", *sys.argv[1:]]
main()
"""


def test_a_write_that_the_system_refuses_in_training_is_told_and_continued(toy_base: Path, tmp_path: Path) -> None:
    """The system itself refuses: checkpoints are written by a library that has its own exceptions."""
    recipe = write_recipe(tmp_path, toy_base, extra="measure: {systems: [majority]}\n")
    command = [sys.executable, "-c", LIMITED, "run", str(recipe), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ}, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr
    assert "checkpoints/step-" in done.stderr
    out = run(recipe, out=tmp_path / "out")
    assert (out / "report.html").exists()
    assert not list(out.rglob("*.tmp"))
    assert json.loads((out / "manifest.json").read_text())["training"]["stopped"] == "completed"


def test_a_base_with_few_learned_positions_gets_shorter_prompts(tmp_path: Path) -> None:
    base = tmp_path / "gpt2"
    tokenizer = write_tokenizer(base)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=256)
    ).save_pretrained(base)
    recipe = write_recipe(tmp_path, base, extra="measure: {systems: [base]}\n")
    with open(tmp_path / "table.csv", "a", encoding="utf-8") as table:
        table.writelines(f'"long {"word " * 900}{i}",{mood},A\n' for i, mood in enumerate(["positive", "neutral"] * 5))
    specialist = Specialist.load(run(recipe, out=tmp_path / "out"))
    assert specialist.encoder.max_tokens == 192
    assert specialist.predict(["word " * 2000])[0].label in specialist.labels
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["training"]["truncated"] > 0


def test_what_ran_on_another_device_is_not_what_is_recorded(
    toy_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra="measure: {systems: [majority]}\n")
    text = recipe.read_text().replace("epochs: 3", "steps: 1")
    recipe.write_text(text.replace("label: mood", "label: mood, name: 'moods [new]'"))
    manifest = run(recipe, out=tmp_path / "run") / "manifest.json"
    first = json.loads(manifest.read_text())
    for place, name in (("cpu", "another processor"), ("cuda", first["device"]["cpu"])):
        device = {**first["device"], "device": place, "cpu": "another processor"}
        manifest.write_text(json.dumps({**first, "device": device}))
        run(recipe, out=tmp_path / "run")
        found = json.loads(manifest.read_text())["device"]
        assert (found["device"], found["cpu"]) == ("cpu", name)
    assert "moods [new]" in capsys.readouterr().err  # brackets are no markup


def test_a_changed_recipe_never_stands_beside_the_results_of_the_one_before(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra="measure: {systems: [majority]}\n")
    path = run(recipe, out=tmp_path / "run")
    before = recipe.read_text()

    def stopped(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metier.run.pipeline.train_specialist", stopped)
    recipe.write_text(before.replace("label: mood", "label: moods"))
    with pytest.raises(MetierError, match="moods"):
        run(recipe, out=path)
    assert (path / "recipe.yaml").read_text() == before
    assert (path / "specialist" / "template.json").exists()  # a recipe that cannot be carried out changes nothing

    recipe.write_text(before.replace("learning_rate: 0.01", "learning_rate: 0.02"))
    with pytest.raises(KeyboardInterrupt):
        run(recipe, out=path)
    assert "0.02" in (path / "recipe.yaml").read_text()
    assert not (path / "specialist").exists()
    assert not (path / "report.html").exists()
    assert not (path / "evidence" / "scores.json").exists()
    assert "finished" not in json.loads((path / "manifest.json").read_text())


def test_general_questions_out_of_reach_are_told_as_not_measured(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, **where: Any) -> Loaded:
        if name == "social-iqa":
            raise MetierError("it cannot be fetched")
        found = load_task(name, **where)
        return replace(found, examples=[replace(e, inputs={"text": e.inputs["text"][:90]}) for e in found.examples])

    monkeypatch.setattr("metier.run.retention.load_task", load)
    recipe = write_recipe(tmp_path, toy_base, extra="measure: {systems: [majority]}\n")
    asked = "retention: {tasks: [wikipedia-passages, social-iqa], documents: 2}"
    recipe.write_text(recipe.read_text().replace("retention: null", asked).replace("epochs: 3", "steps: 2"))
    found = read_run(run(recipe, out=tmp_path / "run"))
    assert not elsewhere(found)
    measured, missing = retention(found)
    assert [one.task for one in measured] == ["wikipedia-passages"]
    assert [said for said in missing if "it cannot be fetched" in said]
