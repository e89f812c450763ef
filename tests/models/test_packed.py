"""Packing is exact: nobody sees a neighbour, and alone or together gives the same numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    FalconH1Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    HyperCLOVAXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    RecurrentGemmaConfig,
)

from metier.errors import MetierError
from metier.models import forward, grid
from metier.models.batching import by_budget, sorted_runs
from metier.models.encode import split_prefix
from metier.models.forward import Runner, vocabulary_logits
from metier.models.load import load_model
from metier.models.packed import Item, build_pack

VOCABULARY = 300
ids = st.integers(0, VOCABULARY - 1)
answers = st.lists(st.lists(ids, min_size=1, max_size=4).map(tuple), min_size=1, max_size=3).map(tuple)
item = st.builds(Item, st.lists(ids, min_size=1, max_size=9).map(tuple), answers)
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def runner(toy_base: Path) -> Runner:
    found = Runner(load_model(toy_base, dtype=torch.float32, device="cpu"))
    assert found.packing, found.why
    return found


@quick
@given(items=st.lists(item, min_size=1, max_size=5), prefix=st.lists(ids, max_size=6))
def test_an_example_does_not_depend_on_its_neighbours(runner: Runner, items: list[Item], prefix: list[int]) -> None:
    together = runner.answer_logprobs(items, prefix)
    alone = torch.cat([runner.answer_logprobs([one], prefix) for one in items])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-5)


@quick
@given(first=item, other=item, third=item, prefix=st.lists(ids, max_size=6))
def test_changing_a_neighbour_changes_nothing(
    runner: Runner, first: Item, other: Item, third: Item, prefix: list[int]
) -> None:
    count = len(first.answers)
    before = runner.answer_logprobs([first, other], prefix)[:count]
    after = runner.answer_logprobs([first, third], prefix)[:count]
    torch.testing.assert_close(before, after, atol=2e-5, rtol=1e-5)


@quick
@given(items=st.lists(item, min_size=1, max_size=4), prefix=st.lists(ids, min_size=1, max_size=6))
def test_packed_equals_padded_and_stored_prefix(runner: Runner, items: list[Item], prefix: list[int]) -> None:
    packed_way = runner.answer_logprobs(items, prefix)
    padded = Runner(runner.model, packing=False).answer_logprobs(items, prefix)
    with torch.inference_mode():
        stored = runner.answer_logprobs(items, prefix, runner.store_prefix(prefix))
    torch.testing.assert_close(packed_way, padded, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(stored, packed_way.detach(), atol=2e-5, rtol=1e-5)


def test_equals_transformers_on_the_whole_string(runner: Runner) -> None:
    prefix, trunk, answer = [5, 6, 7], (8, 9, 10), (11, 12)
    found = runner.answer_logprobs([Item(trunk, (answer,))], prefix)
    with torch.inference_mode():
        logits = runner.model(torch.tensor([[*prefix, *trunk, *answer]])).logits[0].log_softmax(-1)
    expected = logits[5, 11] + logits[6, 12]
    assert abs(float(found[0]) - float(expected)) < 1e-4


def test_gradients_equal_those_of_the_padded_way(runner: Runner) -> None:
    items = [Item((3, 4, 5), ((9, 2),)), Item((7, 8), ((10, 2),))]
    gradients = []
    for packing in (True, False):
        runner.model.zero_grad()
        (-Runner(runner.model, packing=packing).answer_logprobs(items, (1, 6)).sum()).backward()
        gradients.append({n: p.grad.clone() for n, p in runner.model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)


def test_the_fused_kernel_gives_the_same(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Item((3, 4, 5, 6), ((9, 2), (8, 7, 6))), Item((7, 8), ((10,), (4,)))]
    expected = runner.answer_logprobs(items, (1, 6))
    monkeypatch.setattr(grid, "FUSED_FROM", 1)
    torch.testing.assert_close(runner.answer_logprobs(items, (1, 6)), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "packs"),
    [
        (
            Gemma3TextConfig(
                vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, head_dim=8, sliding_window=6,
                layer_types=["sliding_attention", "full_attention"],
            ),
            True,
        ),
        (GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4), True),
        (BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=4), False),
    ],
    ids=["sliding-window", "learned-positions", "alibi"],
)  # fmt: skip
def test_other_architectures_are_exact_or_padded(config: object, packs: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32, device="cpu")
    found = Runner(model)
    assert found.packing is packs, found.why
    items = [Item(tuple(range(10, 22)), ((4, 5), (6,))), Item((7, 8), ((10,),))]
    for some, prefix in ((items, (1, 2, 3, 4)), (items[1:], range(1, 9))):
        expected = Runner(model, packing=False).answer_logprobs(some, prefix)
        torch.testing.assert_close(found.answer_logprobs(some, prefix), expected, atol=1e-4, rtol=1e-4)


def test_a_row_holds_what_must_run_and_what_is_scored_are_the_answers() -> None:
    items = [Item((3, 4, 5), ((6, 7), (8,))), Item((9,), ((10,),))]
    pack = build_pack((1, 2), items)
    assert pack.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 9]]
    assert pack.positions.tolist() == [[0, 1, 2, 3, 4, 5, 2]]
    assert [one.tokens for one in items] == [4, 1]
    assert list(zip(pack.rows.tolist(), pack.targets.tolist(), pack.owner.tolist(), strict=True)) == [
        (4, 6, 0), (5, 7, 0), (4, 8, 1), (6, 10, 2),
    ]  # fmt: skip


@given(items=st.lists(item, min_size=1, max_size=30), budget=st.integers(10, 200))
def test_runs_hold_every_item_once_within_the_budget(items: list[Item], budget: int) -> None:
    for runs in (by_budget(items, budget), sorted_runs(items, budget)):
        assert sorted(i for run in runs for i in run) == list(range(len(items)))
        for run in runs:
            assert len(run) == 1 or len(run) * max(items[i].tokens for i in run) <= budget


@given(items=st.lists(item, min_size=1, max_size=6), head=st.lists(ids, max_size=5).map(tuple))
def test_the_shared_prefix_is_the_longest_that_leaves_a_token(items: list[Item], head: tuple[int, ...]) -> None:
    whole = [Item(head + one.trunk, one.answers) for one in items]
    prefix, bare = split_prefix(whole)
    assert len(prefix) >= len(head)
    assert [prefix + one.trunk for one in bare] == [one.trunk for one in whole]
    assert all(one.trunk for one in bare)


SMALL: dict[str, object] = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2,
}  # fmt: skip
FALCON: dict[str, object] = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}


@pytest.mark.parametrize(
    "config",
    [
        GraniteConfig(**SMALL, logits_scaling=8.0),
        HyperCLOVAXConfig(**SMALL, logits_scaling=0.125),
        FalconH1Config(**SMALL, **FALCON, lm_head_multiplier=0.25),
        RecurrentGemmaConfig(**SMALL, lru_width=32, attention_window_size=16, logits_soft_cap=0.01),
    ],
    ids=lambda config: str(config.model_type),
)
@torch.inference_mode()
def test_logits_are_those_of_the_model_itself(config: LlamaConfig) -> None:
    torch.manual_seed(0)
    causal = AutoModelForCausalLM.from_config(config).eval()
    forward.refuse_unknown_logits(causal)
    rows = torch.tensor([[3, 5, 8, 13]])
    found = vocabulary_logits(causal, causal.get_decoder()(input_ids=rows, use_cache=False).last_hidden_state)
    torch.testing.assert_close(found, causal(input_ids=rows, use_cache=False).logits)


def test_a_model_that_puts_something_unknown_on_its_logits_is_refused() -> None:
    class Odd(LlamaForCausalLM):
        def forward(self, *args: object, **kwargs: object) -> object:
            found = super().forward(*args, **kwargs)
            found.logits = found.logits * 0.5
            return found

    torch.manual_seed(0)
    with pytest.raises(MetierError, match="a Odd puts something on its logits that is not known here"):
        Runner(Odd(LlamaConfig(**SMALL)))


def test_many_answers_of_a_padded_model_run_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    causal = BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=1, n_head=2)).eval()
    runner, seen = Runner(causal), list[int]()
    assert not runner.packing
    items = [Item((5, 6, 7, number), tuple((8, answer) for answer in range(40))) for number in range(3)]
    with torch.inference_mode():
        whole = runner.answer_logprobs(items, [1, 2])
    monkeypatch.setattr(forward, "PADDED_AT_ONCE", 64)
    causal.transformer.register_forward_pre_hook(lambda *a: seen.append(a[2]["input_ids"].numel()), with_kwargs=True)
    with torch.inference_mode():
        torch.testing.assert_close(runner.answer_logprobs(items, [1, 2]), whole)
    assert max(seen) <= 64
