"""Scores and bits on a device without doubles, which MPS is: made double on the processor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from metier.evaluation.perplexity import sliding_bits
from metier.evaluation.scoring import score
from metier.models.packed import Item


class OnDevice(torch.Tensor):
    def double(self, *_: Any) -> Any:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")

    def cpu(self, *_: Any) -> Any:
        return self.as_subclass(torch.Tensor)


def test_scores_are_made_double_on_the_processor() -> None:
    runner: Any = SimpleNamespace(
        soft_tokens=0,
        store_prefix=lambda shared: None,
        answer_logprobs=lambda batch, *_: torch.full((2 * len(batch),), -0.5).as_subclass(OnDevice),
    )
    found = score(runner, [Item((1, 2), ((3,), (4,))), Item((1, 5, 6), ((3,), (4,)))])
    assert [values.tolist() for values in found.logprobs] == [[-0.5, -0.5], [-0.5, -0.5]]
    assert found.logprobs[0].dtype == np.float64


def test_bits_are_made_double_on_the_processor() -> None:
    class Model:
        causal = torch.nn.Identity()

        def parameters(self) -> Any:
            return iter([torch.zeros(1)])

        def __call__(self, grid: torch.Tensor) -> torch.Tensor:
            return torch.full((len(grid), grid.shape[1] - 1), np.log(2)).as_subclass(OnDevice)

    model: Any = Model()
    assert sliding_bits(model, [np.array([1, 2, 3])], begin=0, window=8).round(6).tolist() == [3.0]
