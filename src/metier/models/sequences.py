"""A causal language model on whole sequences: every position carries loss, documents apart where asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metier.errors import MetierError
from metier.models.bloom import bloom_hidden, fuse_bloom, runs_fast
from metier.models.forward import refuse_unknown_logits
from metier.models.vocabulary_loss import next_token_loss


class SequenceModel(nn.Module):
    """Next-token loss of sequences.

    Args:
        causal: a transformers causal language model.
        separator: the end-of-text token. With it documents are isolated: the token begins a document, which sees
            nothing before it, and positions begin anew there. None: documents of a sequence see those before them,
            as in BloombergGPT.

    Errors: :class:`MetierError` for a base whose attention cannot keep documents apart, or whose logits are unknown.
    """

    def __init__(self, causal: Any, *, separator: int | None = None) -> None:
        super().__init__()
        self.causal, self.separator = causal, separator
        self.fast = runs_fast(causal)
        if self.fast:
            fuse_bloom(causal)
        else:
            refuse_unknown_logits(causal)
        if separator is not None:
            self._refuse_leaks()

    def forward(self, tokens: Tensor) -> Tensor:
        """Nats of the tokens after the first, ``(batch, time + 1)`` → their sum where gradients are enabled,
        ``(batch, time)`` where they are not.
        """
        ids, targets = tokens[:, :-1], tokens[:, 1:]
        nats = next_token_loss(self.causal, self.hidden(ids).flatten(0, 1), targets.flatten())
        return nats if torch.is_grad_enabled() else nats.view(targets.shape)

    def hidden(self, ids: Tensor) -> Tensor:
        """Hidden states after the last norm, ``(batch, time, hidden)``."""
        documents = None if self.separator is None else (ids == self.separator).cumsum(1)
        if self.fast:
            return bloom_hidden(self.causal, ids, documents)
        positions = None if documents is None else _positions(documents)
        # without a mask transformers finds documents by positions that begin anew
        output = self.causal.get_decoder()(input_ids=ids, position_ids=positions, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _refuse_leaks(self) -> None:
        """Change one document of a small input and see whether another's hidden states change."""
        assert self.separator is not None
        size = int(self.causal.config.get_text_config().vocab_size)
        others = [token for token in range(min(size, 64)) if token != self.separator]
        rows = [[self.separator, *others[i : i + 5], self.separator, *others[7:12]] for i in (0, 3)]
        training = self.training
        self.eval()
        with torch.no_grad():
            one, two = self.hidden(torch.tensor(rows, device=next(self.parameters()).device))[:, 6:]
        self.train(training)
        if not torch.allclose(one, two, atol=1e-5 if one.dtype == torch.float32 else 1e-2):
            raise MetierError(
                f"a {type(self.causal).__name__} cannot keep the documents of a sequence apart",
                where="recipe, pretrain.document_mask",
                fix="set document_mask: false",
            )


def _positions(documents: Tensor) -> Tensor:
    """Positions that begin anew with each document, ``(batch, time)``."""
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return places - torch.where(begins, places, 0).cummax(1).values
