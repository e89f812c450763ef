"""A soft prompt, however it is run, gives what plain peft gives for each prompt alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig

from metier.errors import MetierError
from metier.evaluation.scoring import score
from metier.inference.bundle import write_bundle
from metier.inference.engines.fastest import use_lean
from metier.models.adapters import load_adapter
from metier.models.bases import resolve
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.generate import generate
from metier.models.load import fitting, load_model, load_tokenizer, parameters
from metier.models.packed import Item
from metier.models.soft_prompt import attach_prompt, soft_prompt
from metier.training.prompts import accumulate
from tests.models.test_encode import task
from tests.models.test_peft_roundtrip import LABELS
from tests.models.test_peft_roundtrip import TEXTS as MANY
from tests.toy import make_base

LIMITS = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
LENGTH = 7
TEXTS = MANY[:8]


def attached(base: Path, dtype: torch.dtype = torch.float32, **options: Any) -> tuple[Any, Encoder]:
    encoder = Encoder(load_tokenizer(base), task(*LABELS))
    model = load_model(base, dtype=dtype, device="cpu")
    chosen = {"length": LENGTH, "start": "uniform", "spread": 1.5, "seed": 3} | options
    return attach_prompt(model, encoder.tokenizer, **chosen).eval(), encoder


def saved(base: Path, folder: Path, dtype: torch.dtype) -> Encoder:
    """A soft prompt with values that are far from any token's, saved as a run saves it."""
    model, encoder = attached(base, dtype)
    write_bundle(folder, model, encoder, resolve(str(base)), str(dtype).removeprefix("torch."), method="prompt")
    return encoder


def label_logprobs(model: Any, encoder: Encoder) -> np.ndarray:
    """The plain way: one text and one label at a time, the whole string through the model; ``(texts, labels)``."""
    found = []
    for text in TEXTS:
        item = encoder.choice_item({"text": text}, LABELS)
        for answer in item.answers:
            with torch.inference_mode():
                logits = model(torch.tensor([[*item.trunk, *answer]])).logits[0, -len(answer) - 1 : -1]
            found.append(float(logits.float().log_softmax(-1)[range(len(answer)), list(answer)].sum()))
    return np.array(found).reshape(len(TEXTS), len(LABELS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
def test_plain_peft_answers_as_we_do(toy_base: Path, tmp_path: Path, dtype: torch.dtype, packing: bool) -> None:
    encoder = saved(toy_base, tmp_path / "s", dtype)
    base = AutoModelForCausalLM.from_pretrained(toy_base, dtype=dtype)
    without = label_logprobs(base, encoder)
    plain = label_logprobs(PeftModel.from_pretrained(base, tmp_path / "s").eval(), encoder)
    assert np.abs(plain - without).max() > 3 * LIMITS[dtype]  # the soft prompt does something
    ours = Runner(load_adapter(load_model(toy_base, dtype=dtype, device="cpu"), tmp_path / "s"), packing=packing)
    items = [encoder.choice_item({"text": text}, LABELS) for text in TEXTS]
    found = np.stack(score(ours, items).logprobs)
    each = np.array([[len(answer) for answer in item.answers] for item in items])
    gap = np.abs((found - plain) / each).max()
    print(f"{dtype}: largest difference {gap:.1e} nats a token")
    assert gap <= LIMITS[dtype]
    alone = np.stack([score(ours, [item], prefix=()).logprobs[0] for item in items[:4]])  # nothing but it is shared
    assert np.abs((alone - plain[:4]) / each[:4]).max() <= LIMITS[dtype]


def test_packing_is_found_exact_and_lean_modules_agree(toy_base: Path) -> None:
    model, encoder = attached(toy_base)
    runner = Runner(model)
    assert runner.packing
    items = [encoder.choice_item({"text": text}, LABELS) for text in TEXTS]
    expected = np.stack(score(runner, items).logprobs)
    assert use_lean(runner) == "lean modules"
    assert np.abs(np.stack(score(runner, items).logprobs) - expected).max() < 1e-4


def test_gradients_are_those_of_plain_peft(toy_base: Path) -> None:
    model, encoder = attached(toy_base)
    items = [encoder.training_item({"text": text}, LABELS[i % 3]) for i, text in enumerate(TEXTS[:6])]
    assert parameters(model)[0] == LENGTH * 48
    found = accumulate(Runner(model, packing=True), items[0].trunk[:4],
                       [Item(item.trunk[4:], item.answers) for item in items], budget=4096)  # fmt: skip
    weight = soft_prompt(model)
    assert weight is not None
    assert weight.grad is not None
    packed = weight.grad.clone()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == [
        "prompt_encoder.default.embedding.weight"
    ]
    weight.grad = None
    nats, count = torch.zeros(()), 0
    for item in items:
        ids = torch.tensor([[*item.trunk, *item.answers[0]]])
        labels = torch.full_like(ids, -100)
        labels[0, len(item.trunk) :] = ids[0, len(item.trunk) :]
        nats = nats + model(ids, labels=labels).loss * len(item.answers[0])
        count += len(item.answers[0])
    (nats / count).backward()  # type: ignore[no-untyped-call]
    assert found == pytest.approx(float(nats.detach()) / count, rel=1e-5)
    torch.testing.assert_close(packed, weight.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("share", [True, False], ids=["stored", "not stored"])
def test_it_writes_what_plain_peft_writes(toy_base: Path, share: bool) -> None:
    model, encoder = attached(toy_base)
    runner = Runner(model)
    prompts = [encoder.prompt({"text": text}) for text in (TEXTS[0], TEXTS[1] + " and more of it", "a")]
    found = generate(runner, encoder.tokenizer, prompts, ends=[2], max_new_tokens=6, share_prefix=share)
    for prompt, written in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt])
        config = GenerationConfig(do_sample=False, max_new_tokens=6, eos_token_id=2, pad_token_id=0)
        plain = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        assert tuple(t for t in plain[0, len(prompt) :].tolist() if t not in (0, 2)) == written.ids


def test_it_begins_as_asked(toy_base: Path) -> None:
    def first(**options: Any) -> torch.Tensor:
        model, _ = attached(toy_base, **options)
        weight = soft_prompt(model)
        assert weight is not None
        return weight.detach()

    tokenizer = load_tokenizer(toy_base)
    table = load_model(toy_base, dtype=torch.float32, device="cpu").get_input_embeddings().weight.detach()
    ids = tokenizer.encode("profit", add_special_tokens=False)
    assert len(ids) < 20
    assert torch.equal(first(start="text", text="profit", length=20), table[(ids * 20)[:20]])
    drawn = first(start="vocabulary", length=300)
    places = [int((table == row).all(1).nonzero()[0, 0]) for row in drawn]
    assert not set(places) & set(tokenizer.all_special_ids)
    assert len(set(places)) > 100
    spread = first(start="uniform", spread=0.25, length=200)
    assert 0.24 < float(spread.abs().max()) <= 0.25
    assert torch.equal(spread, first(start="uniform", spread=0.25, length=200))
    assert not torch.equal(spread, first(start="uniform", spread=0.25, length=200, seed=4))
    with pytest.raises(MetierError, match="without a token"):
        first(start="text", text="")


def test_a_table_of_positions_is_shared_with_the_text(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    base = make_base(tmp_path / "base")
    GPT2LMHeadModel(GPT2Config(vocab_size=403, n_embd=32, n_layer=2, n_head=2, n_positions=128)).save_pretrained(base)
    assert fitting(base, 1024) == 96
    assert fitting(base, 1024, taken=20) == 76
    with pytest.raises(MetierError, match="128 positions"):
        fitting(base, 1024, taken=100)
    model, encoder = attached(base)
    items = [encoder.choice_item({"text": text}, LABELS) for text in TEXTS[:3]]
    found = np.stack(score(Runner(model), items).logprobs)
    assert np.abs(found - label_logprobs(model, encoder)[:3]).max() < 1e-4
