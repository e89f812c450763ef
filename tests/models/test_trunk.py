"""Frozen layers computed once: the same numbers, the same gradients, in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from metier.errors import MetierError
from metier.models import trunk as module
from metier.models.adapters import attach_lora, train_everything
from metier.models.forward import Runner
from metier.models.layers import decoder_layers, lowest_layer
from metier.models.packed import ATTENTION, Item
from metier.models.trunk import compute_trunk

SIZES = {"vocab_size": 64, "attn_implementation": ATTENTION}
LLAMA = {**SIZES, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
ITEMS = [Item((7, 8, 9), ((20, 2),)), Item((5,), ((21, 22, 2), (23,))), Item((9, 9, 3, 4), ((20, 2),))]
PREFIX = (1, 11, 12)


def model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "llama":
        return LlamaForCausalLM(LlamaConfig(**LLAMA, num_hidden_layers=4)).eval()
    if name == "gemma3":  # sliding windows, and embeddings with a scale of their own
        config = Gemma3TextConfig(**LLAMA, num_hidden_layers=4, head_dim=8, sliding_window=4)
        return Gemma3ForCausalLM(config).eval()
    return GPT2LMHeadModel(GPT2Config(**SIZES, n_embd=32, n_layer=4, n_head=4, n_positions=64)).eval()


def runner(name: str, lowest: int, *, method: str = "lora") -> Runner:
    found = model(name)
    if method == "full":
        return Runner(train_everything(found, lowest), packing=True)
    wrapped = attach_lora(found, rank=4, alpha=8, dropout=0.0, targets="all", seed=1, lowest=lowest)
    for key, parameter in wrapped.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.2)
    return Runner(wrapped.eval(), packing=True)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("lowest", [1, 3])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_entering_above_the_frozen_layers_changes_nothing(name: str, lowest: int, method: str, tmp_path: Path) -> None:
    run = runner(name, lowest, method=method)
    trunk = compute_trunk(run, lowest, PREFIX, ITEMS, spill=tmp_path / "spill")
    assert trunk is not None
    gradients = []
    for entry in (None, trunk.entry(ITEMS[::-1])):
        run.model.zero_grad()
        values, _ = run.logprobs(ITEMS[::-1], PREFIX, entry=entry)
        values.sum().backward()
        found = {key: p.grad.clone() for key, p in run.model.named_parameters() if p.grad is not None}
        gradients.append((values.detach(), found))
    (whole, expected), (short, found) = gradients
    torch.testing.assert_close(short, whole, atol=1e-5, rtol=1e-5)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-4, rtol=1e-3)


def test_nothing_below_trains() -> None:
    trainable = [key for key, p in runner("llama", 2).model.named_parameters() if p.requires_grad]
    assert trainable
    assert all(".layers.2." in key or ".layers.3." in key for key in trainable)
    full = [key for key, p in runner("llama", 3, method="full").model.named_parameters() if p.requires_grad]
    assert all(".layers.3." in key or key in ("model.norm.weight", "lm_head.weight") for key in full)


def test_frozen_layers_are_skipped_and_come_back(tmp_path: Path) -> None:
    run = runner("llama", 2)
    trunk = compute_trunk(run, 2, PREFIX, ITEMS, spill=tmp_path / "spill")
    assert trunk is not None
    calls: list[int] = []
    layers = decoder_layers(run.model)
    layers[0].mlp.register_forward_hook(lambda *_: calls.append(0))
    run.logprobs(ITEMS, PREFIX, entry=trunk.entry(ITEMS))
    assert not calls
    run.logprobs(ITEMS, PREFIX)
    assert calls == [0]


def test_it_shows_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []

    @contextmanager
    def showing(title: str, total: int) -> Iterator[Callable[[int], None]]:
        told.append((title, total))
        yield lambda done: told.append(("done", done))

    compute_trunk(runner("llama", 2), 2, PREFIX, [*ITEMS, *ITEMS], spill=tmp_path / "s", showing=showing)
    assert told[0] == ("layers below 2", len(set(ITEMS)))
    assert sum(done for _, done in told[1:]) == len(set(ITEMS))


def test_past_the_bound_states_live_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner("llama", 2)
    inside = compute_trunk(run, 2, PREFIX, ITEMS, spill=tmp_path / "a" / "spill")
    monkeypatch.setattr(module, "IN_MEMORY", 8)
    outside = compute_trunk(run, 2, PREFIX, ITEMS, spill=tmp_path / "a" / "spill")
    assert inside is not None
    assert outside is not None
    assert torch.equal(inside.states, outside.states)
    assert list((tmp_path / "a").iterdir()) == []  # a killed run would leave nothing


def test_the_states_do_not_depend_on_the_order_of_epochs(tmp_path: Path) -> None:
    run = runner("llama", 2)
    one = compute_trunk(run, 2, PREFIX, ITEMS, spill=tmp_path / "s")
    two = compute_trunk(run, 2, PREFIX, [*ITEMS, *ITEMS], spill=tmp_path / "s")
    assert one is not None
    assert two is not None
    assert torch.equal(one.states, two.states)


def test_no_trunk_where_nothing_is_frozen_or_nothing_is_packed(tmp_path: Path) -> None:
    run = runner("llama", 0)
    assert compute_trunk(run, 0, PREFIX, ITEMS, spill=tmp_path / "s") is None
    run.packing = False
    assert compute_trunk(run, 2, PREFIX, ITEMS, spill=tmp_path / "s") is None


def test_the_lowest_layer_must_exist() -> None:
    assert lowest_layer("auto", model("llama")) == 2
    assert lowest_layer(3, model("llama")) == 3
    with pytest.raises(MetierError, match="no layer 4") as error:
        lowest_layer(4, model("llama"))
    assert "0 to 3" in str(error.value)
