"""Written answers: a batch with a shared prefix and padding writes what each prompt alone would."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from metier.errors import MetierError
from metier.models import generate as module
from metier.models.forward import Runner
from metier.models.generate import Written, generate
from metier.models.load import load_model, load_tokenizer
from metier.models.packed import Item
from metier.models.vocabulary_loss import next_token_loss
from tests.toy import sentences, write_tokenizer

END = 2
NEVER = 0  # a token that these models do not happen to write


@pytest.fixture(scope="module")
def tokenizer(toy_base: Path) -> Any:
    return load_tokenizer(toy_base)


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A base whose weights are so large that it does not repeat one token."""
    folder = tmp_path_factory.mktemp("wild")
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def runner(wild: Path) -> Runner:
    return Runner(load_model(wild, dtype=torch.float32, device="cpu"))


@pytest.fixture(scope="module")
def prompts(tokenizer: Any) -> list[tuple[int, ...]]:
    texts = [text + " and so on" * (number % 4) for number, (text, _) in enumerate(sentences(15, seed=3))]
    return [tuple(tokenizer.encode(f"Say what follows from this: {text}")) for text in texts]


def write(runner: Runner, tokenizer: Any, prompts: list[tuple[int, ...]], **more: Any) -> list[Written]:
    return generate(runner, tokenizer, prompts, **{"ends": [END], "max_new_tokens": 12, **more})


def by_hand(model: torch.nn.Module, prompt: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Greedy decoding in its plainest form: the whole text again for every token."""
    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) < len(prompt) + count:
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == END:
                break
            ids.append(token)
    return tuple(ids[len(prompt) :])


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("budget", [1, 200, 4096])
def test_a_batch_writes_what_each_prompt_alone_would(
    runner: Runner, tokenizer: Any, prompts: list[tuple[int, ...]], wild: Path, share_prefix: bool, budget: int
) -> None:
    plain = AutoModelForCausalLM.from_pretrained(wild, dtype=torch.float32).eval()
    found = write(runner, tokenizer, prompts, share_prefix=share_prefix, budget=budget)
    assert [w.ids for w in found] == [by_hand(plain, prompt, 12) for prompt in prompts]
    assert len({len(p) for p in prompts}) > 5
    assert len({token for w in found for token in w.ids}) > 30
    assert all(w.text == tokenizer.decode(w.ids, skip_special_tokens=True) for w in found)


def other(kind: str, size: int) -> torch.nn.Module:
    torch.manual_seed(1)
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=128, initializer_range=0.5)
        )
    if kind == "bloom":
        return BloomForCausalLM(
            BloomConfig(vocab_size=size, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.5)
        )
    if kind == "gemma3":
        return Gemma3ForCausalLM(
            Gemma3TextConfig(
                vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
                num_key_value_heads=1, head_dim=8, sliding_window=8, initializer_range=0.3,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            )
        )  # fmt: skip
    return MistralForCausalLM(
        MistralConfig(vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                      num_attention_heads=4, num_key_value_heads=2, sliding_window=8, initializer_range=0.3)
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["gpt2", "bloom", "mistral", "gemma3"])
def test_learned_positions_alibi_and_sliding_windows(tmp_path: Path, prompts: list[tuple[int, ...]], kind: str) -> None:
    tokenizer = write_tokenizer(tmp_path)
    other(kind, len(tokenizer)).save_pretrained(tmp_path)
    runner = Runner(load_model(tmp_path, dtype=torch.float32, device="cpu"))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    found = write(runner, tokenizer, prompts)
    assert [w.ids for w in found] == [by_hand(plain, prompt, 12) for prompt in prompts]
    assert len({token for w in found for token in w.ids}) > 5
    assert runner.packing == (kind != "bloom")


def test_learned_positions_end_the_answer_or_the_attempt(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path)
    other("gpt2", len(tokenizer)).save_pretrained(tmp_path)
    runner = Runner(load_model(tmp_path, dtype=torch.float32, device="cpu"))
    [found] = write(runner, tokenizer, [(5,) * 125], ends=[NEVER])
    assert len(found.ids) == 3
    assert not found.ended
    with pytest.raises(MetierError, match="no room for an answer"):
        write(runner, tokenizer, [(5,) * 128])


def test_the_toy_base_too(toy_base: Path, tokenizer: Any, prompts: list[tuple[int, ...]]) -> None:
    runner = Runner(load_model(toy_base, dtype=torch.float32, device="cpu"))
    plain = AutoModelForCausalLM.from_pretrained(toy_base, dtype=torch.float32).eval()
    assert [w.ids for w in write(runner, tokenizer, prompts)] == [by_hand(plain, prompt, 12) for prompt in prompts]


def test_it_stops_before_an_end_token_and_says_whether_there_was_one(
    runner: Runner, tokenizer: Any, prompts: list[tuple[int, ...]]
) -> None:
    [free] = write(runner, tokenizer, prompts[:1], ends=[NEVER])
    assert (len(free.ids), free.ended) == (12, False)
    place = next(i for i, token in enumerate(free.ids) if i and token not in free.ids[:i])
    [stopped] = write(runner, tokenizer, prompts[:1], ends=[free.ids[place], END])
    assert stopped.ended
    assert stopped.ids == free.ids[:place]


def test_settings_that_the_base_carries_do_not_count(
    runner: Runner, tokenizer: Any, prompts: list[tuple[int, ...]]
) -> None:
    model = runner.model
    plain, own = write(runner, tokenizer, prompts), model.generation_config
    model.generation_config = GenerationConfig(repetition_penalty=9.0, do_sample=True, temperature=3.0, min_length=400)
    try:
        assert write(runner, tokenizer, prompts) == plain
        assert model.generation_config.repetition_penalty == 9.0
    finally:
        model.generation_config = own


def test_sampling_is_seeded_and_does_not_depend_on_the_batch(
    runner: Runner, tokenizer: Any, prompts: list[tuple[int, ...]]
) -> None:
    first = write(runner, tokenizer, prompts, temperature=1.0, seed=7)
    assert first == write(runner, tokenizer, prompts, temperature=1.0, seed=7)
    assert first == write(runner, tokenizer, prompts, temperature=1.0, seed=7, budget=1)
    assert first != write(runner, tokenizer, prompts, temperature=1.0, seed=8)
    assert write(runner, tokenizer, prompts, temperature=1e-6) == write(runner, tokenizer, prompts)


def test_several_samples_of_one_prompt_have_seeds_of_their_own(
    runner: Runner, tokenizer: Any, prompts: list[tuple[int, ...]]
) -> None:
    same = [prompts[0]] * 4
    drawn = write(runner, tokenizer, same, temperature=1.0, seeds=[5, 6, 7, 5])
    assert drawn[0] == drawn[3]
    assert len({written.ids for written in drawn}) == 3
    assert write(runner, tokenizer, [prompts[3], prompts[0]], temperature=1.0, seeds=[1, 6])[1] == drawn[1]


def test_a_prompt_is_read_once_for_all_its_samples(
    runner: Runner, tokenizer: Any, prompts: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [write(runner, tokenizer, [p], temperature=1.0, seeds=[s])[0] for s in range(3) for p in prompts[:4]]
    read: list[tuple[int, ...]] = []
    real = Runner.read
    monkeypatch.setattr(Runner, "read", lambda self, items, *rest: (read.extend(items), real(self, items, *rest))[1])
    many = [p for _ in range(3) for p in prompts[:4]]
    assert write(runner, tokenizer, many, temperature=1.0, seeds=[s for s in range(3) for _ in range(4)]) == alone
    assert len(read) == 4
    read.clear()  # uneven numbers of samples
    some = [0, 1, 1, 3, 4, 5, 9]
    assert write(runner, tokenizer, [many[i] for i in some], temperature=1.0, seeds=[i // 4 for i in some]) == [
        alone[i] for i in some
    ]
    assert len(read) == 3


@given(
    st.lists(st.integers(0, 5).map(lambda n: (n,) * (n % 3 + 1)), max_size=30), st.integers(1, 9), st.integers(1, 60)
)
def test_batches_hold_every_text_once_within_the_budget(texts: list[tuple[int, ...]], room: int, budget: int) -> None:
    items = [Item(text, ((0,),)) for text in texts]
    batches = module._batches(items, room, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(texts)))
    for batch in batches:
        cost = sum(map(len, {texts[i] for i in batch})) + room * len(batch)
        assert cost <= budget or len(batch) == 1


def test_sampling_draws_from_the_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    drawn = Counter(int(module._Draw(2.0, [s])(logits, logits).argmax()) for s in range(4000))
    assert drawn == Counter(int(module._Draw(2.0, [s]).choose(logits)) for s in range(4000))
    for token, share in enumerate(torch.softmax(logits[0] / 2, 0).tolist()):
        assert drawn[token] / 4000 == pytest.approx(share, abs=0.03)


def test_progress_counts_every_prompt_once(runner: Runner, tokenizer: Any, prompts: list[tuple[int, ...]]) -> None:
    seen: list[int] = []
    write(runner, tokenizer, prompts, budget=300, progress=seen.append)
    assert sum(seen) == len(prompts)
    assert len(seen) > 1
    assert write(runner, tokenizer, []) == []


class WithoutDoubles(TorchDispatchMode):
    """Refuses what MPS refuses: numbers of 64 bits out of those of a device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        drawn = func in (torch.ops.aten.rand.generator, torch.ops.aten.uniform_.default, torch.ops.aten.stack.default)
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64 and not drawn:
            raise TypeError(f"{func}: the device has no float64")
        return found


def test_a_device_without_doubles_draws_and_learns(monkeypatch: pytest.MonkeyPatch, wild: Path) -> None:
    logits, hidden = torch.randn(3, 50), torch.randn(9, 48, requires_grad=True)
    causal = AutoModelForCausalLM.from_pretrained(wild)
    expected = module._Draw(0.7, [1, 2, 3]).choose(logits)
    loss = next_token_loss(causal, hidden, torch.arange(9))
    for place in ("metier.models.generate.widest", "metier.models.vocabulary_loss.widest"):
        monkeypatch.setattr(place, lambda device: torch.float32)
    with WithoutDoubles():
        assert torch.equal(module._Draw(0.7, [1, 2, 3]).choose(logits), expected)
        torch.testing.assert_close(next_token_loss(causal, hidden, torch.arange(9)), loss)
