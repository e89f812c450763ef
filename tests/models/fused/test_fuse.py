"""Blocks in fewer steps: the values and gradients of transformers and peft, for every shape that is taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from metier.models.fused import fuse
from metier.models.fused.gated import ACTIVATIONS, fuse_gated
from metier.models.fused.norm import fuse_norms
from metier.models.fused.rotary import fuse_rotary

SIZES: dict[str, Any] = {
    "vocab_size": 90, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=4),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "gemma3": Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=4, query_pre_attn_scalar=8),
}


def adapted(config: Any, *, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, mean=0.5, std=0.3)
    model = get_peft_model(
        model,
        LoraConfig(r=3, lora_alpha=7, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def learnt(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.tensor([[1, 5, 9, 30, 31, 2, 8], [1, 7, 8, 9, 10, 2, 80]])
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def changed(model: nn.Module, ending: str) -> int:
    return sum("forward" in m.__dict__ for m in model.modules() if type(m).__name__.endswith(ending))


@pytest.mark.parametrize("name", CONFIGS)
def test_values_and_gradients_are_the_same(name: str) -> None:
    plain, quick = adapted(CONFIGS[name]), adapted(CONFIGS[name])
    quick.load_state_dict(plain.state_dict())
    fuse(quick)
    norms = sum(type(m).__name__.endswith("RMSNorm") for m in quick.modules())
    assert (changed(quick, "MLP"), changed(quick, "Attention"), changed(quick, "RMSNorm")) == (2, 2, norms)
    (expected, gradients), (found, ours) = learnt(plain), learnt(quick)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert ours.keys() == gradients.keys()
    for key, value in gradients.items():
        torch.testing.assert_close(ours[key], value, atol=2e-6, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_in_sixteen_bits_no_further_from_the_truth(name: str) -> None:
    exact, plain, quick = (adapted(CONFIGS[name]) for _ in range(3))
    for model in (plain, quick):
        model.load_state_dict(exact.state_dict())
        model.to(torch.bfloat16)
    exact.load_state_dict({k: v.float() for k, v in plain.state_dict().items()})
    fuse(quick)
    truth, theirs, ours = (learnt(model)[1] for model in (exact, plain, quick))
    distance = [
        sum(float((found[key].float() - value).norm() / value.norm()) for key, value in truth.items())
        for found in (theirs, ours)
    ]
    assert 0 < distance[1] < 1.15 * distance[0]


def test_off_merged_and_without_gradients() -> None:
    plain, quick = adapted(CONFIGS["gemma3"]), adapted(CONFIGS["gemma3"])
    quick.load_state_dict(plain.state_dict())
    fuse(quick)
    ids = torch.tensor([[1, 5, 9, 30]])
    with torch.inference_mode():
        expected = plain(input_ids=ids).logits
        torch.testing.assert_close(quick(input_ids=ids).logits, expected, atol=1e-5, rtol=1e-5)
        with plain.disable_adapter(), quick.disable_adapter():
            torch.testing.assert_close(quick(input_ids=ids).logits, plain(input_ids=ids).logits, atol=1e-5, rtol=1e-5)
        merged = quick.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)


def test_a_gated_layer_that_does_something_else_is_left_alone() -> None:
    class CappedMLP(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.gate_proj, self.up_proj, self.down_proj = inner.gate_proj, inner.up_proj, inner.down_proj
            self.act_fn = inner.act_fn

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inner: torch.Tensor = self.act_fn(self.gate_proj(x)) * self.up_proj(x)
            capped: torch.Tensor = self.down_proj(inner.clamp(-0.01, 0.01))
            return capped

    model = adapted(CONFIGS["llama"])
    block = model.base_model.model.model.layers[0]
    block.mlp = CappedMLP(block.mlp)
    fuse_gated(model)
    assert changed(model, "MLP") == 1
    assert "forward" not in block.mlp.__dict__


@pytest.mark.parametrize("why", ["dropout", "activation"])
def test_other_gated_layers_are_left_alone(why: str) -> None:
    model = adapted(LlamaConfig(**SIZES, hidden_act="relu") if why == "activation" else CONFIGS["llama"],
                    dropout=0.1 if why == "dropout" else 0.0)  # fmt: skip
    fuse_gated(model)
    assert changed(model, "MLP") == 0
    assert "ReLU" not in ACTIVATIONS


def test_norms_that_learn_or_are_something_else_are_left_alone() -> None:
    class CentredRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(32), requires_grad=False), 1e-6

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.layer_norm(x, (32,), self.weight)

    learning = AutoModelForCausalLM.from_config(CONFIGS["llama"])
    other = nn.Sequential(CentredRMSNorm())
    for model in (learning, other):
        fuse_norms(model)
        assert changed(model, "RMSNorm") == 0


def test_another_rotation_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.llama import modeling_llama

    def interleaved(q: Any, k: Any, cos: Any, sin: Any, unsqueeze_dim: int = 1) -> Any:
        return q * cos.unsqueeze(unsqueeze_dim), k * sin.unsqueeze(unsqueeze_dim)

    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", interleaved)
    model = adapted(CONFIGS["llama"])
    fuse_rotary(model)
    assert changed(model, "Attention") == 0
