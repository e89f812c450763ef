"""What trains: low-rank adapters by peft, or every weight (soft prompts: :mod:`metier.models.soft_prompt`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from metier.errors import MetierError, nearest
from metier.models.fused import fuse
from metier.models.layers import decoder_layers

ADAPTERS = ("lora", "prompt")
"""Methods that leave the base as it is: what they learn is saved beside it, in peft's format."""

# Where people call them by role: every linear layer of a block, or those of attention.
GROUPS = {
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj", "query_key_value", "c_attn", "dense", "out_proj"),
    "query-value": ("q_proj", "v_proj"),
}


def attach_lora(
    model: Any,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: str | Sequence[str],
    seed: int,
    lowest: int = 0,
) -> Any:
    """Wrap ``model`` with LoRA adapters (Hu et al. 2021, arXiv 2106.09685) in the model's own number format.

    Args:
        rank, alpha: update is ``alpha / rank · B A``.
        targets: ``all`` linear layers, ``attention``, ``query-value``, or layer names.
        seed: of the adapters' first values.
        lowest: the first layer that is adapted; those below stay as they are.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=_target_modules(model, targets),
        layers_to_transform=list(range(lowest, len(decoder_layers(model)))) if lowest else None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    base_path = model.config._name_or_path
    # the optimizer keeps float32 masters, so that the matmuls can stay in the model's format
    wrapped = get_peft_model(model, config, autocast_adapter_dtype=False)
    wrapped.peft_config["default"].base_model_name_or_path = base_path
    dtype = next(model.parameters()).dtype
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    fuse(wrapped)
    return wrapped


def train_everything(model: Any, lowest: int = 0) -> Any:
    """Full fine-tuning: every weight is trainable, or every weight above the layers below ``lowest``."""
    model.requires_grad_(not lowest)
    if lowest:
        after = [m for m in model.get_decoder().children() if not isinstance(m, (nn.ModuleList, nn.Embedding))]
        for module in [*decoder_layers(model)[lowest:], *after, model.get_output_embeddings()]:
            module.requires_grad_(True)
        if model.config.get_text_config().tie_word_embeddings:  # the head is the embedding, which lies below
            model.get_input_embeddings().requires_grad_(False)
    return model


def load_adapter(model: Any, folder: Path) -> Any:
    """Put a saved adapter on its base, in the base's number format; a soft prompt stays in float32."""
    from peft import PeftModel

    try:
        wrapped = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False, local_files_only=True)
    except (ValueError, OSError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise MetierError(
            f"the adapter does not fit its base: {str(error)[:300]}",
            where=str(folder),
            fix="delete this folder and run the recipe again: it is trained anew",
        ) from error
    dtype = next(model.parameters()).dtype
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(dtype)
    fuse(wrapped)
    return wrapped.eval()


def _target_modules(model: Any, targets: str | Sequence[str]) -> list[str] | str:
    linear = sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in model.named_modules()
            if re.search(r"\.\d+\.", name) and type(module).__name__ in ("Linear", "Conv1D")
        }
    )
    if targets == "all":
        return linear
    wanted = GROUPS.get(targets, (targets,)) if isinstance(targets, str) else tuple(targets)
    chosen = [name for name in linear if name in wanted]
    unknown = [name for name in wanted if name not in linear] if not isinstance(targets, str) else []
    if unknown or not chosen:
        missing = unknown[0] if unknown else str(targets)
        raise MetierError(
            f"this base has no layer called '{missing}'",
            where="recipe, adapt.targets",
            fix=f"use all, attention, query-value or a layer's name: {nearest(missing, linear)}",
        )
    return chosen
