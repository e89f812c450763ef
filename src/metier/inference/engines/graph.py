"""The specialist as one graph from token ids to label probabilities, for engines that compile graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache

from metier.inference.engines import Prompt
from metier.models.forward import Stored, scale_logits, vocabulary_logits
from metier.models.layers import causal_model

HIDDEN = -1e9  # added to the attention score of what a token must not see


class LabelScorer(nn.Module):
    """Label probabilities behind a fixed prefix, with plain tensors in and out and nothing else to know.

    A row is ``trunk | branches``: what follows the prefix in one prompt, padded on the left, then the tokens of
    all labels but their last, which are the same for every prompt. A branch sees the prefix, the trunk and itself.
    With labels of one token there is no branch, and only the labels' rows of the vocabulary are computed.

    Args:
        model: a transformers causal language model whose attention takes an additive mask.
        stored: keys and values of the prefix a layer, ``(kv_heads, prefix, head_dim)``.
        answers: token ids of the labels.
    """

    branch_ids: Tensor
    branch_offsets: Tensor
    branch_sees: Tensor
    rows: Tensor
    targets: Tensor
    sums: Tensor
    label_weights: Tensor
    label_bias: Tensor | None

    def __init__(self, model: nn.Module, stored: Stored, answers: Sequence[Prompt]) -> None:
        super().__init__()
        self.model: Any = causal_model(model)
        self.layers = len(stored)
        self.prefix = stored[0][0].shape[1] if stored else 0
        for layer, (keys, values) in enumerate(stored):
            self.register_buffer(f"keys_{layer}", keys[None].clone())
            self.register_buffer(f"values_{layer}", values[None].clone())
        branches = [(number, at, token) for number, a in enumerate(answers) for at, token in enumerate(a[:-1])]
        owners, offsets, tokens = (torch.tensor([b[i] for b in branches], dtype=torch.long) for i in range(3))
        self.branches = len(branches)
        self.register_buffer("branch_ids", tokens[None])
        self.register_buffer("branch_offsets", offsets[None])
        self.register_buffer("branch_sees", (owners[:, None] == owners) & (offsets[:, None] >= offsets))
        rows, targets, owner = _scored(answers)
        self.register_buffer("rows", torch.tensor(rows))
        self.register_buffer("targets", torch.tensor(targets))
        self.register_buffer("sums", F.one_hot(torch.tensor(owner), len(answers)).float())
        head = self.model.get_output_embeddings()
        # taken out here: a compiled graph might make the whole vocabulary dense again to pick its rows
        self.register_buffer("label_weights", head.weight[self.targets].detach().clone())
        self.register_buffer("label_bias", None if head.bias is None else head.bias[self.targets].detach().clone())

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """``ids (batch, time)`` padded on the left, ``lengths (batch,)`` → ``(batch, labels)`` natural logs."""
        count, time = ids.shape
        pad = time - lengths[:, None]
        positions = (torch.arange(time)[None] - pad).clamp(min=0)
        see = _trunk_sees(time, pad)
        if self.branches:
            ids = torch.cat([ids, self.branch_ids.expand(count, -1)], 1)
            positions = torch.cat([positions, lengths[:, None] + self.branch_offsets], 1)
            see = self._with_branches(see, torch.arange(time)[None] >= pad)
        whole = torch.cat([torch.ones(count, see.shape[1], self.prefix, dtype=torch.bool), see], 2)
        output = self.model.get_decoder()(
            input_ids=ids,
            position_ids=positions + self.prefix,
            attention_mask=torch.where(whole, 0.0, HIDDEN)[:, None],
            past_key_values=_Baked(self),
            use_cache=True,
        )
        hidden = output.last_hidden_state[:, -(1 + self.branches) :]
        return torch.log_softmax(self._likelihoods(hidden), -1)

    def _with_branches(self, see: Tensor, real: Tensor) -> Tensor:
        """Extend who sees whom, ``(batch, time, time)``, by the branches; ``real (batch, time)`` is not padding."""
        count, time = real.shape
        above = torch.cat([see, torch.zeros(count, time, self.branches, dtype=torch.bool)], 2)
        among: Tensor = self.branch_sees[None].expand(count, -1, -1)
        below = torch.cat([real[:, None].expand(-1, self.branches, -1), among], 2)
        return torch.cat([above, below], 1)

    def _likelihoods(self, hidden: Tensor) -> Tensor:
        """``(batch, 1 + branches, hidden)`` → log-likelihood of each label up to a constant, ``(batch, labels)``."""
        if not self.branches:
            return scale_logits(self.model, F.linear(hidden[:, 0], self.label_weights, self.label_bias))
        logprobs = torch.log_softmax(vocabulary_logits(self.model, hidden), -1)
        places = self.rows * logprobs.shape[2] + self.targets
        return torch.index_select(logprobs.flatten(1), 1, places) @ self.sums


class _Baked(DynamicCache):  # type: ignore[misc]
    """A cache that puts the prefix's constants before each layer's keys and values, and keeps nothing."""

    def __init__(self, scorer: LabelScorer) -> None:
        super().__init__()
        self.scorer = scorer

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.scorer.prefix

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.scorer.prefix:
            return keys, values
        old = (getattr(self.scorer, f"{kind}_{layer_idx}").expand(keys.shape[0], -1, -1, -1) for kind in _KINDS)
        before_keys, before_values = old
        return torch.cat([before_keys, keys], 2), torch.cat([before_values, values], 2)


_KINDS = ("keys", "values")


def _trunk_sees(time: int, pad: Tensor) -> Tensor:
    at = torch.arange(time)
    return (at[None, :, None] >= at[None, None, :]) & (at[None, None, :] >= pad[:, :, None])


def _scored(answers: Sequence[Prompt]) -> tuple[list[int], list[int], list[int]]:
    """For each answer token: the state that predicts it (0: the trunk's end), the token, its answer."""
    rows: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    start = 1
    for number, answer in enumerate(answers):
        rows += [0, *range(start, start + len(answer) - 1)]
        targets += answer
        owner += [number] * len(answer)
        start += len(answer) - 1
    return rows, targets, owner
