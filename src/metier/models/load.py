"""Loading a base: safetensors only, a causal language model only, its tokenizer beside it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from metier.errors import MetierError
from metier.models.packed import ATTENTION

# left open, transformers asks on the terminal whether code of the folder's own may run
TRUSTED: dict[str, bool] = {"local_files_only": True, "trust_remote_code": False}


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Without transformers' bars for files that are read or written in a moment."""
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()


def load_model(path: Path, *, dtype: torch.dtype, device: str) -> Any:
    """A causal language model in evaluation mode.

    Errors: :class:`MetierError` when the folder holds another kind of model, code of its own (never run), quantized
    weights, or not all weights.
    """
    load_config(path)
    try:
        with no_bars():
            model, missing = _load(path, dtype)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise MetierError(
            f"the weights cannot be loaded: {str(error)[:300]}",
            where=str(path),
            fix="fetch or save the base again, whole",
        ) from error
    if missing:  # transformers would leave them at random values
        raise MetierError(
            f"{len(missing)} of the model's weights are not in its files, such as {missing[0]}",
            where=str(path),
            fix="fetch or save the base again, whole: a model with its head",
        )
    return model.to(device).eval()


def _load(path: Path, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """The model, and the names of weights that its files lack."""
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True, **TRUSTED}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(path, attn_implementation=ATTENTION, **options)
        # older architectures (BLOOM, GPT-J, …) compute attention in their own way: some take our name for it all the
        # same, and would then add up a mask that they do not understand, and look ahead
        if model._supports_attention_backend:
            return model, sorted(info["missing_keys"])
    except (ValueError, ImportError):
        pass
    model, info = AutoModelForCausalLM.from_pretrained(path, **options)
    return model, sorted(info["missing_keys"])


def load_config(path: Path) -> Any:
    """The configuration of a base.

    Errors: :class:`MetierError` as in :func:`load_model`.
    """
    file = path / "config.json"
    if not file.exists():
        raise MetierError(
            "there is no config.json: this is not a Hugging Face model folder",
            where=str(path),
            fix="name the folder that save_pretrained wrote, hf:owner/name, or a base of metier bases",
        )
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        if "auto_map" in raw:
            raise MetierError(
                "this base needs code of its own to run (auto_map), which is never executed",
                where=str(file),
                fix="choose a base that transformers itself implements",
            )
        if "quantization_config" in raw:
            raise MetierError(
                "the weights of this base are quantized: they cannot be trained, nor read without more libraries",
                where=str(file),
                fix="choose the base that it was quantized from",
            )
        config = AutoConfig.from_pretrained(path, **TRUSTED)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise MetierError(
            f"transformers does not know this model: {str(error)[:200]}",
            where=str(file),
            fix="choose a base that the installed transformers implements",
        ) from error
    if not _continues_text(config):
        raise MetierError(
            f"'{(config.architectures or [config.model_type])[0]}' is not a causal language model",
            where=str(file),
            fix="choose a base that continues text, such as smollm2-135m-instruct",
        )
    return config


def _continues_text(config: Any) -> bool:
    """Whether the saved model has a causal head: transformers would put one on BERT too, with random weights."""
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if known is None:
        return False
    if not config.architectures:
        return config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    heads = {head for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for head in _names(names)}
    return bool(heads & set(config.architectures))


def _names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def learned_positions(config: Any) -> int | None:
    """Size of a learned table of positions, beyond which a base cannot go; None where positions are computed."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    return int(positions) if positions and not getattr(text, "rope_parameters", None) else None


def fitting(path: Path, tokens: int, *, taken: int = 0, answers: Callable[[], Iterable[str]] = tuple) -> int:
    """The longest prompt, at most ``tokens``, that a base can be given.

    A base has been trained on so many positions and no more; a share of them is left for the answer, and where they
    are a learned table as many as the longest answer takes.

    Args:
        taken: positions that a soft prompt takes up.
        answers: everything that may stand behind a prompt.

    Errors: :class:`MetierError` where the soft prompt or the answers leave no room.
    """
    config = load_config(path).get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if not positions:
        return tokens
    left = min(64, int(positions) // 4)
    longest = _longest(path, answers()) if learned_positions(config) else 0
    room = int(positions) - max(left, longest) - taken
    if longest > left and room < 32:
        raise MetierError(
            f"an answer of {longest} tokens leaves no room for a text: this base has {positions} positions",
            where=str(path),
            fix="shorten the answers, or choose a base that reads more",
        )
    if taken and room < 32:
        raise MetierError(
            f"a soft prompt of {taken} leaves no room for a text: this base has {positions} positions",
            where="recipe, adapt.length",
            fix=f"use at most {max(1, room + taken - 32)}",
        )
    return min(tokens, room)


def _longest(path: Path, answers: Iterable[str]) -> int:
    """Tokens of the longest answer with its end token."""
    encode = load_tokenizer(path).encode
    return max((len(encode(f" {answer}", add_special_tokens=False)) + 1 for answer in answers), default=0)


def load_tokenizer(path: Path) -> Any:
    """The tokenizer that travels with a base."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **TRUSTED)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise MetierError(
            f"the tokenizer cannot be loaded: {str(error)[:200]}",
            where=str(path),
            fix="save the tokenizer beside the model: tokenizer.json and tokenizer_config.json",
        ) from error
    if tokenizer.eos_token_id is None:
        raise MetierError(
            "the tokenizer has no end token: answers could not be ended",
            where=str(path),
            fix="name one as eos_token in its tokenizer_config.json",
        )
    _check_rows(path, tokenizer)
    return tokenizer


def _check_rows(path: Path, tokenizer: Any) -> None:
    """Errors: :class:`MetierError` where prompts would hold ids that the model beside the tokenizer has no row for."""
    if not (path / "config.json").exists():  # a specialist's folder: adapters alone
        return
    rows = getattr(load_config(path).get_text_config(), "vocab_size", None)
    template = str(tokenizer.chat_template or "")
    added = [i for i, token in tokenizer.added_tokens_decoder.items() if token.content in template]
    last = max(tokenizer.vocab_size - 1, tokenizer.eos_token_id, *added)
    if rows is not None and last >= rows:
        raise MetierError(
            f"the tokenizer gives the id {last}, but the model has {rows} tokens: they do not belong together",
            where=str(path),
            fix="put the base's own tokenizer beside it, or resize the model's embeddings",
        )


def parameters(model: Any) -> tuple[int, int]:
    """``(trainable, all)`` parameters, shared ones counted once."""
    unique = {id(p): p for p in model.parameters()}.values()
    return sum(p.numel() for p in unique if p.requires_grad), sum(p.numel() for p in unique)
