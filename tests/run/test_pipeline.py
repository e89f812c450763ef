"""Runs that meet the limits of the machine or of a base, and go on afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from metier import Specialist
from metier.errors import MetierError
from metier.run import run
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
