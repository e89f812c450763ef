"""Our log-likelihoods are lm-eval's: the same rendered strings, the same numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metier.errors import MetierError
from metier.evaluation.scoring import score
from metier.models.bases import resolve
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.models.packed import Item
from metier.tasks import Task, load_task, names
from tests.toy import make_base, sentences


def harness(base: Path) -> Any:
    """lm-eval's ``HFLM`` in float32."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return HFLM(pretrained=model, tokenizer=load_tokenizer(base), device="cpu", batch_size=4, add_bos_token=False)


def check(base: Path, encoder: Encoder, rows: list[tuple[dict[str, str], list[str]]]) -> None:
    from lm_eval.api.instance import Instance

    theirs, runner = harness(base), Runner(load_model(base, dtype=torch.float32, device="cpu"))
    items = [encoder.choice_item(inputs, choices) for inputs, choices in rows]
    lead = "" if encoder.tokenizer.chat_template else " "
    pairs = [(encoder.render(inputs), lead + choice) for inputs, choices in rows for choice in choices]
    # the prompt's own tokens, as they are trained, scored and served
    ids = [(list(item.trunk), list(answer)) for item in items for answer in item.answers]
    asked = [(pair, *both) for pair, both in zip(pairs, ids, strict=True)]
    expected = [value for value, _ in theirs._loglikelihood_tokens(asked, disable_tqdm=True)]
    found = np.concatenate(score(runner, items).logprobs)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    # the rendered strings: lm-eval cuts them itself, and moves white space at the prompt's end (the line end of a chat
    # template) into the answer, which adds the same number to every label of a prompt
    cut = [theirs._encode_pair(*pair) for pair in pairs]
    found = np.concatenate(score(runner, [Item(tuple(a), (tuple(b),)) for a, b in cut]).logprobs)
    strings = [Instance(request_type="loglikelihood", doc={}, arguments=p, idx=n) for n, p in enumerate(pairs)]
    expected = [value for value, _ in theirs.loglikelihood(strings, disable_tqdm=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize(
    "labels",
    [["positive", "neutral", "negative"], ["up", "up a lot", "down by very much"], ["yes", "no"]],
    ids=["words", "one begins another", "short"],
)
def test_equal_to_lm_eval_on_the_toy_base(tmp_path: Path, chat: bool, labels: list[str]) -> None:
    base = make_base(tmp_path / "base", chat=chat)
    task = Task.model_validate(
        {"name": "t", "version": 1, "kind": "classification", "title": "t", "labels": labels,
         "template": {"instruction": "How is it?", "input": "{text}"}}
    )  # fmt: skip
    encoder = Encoder(load_tokenizer(base), task)
    check(base, encoder, [({"text": text}, labels) for text, _ in sentences(12)])


@pytest.mark.real
@pytest.mark.parametrize("name", names())
def test_equal_to_lm_eval_on_the_real_base(name: str) -> None:
    required = os.environ.get("METIER_REQUIRE_DATA")
    try:
        base = resolve("smollm2-135m-instruct")
    except MetierError as error:
        if required:
            raise
        pytest.skip(f"the base is neither cached nor in reach: {error.what}")
    root = os.environ.get("METIER_DATA")
    try:
        loaded = load_task(name, data_root=Path(root) if root else None)
    except MetierError as error:
        if required and Path(str(root)).is_dir() and "hub" not in str(error):
            raise
        pytest.skip(f"the data of {name} cannot be had here: {error.what}")
    if loaded.task.kind not in ("classification", "multiple_choice"):
        pytest.skip(f"{name} has no candidates to score: its kind is {loaded.task.kind}")
    chosen = sorted(loaded.examples, key=lambda e: len(e.text))[len(loaded.examples) // 2 :][:3]
    encoder = Encoder(load_tokenizer(base.path), loaded.task)
    check(base.path, encoder, [(dict(e.inputs), list(e.choices or loaded.task.labels)) for e in chosen])
