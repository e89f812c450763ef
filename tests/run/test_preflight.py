"""What `metier validate` finds before any time is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from metier.errors import MetierError
from metier.models.device import choose_device
from metier.run.preflight import preflight
from tests.toy import make_base, write_recipe


def test_it_tells_balance_lengths_and_costs(toy_base: Path, tmp_path: Path) -> None:
    found = preflight(write_recipe(tmp_path, toy_base), data_root=None, offline=True)
    assert {part: sum(counts.values()) for part, counts in found.balance().items()} == {
        "train": 168, "validation": 24, "test": 48,
    }  # fmt: skip
    assert len(found.lengths) == 168
    assert found.parameters == 73_200 - 12_288
    assert found.train_seconds is not None
    assert 0 < found.train_seconds < 60
    assert 0 < found.memory_gb < 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("group", "told"), [("", "the column that says so"), (", group: firm", "another column")])
def test_texts_that_are_nearly_alike_are_told(toy_base: Path, tmp_path: Path, group: str, told: str) -> None:
    recipe = write_recipe(tmp_path, toy_base)
    recipe.write_text(recipe.read_text().replace("label: mood", "label: mood" + group))
    said = "opens its yearly meeting of all owners in the great hall of the town where it was founded long ago"
    rows = [f"Office {n} of firm{n % 8} {said},{'up' if n % 3 else 'down'},firm{n % 8}" for n in range(120)]
    (tmp_path / "table.csv").write_text("\n".join(["sentence,mood,firm", *rows]) + "\n")
    [note] = [note for note in preflight(recipe, data_root=None, offline=True).notes if "nearly repeat" in note]
    assert f"if they belong together, name {told}" in note


def test_long_options_are_left_room_in_a_table_of_positions(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", chat=False)
    config = GPT2Config(vocab_size=403, n_embd=32, n_layer=1, n_head=2, n_positions=300)
    GPT2LMHeadModel(config).save_pretrained(base)
    options = ["zq " * 40, "zw " * 40, "no"]
    rows = [{"q": f"Which {n}? " + "word " * 300, "opts": options, "ans": options[n % 3]} for n in range(30)]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: long\nbase: {base}\nadapt: {{method: none}}\nretention: null\n"
        "task: {file: t.jsonl, kind: multiple_choice, text: q, options: opts, label: ans, answers: text}\n"
    )
    assert max(preflight(recipe, data_root=None, offline=True).lengths) <= 300


def test_the_time_is_that_of_what_is_computed(toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = choose_device("cpu")
    monkeypatch.setattr("metier.run.preflight.choose_device", lambda *_: device)  # measured once
    recipe = write_recipe(tmp_path, toy_base)
    text = recipe.read_text()

    def seconds(adapt: str, more: str = "") -> float:
        recipe.write_text(text.replace("adapt: {", f"adapt: {{{adapt}", 1) + more)
        found = preflight(recipe, data_root=None, offline=True).train_seconds
        assert found is not None
        return found

    whole, half = seconds("lowest_layer: 0, "), seconds("lowest_layer: 1, ")
    assert half == pytest.approx(whole * (3 * 4 / 2 + 2 / 2) / (3 * 4))  # one of two layers below, computed once
    assert seconds("lowest_layer: 0, ", "\nseeds: [0, 1]\n") == pytest.approx(2 * whole)


def test_memory_is_that_of_the_batch_up_to_what_runs_at_once(toy_base: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, toy_base)
    text = recipe.read_text()

    def needed(batch: int, at_once: int) -> float:
        recipe.write_text(text.replace("batch_size: 16", f"batch_size: {batch}, micro_batch_tokens: {at_once}"))
        return preflight(recipe, data_root=None, offline=True).memory_gb

    assert needed(16, 4096) < needed(64, 4096)
    assert needed(64, 100) == needed(16, 100) < needed(16, 4096)


def test_sizes_of_a_curve_that_the_training_part_does_not_have(toy_base: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra="curve: {sizes: [64, 5000]}\n")
    with pytest.raises(MetierError, match=r"168 examples[\s\S]*curve\.sizes[\s\S]*from 2 to 168"):
        preflight(recipe, data_root=None, offline=True)


@pytest.mark.parametrize(("layer", "told"), [(99, "layers 0 to 1"), (-1, "lowest_layer")])
def test_a_layer_that_the_base_does_not_have(toy_base: Path, tmp_path: Path, layer: int, told: str) -> None:
    recipe = write_recipe(tmp_path, toy_base)
    recipe.write_text(recipe.read_text().replace("adapt: {", f"adapt: {{lowest_layer: {layer}, "))
    with pytest.raises(MetierError, match=told):
        preflight(recipe, data_root=None, offline=True)


@pytest.mark.parametrize("spoil", ["architecture", "weights"])
def test_a_base_that_cannot_be_trained_is_found_before_training(tmp_path: Path, spoil: str) -> None:
    base = make_base(tmp_path / "base")
    if spoil == "weights":
        (base / "model.safetensors").write_bytes(b"half")
    else:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaModel"]}))
    with pytest.raises(MetierError) as error:
        preflight(write_recipe(tmp_path, base), data_root=None, offline=True)
    assert str(base) in str(error.value)
