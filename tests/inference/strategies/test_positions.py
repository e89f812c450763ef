"""A base with a learned table of positions: long options fit behind the prompt, whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from metier.errors import MetierError
from metier.inference.strategies import (
    Loaded,
    Setting,
    Spent,
    ensemble_refinement,
    few_shot,
    self_consistency,
    zero_shot,
)
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import fitting, load_model, load_tokenizer
from metier.models.packed import Item
from metier.tasks import Example, Task, Template
from tests.toy import make_base

TASK = Task(name="long", version=1, kind="multiple_choice", title="Long options", template=Template(input="{text}"))
OPTIONS = ("zq " * 40, "zw " * 40, "no")
LONG = [Example(f"q{n}", {"text": f"Which {n}? " + "word " * 400}, "no", OPTIONS) for n in range(3)]
SHOT = Example("s", {"text": "Which?"}, "no", OPTIONS)
SETTING = Setting(samples=2, tokens=8, temperature=1.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    base = make_base(tmp_path_factory.mktemp("gpt2"), chat=False)
    config = GPT2Config(vocab_size=403, n_embd=32, n_layer=1, n_head=2, n_positions=600)
    GPT2LMHeadModel(config).save_pretrained(base)
    return Loaded(
        Runner(load_model(base, dtype=torch.float32, device="cpu")), load_tokenizer(base), fitting(base, 1024)
    )


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: zero_shot(model, TASK, LONG),
        lambda model: few_shot(model, TASK, LONG, lambda example: [SHOT]),
        lambda model: self_consistency(model, TASK, LONG, SETTING),
        lambda model: ensemble_refinement(model, TASK, LONG, SETTING, second=1),
    ],
    ids=["zero-shot", "few-shot", "self-consistency", "refinement"],
)
def test_long_options_fit_behind_a_long_question(model: Loaded, ask: Callable[[Loaded], Spent]) -> None:
    assert len(model.tokenizer.encode(OPTIONS[0])) > 64
    assert len(ask(model).answered) == 3
    assert model.truncated > 0


@pytest.mark.parametrize("packing", [True, False])
def test_what_does_not_fit_is_refused_in_words(model: Loaded, packing: bool) -> None:
    runner = Runner(model.runner.model, packing=packing)
    fits, more = Item((5,) * 590, ((6,) * 11,)), Item((5,) * 590, ((6,) * 12,))
    assert runner.answer_logprobs([fits]).shape == (1,)
    with pytest.raises(MetierError, match="takes 601 tokens with its answer: this base has 600 positions") as error:
        runner.answer_logprobs([fits, more])
    assert "lower max_tokens by 1 or more" in str(error.value)
    with pytest.raises(MetierError, match="options of 601 tokens leave no room"):
        model.encoder(TASK, answer=601)


def test_rotary_positions_may_be_exceeded_by_what_is_scored(toy_base: Path) -> None:
    loaded = Loaded(Runner(load_model(toy_base, dtype=torch.float32, device="cpu")), load_tokenizer(toy_base), 600)
    encoder: Encoder = loaded.encoder(TASK, answer=100)
    assert encoder.max_tokens == 600
