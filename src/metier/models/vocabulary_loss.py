"""The loss over the vocabulary without ever holding all logits: a few rows at a time, in float32.

Logits of a batch are the largest tensor of a small model (rows × vocabulary). Here a few rows of them are made and
turned into their own gradient in place; what a few such pieces give is multiplied into the gradients of hidden states
and head, so that forward and backward are three matmuls with nothing kept in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metier.models.device import widest
from metier.models.forward import PUT_ON_LOGITS, vocabulary_logits
from metier.models.gradient import call

# Logits held at once, as rows × vocabulary: 8 MB of float32 stay within a processor's cache.
LOGITS_IN_CACHE = 1 << 21
LOGITS_TO_GRADIENTS = 16  # pieces whose gradients are kept, in the model's format, until they are multiplied together


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
        logits = _logits(causal, hidden.dtype)
        pieces = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
        return torch.cat([_nats(logits(part), wanted) for part, wanted in pieces])
    if _is_plain(causal):
        loss: Tensor = call(_FusedLoss, hidden, causal.get_output_embeddings().weight, targets, rows)
        return loss
    total = hidden.new_zeros((), dtype=torch.float32)
    for part, wanted in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True):
        again = checkpoint(lambda x, y: _nats(vocabulary_logits(causal, x), y), part, wanted, use_reentrant=False)
        total = total + again.sum()
    return total


def _logits(causal: Any, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    if dtype == torch.float32 or not _is_plain(causal):
        return lambda hidden: vocabulary_logits(causal, hidden)
    head = causal.get_output_embeddings().weight.float()
    return lambda hidden: _exact_logits(hidden, head)


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return -torch.log_softmax(logits.float(), -1).gather(1, targets[:, None])[:, 0]


def _is_plain(causal: Any) -> bool:
    """Whether logits are one matmul: no bias, no scale, no cap."""
    config = causal.config.get_text_config()
    head = causal.get_output_embeddings()
    return head.bias is None and not any(getattr(config, name, None) for name in PUT_ON_LOGITS)


def _exact_logits(hidden: Tensor, head: Tensor) -> Tensor:
    """``(rows, vocabulary)`` in float32, of hidden states and a float32 copy of weights in one and the same format.

    bfloat16 numbers go through a processor's bfloat16 units, sums stay in float32: nothing is rounded, so that logits
    are as exact as those of a float32 matmul, which takes 2.5 to 5 times as long.
    """
    matmul = getattr(torch.backends.mkldnn, "matmul", None)  # older releases of torch have none
    if matmul is None or hidden.dtype != torch.bfloat16:
        return hidden.float() @ head.t()
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        return hidden.float() @ head.t()
    finally:
        matmul.fp32_precision = before


class _FusedLoss(torch.autograd.Function):
    """Summed cross-entropy of ``softmax(hidden · weightᵀ)``; its gradients are made with the loss."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        head, at_once = weight.float(), rows * LOGITS_TO_GRADIENTS
        to_hidden = torch.empty_like(hidden)
        to_head = torch.zeros_like(head) if weight.requires_grad else None
        total = torch.zeros((), dtype=widest(hidden.device), device=hidden.device)
        gradients = weight.new_empty(min(at_once, len(hidden)), len(weight))
        for first in range(0, len(hidden), at_once):
            block, wanted = hidden[first : first + at_once], targets[first : first + at_once, None]
            gradient = gradients[: len(block)]
            for part, aims, result in zip(*(torch.split(x, rows) for x in (block, wanted, gradient)), strict=True):
                total += _nats_and_gradient(part, head, aims, result)
            to_hidden[first : first + at_once] = gradient @ weight
            if to_head is not None:
                to_head += gradient.t() @ block
        ctx.save_for_backward(to_hidden, to_head)
        ctx.dtype = weight.dtype
        return total.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        to_hidden, to_head = ctx.saved_tensors
        (scale,) = gradients
        return to_hidden * scale, None if to_head is None else (to_head * scale).to(ctx.dtype), None, None


def _nats_and_gradient(hidden: Tensor, head: Tensor, targets: Tensor, result: Tensor) -> Tensor:
    """The summed loss of a few rows; the gradient of their logits, ``(rows, vocabulary)``, is left in ``result``."""
    logits = _exact_logits(hidden, head)
    aimed, highest = logits.gather(1, targets), logits.amax(1, keepdim=True)
    shares = torch.softmax(logits, 1, out=logits)
    # log of the softmax's denominator, from its largest term: never a logarithm of nothing
    nats = (highest - shares.amax(1, keepdim=True).log() - aimed).sum(dtype=widest(hidden.device))
    shares.scatter_add_(1, targets, shares.new_full((1, 1), -1.0).expand_as(targets))
    result.copy_(shares)
    return nats
