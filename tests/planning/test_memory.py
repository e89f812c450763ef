"""Memory: activations against what autograd keeps, states against their definition, and what makes it less."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from metier.models.shapes import Family, Shape
from metier.planning.hardware import accelerator
from metier.planning.memory import Attention, end_activations, kv_cache, layer_activations, training_memory
from metier.planning.shapes import ModelChoice, build

SEQUENCES, LENGTH = 2, 96


def shape_of(family: Family, layers: int) -> Shape:
    kv_heads = 2 if family == "llama" else None
    return build(
        ModelChoice(family=family, layers=layers, hidden=64, heads=4, vocabulary=128, kv_heads=kv_heads), layers
    )


def model_of(shape: Shape, attention: Attention) -> PreTrainedModel:
    if shape.family == "bloom":
        return BloomForCausalLM(BloomConfig(
            vocab_size=shape.vocabulary, hidden_size=shape.hidden, n_layer=shape.layers, n_head=shape.heads,
        ))  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, intermediate_size=shape.ffn,
        tie_word_embeddings=True, attn_implementation="sdpa" if attention == "fused" else "eager",
    ))  # fmt: skip


def kept_by_autograd(model: PreTrainedModel) -> int:
    """Bytes of all distinct tensors that the graph keeps for the backward pass, parameters and logits left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.train()(input_ids=torch.randint(0, 128, (SEQUENCES, LENGTH)), use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize(("family", "attention"), [("bloom", "eager"), ("llama", "eager"), ("llama", "fused")])
def test_activations_are_what_autograd_keeps(
    family: Family, attention: Attention, dtype: torch.dtype, width: int
) -> None:
    few, many = shape_of(family, 1), shape_of(family, 3)
    one, three = (kept_by_autograd(model_of(shape, attention).to(dtype)) for shape in (few, many))
    tokens = SEQUENCES * LENGTH
    a_layer = layer_activations(few, LENGTH, attention, width)
    assert (three - one) / 2 == a_layer * tokens
    # outside the layers there are also masks and positions
    assert one == pytest.approx((a_layer + end_activations(few, width)) * tokens, rel=0.05)


def test_weights_gradients_and_optimizer_have_sixteen_bytes_a_parameter() -> None:
    shape = shape_of("llama", 2)
    for width in (2, 4):
        hardware = replace(accelerator("a100-40gb"), compute_bytes=width)
        memory = training_memory(shape, hardware, sequence_length=1, micro_batch=1, checkpointing=False)
        assert memory.weights + memory.gradients + memory.optimizer == 16 * shape.parameters
        assert memory.gathered == 0
        assert memory.total == sum(value for name, value in memory.to_json().items() if name != "total")


@given(
    st.sampled_from(["bloom", "llama"]), st.integers(2, 60), st.sampled_from([1, 2, 8, 64]), st.integers(1, 8),
    st.integers(16, 4096), st.booleans(), st.sampled_from(["fused", "eager"]),
)  # fmt: skip
@settings(deadline=None)
def test_more_devices_fewer_sequences_and_checkpointing_need_less(
    family: Family, layers: int, devices: int, micro: int, length: int, checkpointing: bool, attention: Attention
) -> None:
    shape, hardware = build(ModelChoice(family=family), layers), accelerator("a100-40gb")

    def need(devices: int, micro: int, checkpointing: bool, attention: Attention = attention) -> int:
        return training_memory(
            shape, hardware.spread(devices), sequence_length=length, micro_batch=micro, checkpointing=checkpointing,
            attention=attention,
        ).total  # fmt: skip

    here = need(devices, micro, checkpointing)
    assert need(devices, micro, True) <= here <= need(devices, micro, False)
    assert here < need(devices, micro + 1, checkpointing)
    assert need(devices, micro, checkpointing, "fused") <= here
    if devices > 1:
        assert need(2 * devices, micro, checkpointing) < here


def test_keys_and_values_of_llama_2_7b() -> None:
    # half a MiB a token in bf16: 2 · 32 layers · 4,096 · 2 bytes
    assert kv_cache(build(ModelChoice(layers=32, hidden=4096, heads=32), 32)) == 2**19
    assert kv_cache(build(ModelChoice(layers=32, hidden=4096, heads=32, kv_heads=8), 32)) == 2**17
