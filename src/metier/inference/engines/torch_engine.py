"""Label probabilities by torch: the reference for every other engine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from metier.inference.bundle import Bundle, base_path
from metier.inference.engines import Prompt, fixed_prefix
from metier.inference.engines.fastest import use_lean
from metier.models.adapters import ADAPTERS, load_adapter
from metier.models.batching import sorted_runs
from metier.models.device import DTYPES
from metier.models.encode import Encoder
from metier.models.forward import Runner, Stored
from metier.models.load import load_model
from metier.models.packed import Item


def load_runner(bundle: Bundle, *, device: str, dtype: str, offline: bool = False) -> Runner:
    """The specialist's model, ready to run.

    Adapters are merged into the weights in float32 only: the sums then differ by rounding alone (about 2e-5 nats
    on a base of 135M parameters), while in 16 bits the merged weights would lose most of what a small update says. A
    soft prompt cannot be merged: its keys and values are stored with those of the prompt's prefix.

    Errors: :class:`MetierError` when the base is another one or the weights do not fit.
    """
    if bundle.method == "none":
        return Runner(load_model(base_path(bundle, offline), dtype=DTYPES[dtype], device=device))
    if bundle.method not in ADAPTERS:
        return Runner(load_model(bundle.folder, dtype=DTYPES[dtype], device=device))
    model = load_adapter(load_model(base_path(bundle, offline), dtype=DTYPES[dtype], device=device), bundle.folder)
    if dtype == "float32" and bundle.method == "lora":
        model = model.merge_and_unload()
    return Runner(model)


class TorchEngine:
    """Runs the model itself, the keys and values of the fixed prompt prefix computed once.

    ``about`` says whether by transformers' modules and why, or by leaner ones that gave the same on a trial.
    """

    name = "torch"

    def __init__(self, runner: Runner, encoder: Encoder) -> None:
        self.runner, self.encoder = runner, encoder
        dtype = str(next(runner.model.parameters()).dtype).removeprefix("torch.")
        self.about = f"{dtype} on {runner.device.type}, {use_lean(runner)}"

    @cached_property
    def answers(self) -> tuple[Prompt, ...]:
        """Token ids of the labels."""
        return self.encoder.choices(self.encoder.task.labels)

    @cached_property
    def prefix(self) -> Prompt:
        """Token ids that prompts begin with."""
        return fixed_prefix(self.encoder)

    @cached_property
    def stored(self) -> Stored | None:
        """Keys and values of :attr:`prefix`."""
        return self.runner.store_prefix(self.prefix)

    @torch.inference_mode()
    def label_logprobs(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """As :meth:`Engine.label_logprobs`; a prompt that begins in another way is run whole."""
        result = np.empty((len(prompts), len(self.answers)))
        cut = len(self.prefix)
        usual = [i for i, prompt in enumerate(prompts) if prompt[:cut] == self.prefix and len(prompt) > cut]
        for members, prefix in ((usual, self.prefix), (sorted(set(range(len(prompts))) - set(usual)), ())):
            items = [Item(tuple(prompts[i][len(prefix) :]), self.answers) for i in members]
            for run in sorted_runs(items, prefix=self.runner.soft_tokens + len(prefix)):
                values = self._run([items[i] for i in run], prefix, self.stored if prefix else None)
                result[[members[i] for i in run]] = values.cpu().double().numpy()  # MPS has no doubles
        return result

    def _run(self, items: Sequence[Item], prefix: Prompt, stored: Stored | None) -> Tensor:
        if all(len(answer) == 1 for answer in self.answers):
            tokens = [answer[0] for answer in self.answers]
            values = self.runner.next_logits(items, tokens, prefix, stored)
        else:
            values = self.runner.answer_logprobs(items, prefix, stored).view(len(items), -1)
        return torch.log_softmax(values, -1)
