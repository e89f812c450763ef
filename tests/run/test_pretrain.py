"""From token shards to a specialist that loads anywhere, its bits per byte, and nothing lost on the way."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from metier.corpus.shards import ShardWriter
from metier.errors import MetierError
from metier.recipe.pretrain import Pretrain
from metier.run.pretrain import Corpus, pretrain
from tests.toy import sentences, write_tokenizer

SCRATCH: dict[str, Any] = {
    "method": "scratch", "layers": 2, "hidden": 32, "heads": 4, "sequence_length": 32, "steps": 12,
    "batch_sequences": 4, "first_batch_sequences": 2, "batch_warmup_steps": 4, "learning_rate": 0.01,
    "evaluate_every": 5, "evaluate_tokens": 300, "checkpoint_every": 3, "micro_batch_tokens": 64,
}  # fmt: skip
CONTINUE = {"method": "continue", "sequence_length": 32, "steps": 6, "batch_sequences": 4, "learning_rate": 0.003,
            "evaluate_every": 0, "document_mask": True, "micro_batch_tokens": 64}  # fmt: skip


def write(folder: Path, tokenizer: Any, texts: list[str], sha: str = "t") -> Path:
    end = tokenizer.eos_token_id
    with ShardWriter(folder, vocabulary=len(tokenizer), end=end, tokenizer_sha256=sha) as writer:
        for number, text in enumerate(texts):
            ids = tokenizer.encode(text, add_special_tokens=False)
            writer.add(ids, id=f"d{number}", bytes=len(text.encode()))
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    tokenizer = write_tokenizer(folder / "tokenizer")
    texts = [text for text, _ in sentences(300, seed=1)]
    return Corpus(
        sources={"news": write(folder / "train/news", tokenizer, texts[:140]),
                 "general": write(folder / "train/general", tokenizer, [t[::-1] for t in texts[140:280]])},
        weights={"news": 3.0, "general": 1.0},
        hold_outs={"news": write(folder / "held/news", tokenizer, texts[280:290]),
                   "general": write(folder / "held/general", tokenizer, [t[::-1] for t in texts[290:]])},
        tokenizer=folder / "tokenizer",
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(Pretrain(**SCRATCH), corpus, tmp_path_factory.mktemp("runs") / "scratch", dtype="float32")


def scores(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evidence" / "scores.json").read_text())
    return found


def weights(run: Path) -> bytes:
    return (run / "specialist" / "model.safetensors").read_bytes()


def test_a_run_directory_has_all_that_a_report_needs(done: Path, corpus: Corpus) -> None:
    assert set(scores(done)) == {"news", "general"}
    for name in corpus.hold_outs:
        found = scores(done)[name]["specialist"]["metrics"]["bits_per_byte"]
        assert found["n"] == 10
        assert found["low"] < found["value"] < found["high"]
    events = [json.loads(line) for line in (done / "log.jsonl").read_text().splitlines()]
    looks = [e for e in events if e["event"] == "validation"]
    assert [e["step"] for e in looks] == [5, 10, 12]
    assert looks[-1]["bits_per_byte.news"] < looks[0]["bits_per_byte.news"]
    training = json.loads((done / "manifest.json").read_text())["training"]
    assert training["sequences"] == 4 * 2 + 8 * 4
    assert training["tokens"] == 40 * 32
    assert training["epochs"]["news"] > training["epochs"]["general"] > 0


def test_the_specialist_loads_in_plain_transformers(done: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(done / "specialist")
    tokenizer = AutoTokenizer.from_pretrained(done / "specialist")
    ids = torch.tensor([tokenizer.encode("Alma: profit rose")])
    assert model.config.model_type == "bloom"
    assert torch.isfinite(model(ids).logits).all()


def test_weights_and_epochs_of_the_sources_are_said(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = pretrain(Pretrain(**{**SCRATCH, "steps": 6}), corpus, tmp_path / "out", dtype="float32")
    sources = json.loads((out / "manifest.json").read_text())["sources"]
    said = " ".join("".join(capsys.readouterr()).split())  # progress goes to either stream, in lines of any width
    for name, weight in (("news", "75.0%"), ("general", "25.0%")):
        one = sources[name]
        assert f"{name} weight {weight}, {one['tokens']:,} tokens, {one['epochs']:.2f} epochs of them" in said


def test_what_is_done_is_not_done_again(done: Path, corpus: Corpus) -> None:
    before = weights(done), (done / "log.jsonl").read_bytes(), scores(done)
    pretrain(Pretrain(**SCRATCH), corpus, done, dtype="float32")
    assert (weights(done), (done / "log.jsonl").read_bytes(), scores(done)) == before


def test_kills_at_random_points_change_no_byte(done: Path, corpus: Corpus, tmp_path: Path) -> None:
    generator, deaths = random.Random(4), 0
    out = tmp_path / "killed"

    def carry() -> None:
        pretrain(Pretrain(**SCRATCH), corpus, out, dtype="float32")

    begun = time.monotonic()
    while deaths < 3:
        child = multiprocessing.get_context("fork").Process(target=carry)
        child.start()
        child.join(generator.uniform(0.1, 0.5))
        deaths += child.is_alive()
        finished = not child.is_alive()
        child.kill()
        child.join()
        if finished or time.monotonic() - begun > 60:
            break
    carry()
    assert weights(out) == weights(done)
    assert scores(out) == scores(done)


@pytest.mark.parametrize("start", ["llama", "bloom"])
def test_continuing_a_base_says_what_was_gained(
    start: str, done: Path, corpus: Corpus, toy_base: Path, tmp_path: Path
) -> None:
    base = toy_base if start == "llama" else done / "specialist"
    run = pretrain(Pretrain(**CONTINUE), corpus, tmp_path / "run", base=base, dtype="float32")
    for name in corpus.hold_outs:
        entry = scores(run)[name]
        assert {"base", "specialist"} == set(entry)
        difference = entry["specialist"]["against"]["base"]["difference"]
        assert difference["value"] < 0
        gained = (
            entry["specialist"]["metrics"]["bits_per_byte"]["value"]
            - entry["base"]["metrics"]["bits_per_byte"]["value"]
        )
        assert difference["value"] == pytest.approx(gained)
    assert AutoModelForCausalLM.from_pretrained(run / "specialist").config.model_type == start


def test_bad_input_is_refused_before_anything_is_computed(corpus: Corpus, toy_base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer)
    other = write(tmp_path / "other", tokenizer, ["one text"] * 30, sha="another")
    choice = Pretrain(**SCRATCH)

    def refuse(match: str, changed: Pretrain, given: Corpus, base: Path | None = None) -> None:
        with pytest.raises(MetierError, match=match):
            pretrain(changed, given, tmp_path / "out", base=base, dtype="float32")
        assert not (tmp_path / "out" / "checkpoints").exists()

    mixed = Corpus(corpus.sources, corpus.weights, {"other": other}, corpus.tokenizer)
    refuse("another tokenizer", choice, mixed)
    refuse("without a base", Pretrain(**CONTINUE), corpus)
    refuse("scratch with a base", choice, corpus, toy_base)
    refuse("not one batch", choice.model_copy(update={"first_batch_sequences": 5000}), corpus)
    refuse("knows 512 positions", Pretrain(**CONTINUE | {"sequence_length": 513, "stop": "repeat"}), corpus, toy_base)
    shard = next((corpus.sources["news"]).glob("*.bin"))
    whole = shard.read_bytes()
    try:
        shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        refuse("SHA-256 differs", choice, corpus)
    finally:
        shard.write_bytes(whole)


def test_too_little_memory_is_foreseen(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.run.pretrain.available_bytes", lambda device: 1 << 20)
    monkeypatch.setattr("metier.run.pretrain.build", lambda *_, **__: pytest.fail("the weights were allocated first"))
    with pytest.raises(MetierError, match="GB are free"):
        pretrain(Pretrain(**SCRATCH), corpus, tmp_path / "out", dtype="float32")


def test_a_source_that_runs_out_ends_the_run_in_time(corpus: Corpus, tmp_path: Path) -> None:
    choice = Pretrain(**{**SCRATCH, "steps": 5000, "evaluate_every": 0, "batch_sequences": 8})
    run = pretrain(choice, corpus, tmp_path / "out", dtype="float32")
    training = json.loads((run / "manifest.json").read_text())["training"]
    assert training["steps"] < 100
    assert max(training["epochs"].values()) <= 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tokens": 10_000}, "either 'tokens' or 'steps'"),
        ({"layers": None}, "needs 'layers'"),
        ({"method": "continue"}, "its own shape"),
        ({"batch_warmup_steps": 0}, "belong together"),
        ({"hiden": 64}, "hiden"),
    ],
)
def test_a_recipe_that_contradicts_itself(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Pretrain(**{**SCRATCH, **change})
