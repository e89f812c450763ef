"""Soft prompts: vectors in front of every prompt, learnt while the base stays as it is.

Lester, Al-Rfou & Constant 2021 (arXiv 2104.08691); in front of a hard prompt, as instruction prompt tuning: Singhal et
al. 2023 (Med-PaLM, arXiv 2212.13138). The modules and files are peft's.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from metier.errors import MetierError
from metier.models.layers import causal_model

COMMONEST = 5000
"""Ids that a soft prompt may begin as: Lester et al. draw from so many of the commonest tokens; tokenizers number
theirs by how common they are, the commonest first."""


def attach_prompt(
    model: Any,
    tokenizer: Any,
    *,
    length: int,
    start: Literal["text", "vocabulary", "uniform"],
    text: str = "",
    spread: float = 0.5,
    seed: int,
) -> Any:
    """Wrap ``model`` with a soft prompt of ``length`` vectors in float32; nothing else trains.

    Args:
        start: first values: the embeddings of ``text`` (repeated or cut to ``length``), of common tokens drawn from the
            vocabulary, or uniform in ``[-spread, spread]``.
        seed: of what is drawn.

    Errors: :class:`MetierError` where ``text`` holds no token.
    """
    from peft import PromptTuningConfig, get_peft_model

    embedding = model.get_input_embeddings()
    first = _first_values(embedding, tokenizer, length, start, text, spread, torch.Generator().manual_seed(seed))
    # peft's own ways to begin would write this machine's tokenizer folder into the adapter's configuration
    config = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=length, token_dim=first.shape[1], prompt_tuning_init="RANDOM"
    )
    base_path = model.config._name_or_path
    wrapped = get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = base_path
    weight = wrapped.prompt_encoder["default"].embedding.weight
    weight.data = first.to(weight.device, torch.float32)
    return wrapped


def _first_values(
    embedding: Any, tokenizer: Any, length: int, start: str, text: str, spread: float, generator: torch.Generator
) -> Tensor:
    """``(length, hidden)``."""
    if start == "uniform":
        return (torch.rand(length, embedding.weight.shape[1], generator=generator) * 2 - 1) * spread
    if start == "text":
        ids = tokenizer.encode(text, add_special_tokens=False)
        if not ids:
            raise MetierError(
                "a soft prompt cannot begin as a text without a token",
                where="recipe, adapt.init_text",
                fix="write some words, or use init: vocabulary",
            )
        chosen = (ids * -(-length // len(ids)))[:length]
    else:
        special = set(tokenizer.all_special_ids)
        common = [i for i in range(min(len(tokenizer), COMMONEST + len(special))) if i not in special][:COMMONEST]
        drawn = torch.randint(len(common), (length,), generator=generator).tolist()
        chosen = [common[place] for place in drawn]
    with torch.no_grad():
        values: Tensor = embedding(torch.tensor(chosen, device=embedding.weight.device))
    return values.detach().float().cpu().clone()


def soft_prompt(model: Any) -> Tensor | None:
    """The vectors in front of every prompt, ``(length, hidden)``; None where the model has none."""
    if not getattr(model, "_is_prompt_learning", False):
        return None
    weight: Tensor = model.prompt_encoder[model.active_adapter].embedding.weight
    return weight


def embed(model: Any, ids: Tensor, soft: Tensor, at: Tensor | None = None) -> Tensor:
    """Embeddings of ``ids (rows, time)`` with ``soft (length, hidden)`` in the place of the first ``length`` ones.

    Args:
        at: ``(rows,)``: where it begins in each row, if not at 0.
    """
    table: Tensor = causal_model(model).get_input_embeddings()(ids)
    soft = soft.to(table.dtype)
    if at is None:
        return torch.cat([soft.expand(len(ids), -1, -1), table[:, len(soft) :]], 1)
    rows = torch.arange(len(ids), device=ids.device)[:, None]
    return table.index_put((rows, at[:, None] + torch.arange(len(soft), device=ids.device)), soft)
