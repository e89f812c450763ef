"""The loss over the vocabulary without ever holding all logits: a few rows at a time, in float32.

Logits of a batch are the largest tensor of a small model (rows × vocabulary). Here a few rows of them are made,
turned into their own gradient in place, and multiplied into the gradients of hidden states and head at once, so that
forward and backward are three matmuls with nothing kept in between.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metier.models.forward import vocabulary_logits
from metier.models.gradient import call

# Logits held at once, as rows × vocabulary: 8 MB of float32 stay within a processor's cache.
LOGITS_IN_CACHE = 1 << 21


def next_token_loss(causal: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of ``targets``, in nats, float32 whatever format the model runs in.

    Args:
        hidden: ``(rows, hidden)``, after the last norm.
        targets: ``(rows,)``.

    Returns:
        The sum over all rows where gradients are enabled, and ``(rows,)`` where they are not.
    """
    rows = max(1, LOGITS_IN_CACHE // int(causal.config.get_text_config().vocab_size))
    if not torch.is_grad_enabled():
        pieces = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
        return torch.cat([_nats(causal, part, wanted) for part, wanted in pieces])
    if _is_plain(causal):
        loss: Tensor = call(_FusedLoss, hidden, causal.get_output_embeddings().weight, targets, rows)
        return loss
    total = hidden.new_zeros((), dtype=torch.float32)
    for part, wanted in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True):
        total = total + checkpoint(_nats, causal, part, wanted, use_reentrant=False).sum()
    return total


def _nats(causal: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    head = causal.get_output_embeddings()
    plain = hidden.dtype == torch.float32 or not _is_plain(causal)
    logits = vocabulary_logits(causal, hidden) if plain else hidden.float() @ head.weight.float().t()
    return -torch.log_softmax(logits.float(), -1).gather(1, targets[:, None])[:, 0]


def _is_plain(causal: Any) -> bool:
    """Whether logits are one matmul: no bias, no scale, no cap."""
    config = causal.config.get_text_config()
    put_on = ("logit_scale", "logits_scaling", "final_logit_softcapping")
    return causal.get_output_embeddings().bias is None and not any(getattr(config, name, None) for name in put_on)


class _FusedLoss(torch.autograd.Function):
    """Summed cross-entropy of ``softmax(hidden · weightᵀ)``; its gradients are made with the loss."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        head = weight.float()
        to_hidden = torch.empty_like(hidden)
        to_head = torch.zeros_like(head) if weight.requires_grad else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for start in range(0, len(hidden), rows):
            part, wanted = hidden[start : start + rows].float(), targets[start : start + rows, None]
            logits = part @ head.t()
            aimed = logits.gather(1, wanted)
            highest, place = logits.max(1, keepdim=True)
            gradient = torch.softmax(logits, 1)
            # log of the softmax's denominator, from its largest term: never a logarithm of nothing
            total += (highest - gradient.gather(1, place).log() - aimed).sum(dtype=torch.float64)
            gradient.scatter_add_(1, wanted, gradient.new_full((1, 1), -1.0).expand_as(wanted))
            to_hidden[start : start + rows] = gradient @ head
            if to_head is not None:
                to_head.addmm_(gradient.t(), part)
        ctx.save_for_backward(to_hidden, to_head)
        ctx.dtype = weight.dtype
        return total.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        to_hidden, to_head = ctx.saved_tensors
        (scale,) = gradients
        return to_hidden * scale, None if to_head is None else (to_head * scale).to(ctx.dtype), None, None
