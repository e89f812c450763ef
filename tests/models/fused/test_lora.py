"""LoRA computed in one: peft's numbers and gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metier.models.adapters import attach_lora
from metier.models.fused.lora import fuse_lora
from metier.models.load import load_model


def adapted(base: Path, *, dropout: float = 0.0, fused: bool) -> torch.nn.Module:
    model = load_model(base, dtype=torch.float32, device="cpu")
    model = attach_lora(model, rank=4, alpha=12, dropout=dropout, targets="all", seed=1)
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    for module in model.modules():
        module.__dict__.pop("forward", None)
    if fused:
        fuse_lora(model)
    return model.eval()


def test_values_and_gradients_are_those_of_peft(toy_base: Path) -> None:
    ids = torch.tensor([[1, 5, 9, 30, 31, 2], [1, 7, 8, 9, 10, 2]])
    found = []
    for fused in (False, True):
        model = adapted(toy_base, fused=fused)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        found.append((loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    (plain, expected), (quick, gradients) = found
    torch.testing.assert_close(quick, plain, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == expected.keys()
    assert all("lora_" in name for name in gradients)
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("dropout", "count"), [(0.0, 14), (0.1, 0)])
def test_only_plain_layers_are_fused(toy_base: Path, dropout: float, count: int) -> None:
    model = adapted(toy_base, dropout=dropout, fused=True)
    assert sum("forward" in module.__dict__ for module in model.modules()) == count


def test_switching_the_adapter_off_still_works(toy_base: Path) -> None:
    model, ids = adapted(toy_base, fused=True), torch.tensor([[1, 5, 9, 30]])
    bare = load_model(toy_base, dtype=torch.float32, device="cpu")
    with torch.inference_mode(), model.disable_adapter():  # type: ignore[operator]
        torch.testing.assert_close(model(input_ids=ids).logits, bare(input_ids=ids).logits)
    assert not torch.allclose(model(input_ids=ids).logits, bare(input_ids=ids).logits)
