"""Loading a base: safetensors only, a causal language model only, its tokenizer beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from metier.errors import MetierError
from metier.models.packed import ATTENTION


def load_model(path: Path, *, dtype: torch.dtype, device: str) -> Any:
    """A causal language model in evaluation mode.

    Errors: :class:`MetierError` when the folder holds another kind of model, or code of its own (never run).
    """
    config = _config(path)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise MetierError(
            f"'{config.model_type}' is not a causal language model",
            where=str(path / "config.json"),
            fix="choose a base that continues text, such as smollm2-135m-instruct",
        )
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = _load(path, dtype)
    except (OSError, ValueError, RuntimeError) as error:
        raise MetierError(f"the weights cannot be loaded: {str(error)[:300]}", where=str(path)) from error
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    return model.to(device).eval()


def _load(path: Path, dtype: torch.dtype) -> Any:
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    try:
        return AutoModelForCausalLM.from_pretrained(path, attn_implementation=ATTENTION, **options)
    except (ValueError, ImportError):  # older architectures compute attention in their own way
        return AutoModelForCausalLM.from_pretrained(path, **options)


def _config(path: Path) -> Any:
    if not (path / "config.json").exists():
        raise MetierError("there is no config.json: this is not a Hugging Face model folder", where=str(path))
    raw = json.loads((path / "config.json").read_text(encoding="utf-8"))
    if "auto_map" in raw:
        raise MetierError(
            "this base needs code of its own to run (auto_map), which is never executed",
            where=str(path / "config.json"),
            fix="choose a base that transformers itself implements",
        )
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True)
    except (ValueError, OSError, KeyError) as error:
        raise MetierError(f"transformers does not know this model: {str(error)[:200]}", where=str(path)) from error


def load_tokenizer(path: Path) -> Any:
    """The tokenizer that travels with a base."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise MetierError(f"the tokenizer cannot be loaded: {str(error)[:200]}", where=str(path)) from error
    if tokenizer.eos_token_id is None:
        raise MetierError("the tokenizer has no end token: answers could not be ended", where=str(path))
    return tokenizer


def parameters(model: Any) -> tuple[int, int]:
    """``(trainable, all)`` parameters, shared ones counted once."""
    unique = {id(p): p for p in model.parameters()}.values()
    return sum(p.numel() for p in unique if p.requires_grad), sum(p.numel() for p in unique)
