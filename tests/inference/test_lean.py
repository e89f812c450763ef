"""The lean decoder gives what transformers' modules give, or is not used and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from metier.inference.engines import lean
from metier.inference.engines.fastest import LeanAtTimes, OwnModules, use_lean
from metier.models import reordered
from metier.models.decoding import begin, step
from metier.models.forward import Runner
from metier.models.load import load_model
from metier.models.packed import ATTENTION, Item

VOCABULARY = 300
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
FULL = ["full_attention"]
CONFIGS: list[Any] = [
    LlamaConfig(**SIZES),
    LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, head_dim=16, tie_word_embeddings=True),
    MistralConfig(**SIZES, sliding_window=None),
    Qwen2Config(**SIZES),
    Gemma3TextConfig(
        **SIZES, head_dim=16, sliding_window=16, query_pre_attn_scalar=20, layer_types=["sliding_attention"] * 2 + FULL
    ),
]
# Shapes that no decoder is written for: their own modules run, on reordered weights.
OTHERS: list[Any] = [
    Qwen3Config(**SIZES, head_dim=12),
    LlamaConfig(**SIZES, hidden_act="gelu", attention_bias=True, mlp_bias=True),
    MistralConfig(**SIZES, sliding_window=8),
]
tokens = st.integers(0, VOCABULARY - 1)
answers = st.lists(st.lists(tokens, min_size=1, max_size=4).map(tuple), min_size=1, max_size=3).map(tuple)
item = st.builds(Item, st.lists(tokens, min_size=1, max_size=70).map(tuple), answers)


def _runner(config: Any, dtype: torch.dtype = torch.float32) -> Runner:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION, dtype=dtype).eval()
    for parameter in model.parameters():  # norms of ones and biases of zeros would hide a mistake
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Runner(model, packing=True)


@pytest.fixture(scope="module")
def runners() -> list[Runner]:
    found = [_runner(config) for config in CONFIGS + OTHERS]
    for runner, config in zip(found, CONFIGS + OTHERS, strict=True):
        about = use_lean(runner)
        assert about == "lean modules" if config in CONFIGS else "reordered weights" in about
    return found


@settings(max_examples=40, deadline=None)
@given(
    which=st.integers(0, len(CONFIGS + OTHERS) - 1),
    items=st.lists(item, min_size=1, max_size=4),
    prefix=st.lists(tokens, max_size=9),
)
def test_it_gives_what_transformers_gives(
    runners: list[Runner], which: int, items: list[Item], prefix: list[int]
) -> None:
    runner = runners[which]
    plain = Runner(runner.model, packing=False)
    with torch.inference_mode():
        stored = runner.store_prefix(prefix)
        found = runner.logprobs(items, prefix, stored)[0]
        expected = plain.logprobs(items, prefix)[0]
        some = [1, 5, 7]
        logits = runner.next_logits(items, some, prefix, stored)
        torch.testing.assert_close(logits, plain.next_logits(items, some, prefix), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_texts_are_written_on_as_transformers_writes_them(runners: list[Runner]) -> None:
    prompts = [(5, 6, 7), (5, 6, 7), (9, 1, 2, 3, 40), (11,)]
    for runner in runners:
        lean_one, hidden = runner.lean, []
        with torch.inference_mode():
            stored = runner.store_prefix((1, 2, 3, 4))
            for runner.lean in (None, lean_one):
                _, texts = begin(runner, prompts[1:], [0, 0, 1, 2], (1, 2, 3, 4), stored, 3)
                hidden.append(torch.cat([step(runner, torch.tensor([8, 9, 10, 11]) + i, texts) for i in range(3)]))
        torch.testing.assert_close(hidden[1], hidden[0], atol=1e-4, rtol=1e-4)


def test_it_runs_where_nothing_learns_and_only_there(runners: list[Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    runner, calls = runners[0], []
    decoder = runner.lean
    assert decoder is not None
    monkeypatch.setattr(runner, "lean", lambda pack: (calls.append(1), decoder(pack))[1])
    items = [Item((3, 4, 5), ((6,),))]
    runner.answer_logprobs(items)  # gradients may flow
    assert not calls
    with torch.inference_mode():
        runner.answer_logprobs(items)
        assert calls == [1]
        runner.answer_logprobs(items, (8, 9))  # a prefix that is run along
    assert calls == [1]


@pytest.mark.parametrize(
    ("config", "dtype", "why"),
    [
        (OTHERS[0], torch.float32, "with reordered weights (qwen3 is not of Llama's shape"),
        (
            Gemma3TextConfig(**SIZES, use_bidirectional_attention=True),
            torch.float32,
            "(another way of attending",
        ),
        (LlamaConfig(**SIZES), torch.float16, "transformers' modules (only for float32"),
        (OTHERS[1], torch.float32, "with reordered weights (another activation"),
        (OTHERS[2], torch.float32, "with reordered weights (attention within a window"),
    ],
)
def test_another_shape_is_left_to_transformers(config: Any, dtype: torch.dtype, why: str) -> None:
    runner = _runner(config, dtype)
    assert why in use_lean(runner)
    assert isinstance(runner.lean, OwnModules) == (dtype == torch.float32)


def test_a_decoder_that_differs_is_not_used(toy_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(load_model(toy_base, dtype=torch.float32, device="cpu"))
    assert use_lean(runner) == "lean modules"
    real = lean.LeanDecoder._norm
    monkeypatch.setattr(lean.LeanDecoder, "_norm", lambda self, x, weight: 1.01 * real(self, x, weight))
    assert "differed on a trial" in use_lean(runner)
    assert isinstance(runner.lean, OwnModules)
    monkeypatch.setattr(reordered, "MEMORY_SHARE", 0.0)
    assert "twice" in use_lean(runner)
    assert runner.lean is None
    monkeypatch.setattr(lean, "reordered", lambda weight: torch.ops.mkldnn.no_such_operation(weight))
    monkeypatch.setattr(reordered, "reordered", lambda weight: torch.ops.mkldnn.no_such_operation(weight))
    monkeypatch.setattr(reordered, "MEMORY_SHARE", 1.0)
    assert use_lean(runner).startswith("transformers' modules (")
    assert runner.lean is None


def test_reordered_weights_that_give_something_else_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _runner(OTHERS[0])
    real = reordered.reordered
    monkeypatch.setattr(reordered, "reordered", lambda weight: real(1.01 * weight))
    assert use_lean(runner).startswith("transformers' modules (")
    assert runner.lean is None


def test_reordered_weights_are_used_within_only(runners: list[Runner]) -> None:
    """The model itself computes as before: what learns or is saved knows nothing of them."""
    runner = runners[len(CONFIGS)]
    assert isinstance(runner.lean, OwnModules)
    layer = next(m for m in runner.model.modules() if type(m) is torch.nn.Linear)
    x = torch.randn(2, 5, layer.in_features)
    orders = runner.lean.weights._orders
    kept = orders[id(layer.weight)]
    try:
        orders[id(layer.weight)] = reordered.reordered(2 * layer.weight)
        with torch.inference_mode():
            before = layer(x)
            with runner.lean.weights.used():
                doubled = layer(x)
            after = layer(x)
    finally:
        orders[id(layer.weight)] = kept
    torch.testing.assert_close(doubled, 2 * before)
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("way", ["_alone", "_together"])
def test_every_way_of_attending_is_tried(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _runner(CONFIGS[1], torch.bfloat16)
    assert use_lean(runner) == "lean modules"
    real = getattr(lean.LeanDecoder, way)

    def wrong(self: Any, *arguments: Any) -> Any:
        attend = real(self, *arguments)
        return lambda number, *heads: 9 - attend(number, *heads)

    monkeypatch.setattr(lean.LeanDecoder, way, wrong)
    assert "differed on a trial" in use_lean(runner)


def test_a_step_is_tried_too_and_lean_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _runner(CONFIGS[0])
    at_times = LeanAtTimes(runner)
    assert (runner.lean, at_times.about) == (None, "lean modules")
    with at_times:
        assert runner.lean is at_times.lean is not None
    assert runner.lean is None
    real = lean.LeanDecoder.step
    monkeypatch.setattr(lean.LeanDecoder, "step", lambda self, *arguments: 9 - real(self, *arguments))
    assert "differed on a trial" in LeanAtTimes(runner).about


def _adapted(dtype: torch.dtype, targets: str | list[str] = "all-linear", config: Any = CONFIGS[0]) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION, dtype=dtype)
    settings = LoraConfig(r=3, lora_alpha=6, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(model, settings, autocast_adapter_dtype=False).eval()
    for name, parameter in model.named_parameters():
        parameter.data += (0.3 if "lora_B" in name else 0.05) * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[-1]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapters_stay_apart(dtype: torch.dtype, config: Any) -> None:
    runner = Runner(_adapted(dtype, config=config), packing=True)
    exact = _adapted(torch.float32, config=config)
    exact.load_state_dict({name: value.float() for name, value in runner.model.state_dict().items()})
    items = [Item((3, 4, 5, 90, 7), ((6, 8), (9,))), Item((11, 12), ((13,),))]
    with torch.inference_mode():
        stored = runner.store_prefix((1, 2))
        plain = runner.answer_logprobs(items, (1, 2), stored)
        expected = Runner(exact, packing=False).answer_logprobs(items, (1, 2))
        assert use_lean(runner) == "lean modules"
        found = runner.answer_logprobs(items, (1, 2), stored)
    if dtype == torch.float32:
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    else:  # as near to the truth as transformers' and peft's modules in that format
        assert float((found - expected).abs().max()) < 2 * float((plain - expected).abs().max()) + 0.02


@settings(max_examples=25, deadline=None)
@given(
    which=st.sampled_from([1, -1]),
    tiles=st.booleans(),
    items=st.lists(item, min_size=1, max_size=3),
    prefix=st.lists(tokens, max_size=9),
)
def test_in_bfloat16_whole_tiles_and_prompts_alone_are_as_near(
    which: int, tiles: bool, items: list[Item], prefix: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lean, "_has_tiles", lambda: tiles)
        runner = _runner(CONFIGS[which], torch.bfloat16)
        exact = _runner(CONFIGS[which])
        exact.model.load_state_dict({name: value.float() for name, value in runner.model.state_dict().items()})
        with torch.inference_mode():
            stored = runner.store_prefix(prefix)
            plain = runner.logprobs(items, prefix, stored)[0]
            assert use_lean(runner) == "lean modules"
            found = runner.logprobs(items, prefix, stored)[0]
            expected = exact.logprobs(items, prefix)[0]
    assert float((found - expected).abs().max()) < 2 * float((plain - expected).abs().max()) + 0.02


def test_an_adapter_that_is_off_or_partial_is_left_to_transformers() -> None:
    runner = Runner(_adapted(torch.float32), packing=True)
    with runner.model.disable_adapter():  # type: ignore[operator]
        assert "an adapter of another kind" in use_lean(runner)
    assert use_lean(runner) == "lean modules"
    some = Runner(_adapted(torch.float32, ["q_proj", "v_proj"]), packing=True)
    assert "with reordered weights (an adapter of another kind" in use_lean(some)
    items = [Item((3, 4, 5), ((6,),))]
    with torch.inference_mode():
        found = some.answer_logprobs(items)
        some.lean = None
        torch.testing.assert_close(found, some.answer_logprobs(items), atol=1e-4, rtol=1e-4)
