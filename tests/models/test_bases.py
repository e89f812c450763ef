"""Folders that are no base: told before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from metier.errors import MetierError
from metier.models.bases import catalogue, listing, resolve
from metier.models.load import fitting, load_config, load_model, load_tokenizer
from metier.sources.pypi import parse, recorded_hashes
from tests.toy import make_base, write_tokenizer


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base")


def edit(base: Path, **fields: object) -> None:
    file = base / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def whole(base: Path) -> None:
    resolve(str(base))
    load_tokenizer(base)
    load_model(base, dtype=torch.float32, device="cpu")


def truncate(base: Path) -> None:
    file = base / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def lose(base: Path, name: str) -> None:
    weights = load_file(base / "model.safetensors")
    del weights[name]
    save_file(weights, base / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda base: (base / "config.json").write_text("{half"), "config.json"),
        (lambda base: (base / "config.json").write_text("[]"), "base"),
        (lambda base: (base / "config.json").unlink(), "no config.json"),
        (lambda base: edit(base, model_type="nonsense"), "does not know this model"),
        (lambda base: edit(base, architectures=["LlamaModel"]), "'LlamaModel' is not a causal"),
        (lambda base: edit(base, architectures=["LlamaForSequenceClassification"]), "is not a causal"),
        (lambda base: edit(base, auto_map={"AutoModelForCausalLM": "own.Model"}), "never executed"),
        (truncate, "cannot be loaded"),
        (
            lambda base: lose(base, "model.layers.1.mlp.down_proj.weight"),
            "1 of the model's weights are not in its files",
        ),
        (lambda base: edit(base, quantization_config={"quant_method": "bitsandbytes"}), "are quantized"),
        (lambda base: edit(base, vocab_size=100), "the model has 100 tokens"),
        (lambda base: (base / "model.safetensors").rename(base / "pytorch_model.bin"), "pickled weights are never"),
        (lambda base: (base / "tokenizer.json").write_text("{half"), "tokenizer"),
    ],
)
def test_a_spoilt_folder_is_explained(base: Path, spoil: Callable[[Path], object], told: str) -> None:
    whole(base)
    spoil(base)
    with pytest.raises(MetierError, match=told) as error:
        whole(base)
    assert str(base) in str(error.value)


def test_an_encoder_is_no_base_even_if_transformers_would_put_a_head_on_it(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(MetierError, match="'BertModel' is not a causal language model"):
        load_config(tmp_path)
    edit(tmp_path, architectures=None)
    with pytest.raises(MetierError, match="'bert' is not a causal language model"):
        load_config(tmp_path)


def test_prompts_fit_a_learned_table_of_positions(tmp_path: Path, base: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2, n_positions=256)).save_pretrained(tmp_path)
    assert fitting(tmp_path, 1024) == 192
    assert fitting(tmp_path, 100) == 100
    assert fitting(base, 1024) == 448  # rotary positions can be computed beyond 512, but were not trained


def test_the_longest_answer_fits_behind_a_prompt_in_a_table(tmp_path: Path, base: Path) -> None:
    tokenizer = write_tokenizer(tmp_path)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=2, n_positions=256)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    answer = "zq " * 40
    longest = len(tokenizer.encode(f" {answer}")) + 1
    assert longest > 64
    assert fitting(tmp_path, 1024, answers=lambda: ["no", answer]) == 256 - longest
    assert fitting(tmp_path, 1024, answers=lambda: ["no"]) == 192
    assert fitting(base, 1024, answers=lambda: [answer]) == 448
    with pytest.raises(MetierError, match="leaves no room for a text: this base has 256 positions"):
        fitting(tmp_path, 1024, answers=lambda: [answer * 2])


def test_the_weights_are_part_of_a_bases_hash(base: Path, tmp_path: Path) -> None:
    other = make_base(tmp_path / "other", seed=1)
    assert resolve(str(base)).sha256 == resolve(str(base)).sha256 != resolve(str(other)).sha256


def test_weights_that_may_not_be_read_are_told(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("metier.models.bases.sha256_file", refuse)
    with pytest.raises(MetierError, match=r"cannot be read: Permission denied[\s\S]*change its rights"):
        resolve(str(base))


def test_the_catalogue_says_where_bases_come_from() -> None:
    rows = [row for row in listing() if row["name"] == "smollm2-135m-instruct"]
    assert [row["ref"].split(":")[0] for row in rows] == ["hf", "pypi"]
    assert {row["parameters"] for row in rows} == {134_515_008}
    assert not any(row["cached"] for row in rows)
    assert all(row["bytes"] > 10**7 and row["licence"] for row in rows)


def test_every_package_of_the_catalogue_has_its_hash_recorded() -> None:
    for name, entry in catalogue().items():
        for place in entry["places"]:
            if place["ref"].startswith("pypi:"):
                for part in [*place.get("parts", []), place["ref"]]:
                    release = parse(part.removeprefix("pypi:").split("!")[0])
                    assert recorded_hashes(*release), (name, part)


def test_a_base_in_the_working_directory_has_its_name(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base)
    assert resolve(".").name == "base"
