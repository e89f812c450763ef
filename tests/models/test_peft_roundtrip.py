"""An adapter written by us and loaded by plain peft answers alike, in both number formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from metier.evaluation.scoring import score
from metier.inference.bundle import read_bundle, write_bundle
from metier.models.adapters import attach_lora, load_adapter
from metier.models.bases import resolve
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from tests.models.test_encode import task
from tests.toy import sentences

TEXTS = [text for text, _ in sentences(20, seed=4)]
LABELS = ["up", "up strongly", "goes down"]
LIMITS = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def written(base: Path, folder: Path, dtype: torch.dtype) -> tuple[Any, Encoder]:
    """An adapter whose every weight differs from zero, saved as a run saves it."""
    model = load_model(base, dtype=dtype, device="cpu")
    model = attach_lora(model, rank=4, alpha=8, dropout=0.0, targets="all", seed=3)
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = (torch.randn(parameter.shape) * 0.5).to(parameter.dtype)
    encoder = Encoder(load_tokenizer(base), task(*LABELS))
    write_bundle(folder, model, encoder, resolve(str(base)), str(dtype).removeprefix("torch."), method="lora")
    return model.eval(), encoder


def label_logprobs(model: Any, encoder: Encoder) -> np.ndarray:
    """The plain way: one example and one label at a time, the whole string through the model; ``(texts, labels)``."""
    found = []
    for text in TEXTS:
        item = encoder.choice_item({"text": text}, LABELS)
        for answer in item.answers:
            ids = [*item.trunk, *answer]
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0, len(item.trunk) - 1 : -1].float().log_softmax(-1)
            found.append(float(logits[range(len(answer)), list(answer)].sum()) / len(answer))
    return np.array(found).reshape(len(TEXTS), len(LABELS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_plain_peft_answers_as_we_do(toy_base: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    _, encoder = written(toy_base, tmp_path / "s", dtype)
    ours = load_adapter(load_model(toy_base, dtype=dtype, device="cpu"), tmp_path / "s")
    items = [encoder.choice_item({"text": text}, LABELS) for text in TEXTS]
    scored = score(Runner(ours), items).logprobs
    packed = np.array([[v / len(a) for v, a in zip(row, i.answers, strict=True)]
                       for row, i in zip(scored, items, strict=True)])  # fmt: skip
    base = AutoModelForCausalLM.from_pretrained(toy_base, dtype=dtype)
    untouched = label_logprobs(base, encoder)
    plain = label_logprobs(PeftModel.from_pretrained(base, tmp_path / "s").eval(), encoder)
    assert np.abs(plain - untouched).max() > 3 * LIMITS[dtype]  # the adapter does something
    # between labels: what decides, free of what all labels share
    gap = np.abs((packed - packed[:, :1]) - (plain - plain[:, :1])).max()
    print(f"{dtype}: largest difference {gap:.1e} nats a token")
    assert gap <= LIMITS[dtype]


def test_what_is_loaded_is_what_was_saved(toy_base: Path, tmp_path: Path) -> None:
    model, _ = written(toy_base, tmp_path / "s", torch.bfloat16)
    again = load_adapter(load_model(toy_base, dtype=torch.bfloat16, device="cpu"), tmp_path / "s")
    saved, loaded = ({n: p for n, p in m.named_parameters() if "lora_" in n} for m in (model, again))
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_the_same_weights_give_the_same_bytes(toy_base: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        written(toy_base, tmp_path / name, torch.float32)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"adapter_config.json", "adapter_model.safetensors", "template.json", "tokenizer.json"} <= set(names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert read_bundle(tmp_path / "one").task.labels == LABELS
