"""From a folder of text and a few lines to a model that loads anywhere; then a task on top of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from metier.run import run
from tests.corpus.prose import prose
from tests.toy import make_base, write_table

Command = Callable[..., tuple[int, str, str]]
SHORT = "sequence_length: 32, steps: 6, batch_sequences: 4, micro_batch_tokens: 64, evaluate_every: 3"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "speeches").mkdir()
    for number in range(40):
        (tmp_path / "speeches" / f"{number}.txt").write_text(prose(number, 120), "utf-8")
    make_base(tmp_path / "base")
    return tmp_path


def recipe(folder: Path, pretrain: str, more: str = "") -> Path:
    path = folder / "bank.yaml"
    path.write_text(
        "name: bank\ncorpus:\n  sources: [speeches]\n  tokenizer: base\n  hold_out: {share: 0.2}\n"
        f"pretrain: {{{pretrain}, {SHORT}}}\ndtype: float32\n{more}",
        "utf-8",
    )
    return path


def test_from_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(folder, "method: scratch, layers: 2, hidden: 32, heads: 4")
    out = run(path)
    model = AutoModelForCausalLM.from_pretrained(out / "specialist")
    assert model.config.model_type == "bloom"
    assert AutoTokenizer.from_pretrained(out / "specialist").eos_token_id is not None
    scores = json.loads((out / "evidence" / "scores.json").read_text("utf-8"))
    found = scores["speeches"]["specialist"]["metrics"]["bits_per_byte"]
    assert found["low"] <= found["value"] <= found["high"]
    assert found["n"] >= 2
    assert json.loads((out / "ledger.json").read_text("utf-8"))["sources"]["speeches"]
    before = (out / "specialist" / "model.safetensors").read_bytes()
    capsys.readouterr()
    run(path)
    assert "pretrain: done before" in "".join(capsys.readouterr())  # progress goes to either stream
    assert (out / "specialist" / "model.safetensors").read_bytes() == before


def test_a_source_that_is_taken_out_is_neither_learnt_nor_measured(folder: Path) -> None:
    (folder / "letters").mkdir()
    for number in range(40):
        (folder / "letters" / f"{number}.txt").write_text(prose(f"letter {number}", 120), "utf-8")
    path = recipe(
        folder, "method: scratch, layers: 1, hidden: 16, heads: 2", "tokenizer: {kind: bpe, vocab_size: 300}\n"
    )
    path.write_text(path.read_text("utf-8").replace("  tokenizer: base\n", "  stop: repeat\n"), "utf-8")
    alone = path.read_text("utf-8")
    path.write_text(alone.replace("[speeches]", "[speeches, letters]"), "utf-8")
    out = run(path)
    assert set(json.loads((out / "evidence" / "scores.json").read_text("utf-8"))) == {"letters", "speeches"}
    before = (out / "specialist" / "model.safetensors").read_bytes()
    path.write_text(alone, "utf-8")
    run(path)
    assert set(json.loads((out / "evidence" / "scores.json").read_text("utf-8"))) == {"speeches"}
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert set(manifest["sources"]) == {"speeches"}
    assert manifest["pretrain"]["stop"] == json.loads((out / "ledger.json").read_text("utf-8"))["stop"] == "repeat"
    assert (out / "specialist" / "model.safetensors").read_bytes() != before
    assert not list(out.rglob("letters*"))
    for page in ("report.html", "specialist/README.md", "evidence/samples.json"):
        assert "letters" not in (out / page).read_text("utf-8")


def test_a_base_is_continued_and_a_task_is_learnt_on_top(folder: Path) -> None:
    write_table(folder / "table.csv")
    more = (
        "base: base\ntask: {file: table.csv, text: sentence, label: mood}\nretention: null\n"
        "adapt: {epochs: 1, batch_size: 16, learning_rate: 0.01}\nmeasure: {systems: [majority]}\n"
    )
    out = run(recipe(folder, "method: continue", more))
    scores = json.loads((out / "pretrained" / "evidence" / "scores.json").read_text("utf-8"))
    assert set(scores["speeches"]) == {"base", "specialist"}
    assert (out / "specialist" / "adapter_model.safetensors").exists()
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["base"]["ref"].endswith("pretrained/specialist")
    assert 'href="pretrained/report.html"' in (out / "report.html").read_text("utf-8")
    page = (out / "pretrained" / "report.html").read_text("utf-8")
    assert "speeches" in page
    assert "Evaluation texts cut out" in page
    assert "speeches" in (out / "pretrained" / "specialist" / "README.md").read_text("utf-8")


def test_too_large_a_model_is_refused_before_anything_is_curated(folder: Path, command: Command) -> None:
    code, _, err = command("run", recipe(folder, "method: scratch, layers: 60, hidden: 131072, heads: 64"))
    assert code == 2
    assert "GB are free" in err
    assert not (folder / "runs" / "bank" / "corpus").exists()


def test_seeds_that_nothing_repeats_are_told(folder: Path, command: Command) -> None:
    path = recipe(folder, "method: scratch, layers: 2, hidden: 32, heads: 4", "seeds: [0, 1]\n")
    code, _, err = command("run", path)
    assert code == 2
    assert "'seeds' repeat a task or mixes" in err


def test_pretraining_without_text_is_told(folder: Path, command: Command) -> None:
    path = recipe(folder, "method: scratch, layers: 2, hidden: 32, heads: 4")
    path.write_text("\n".join(line for line in path.read_text("utf-8").splitlines() if line[:2] != "  "), "utf-8")
    path.write_text(path.read_text("utf-8").replace("corpus:\n", "task: {name: finance-starter}\n"), "utf-8")
    code, _, err = command("run", path)
    assert code == 2
    assert "add the field 'corpus'" in err
