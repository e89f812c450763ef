"""Writing answers: many prompts at once, near in length, the tokens they all begin with run once.

Prompts of a batch are padded on the left, so that all of them end where writing begins. Where the attention of the
model allows it, a batch is laid out as ``prefix | padding | rest``: the prefix's keys and values are computed once
and shared, and the mask hides the hole. In float32 a prompt is answered the same in a batch as alone; in bfloat16
sums are rounded differently in another batch, and two tokens that are nearly as likely may change places.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList

from metier.errors import MetierError
from metier.models.batching import TOKEN_BUDGET, sorted_runs
from metier.models.encode import split_prefix
from metier.models.forward import Runner, Stored
from metier.models.layers import causal_model
from metier.models.packed import Item
from metier.models.soft_prompt import embed, soft_prompt


@dataclass(frozen=True)
class Written:
    """What a model wrote after one prompt.

    Attributes:
        ids: the tokens before the end token.
        text: the same, decoded without special tokens.
        ended: whether it wrote an end token; False where it was cut off at the limit.
    """

    ids: tuple[int, ...]
    text: str
    ended: bool


@torch.inference_mode()
def generate(
    runner: Runner,
    tokenizer: Any,
    prompts: Sequence[tuple[int, ...]],
    *,
    ends: Sequence[int],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    budget: int = TOKEN_BUDGET,
    share_prefix: bool = True,
    progress: Callable[[int], None] | None = None,
) -> list[Written]:
    """Continue each prompt until one of ``ends`` or ``max_new_tokens``, in the order given.

    Args:
        temperature: 0 takes the likeliest token each time; above 0 tokens are drawn, each prompt from a generator of
            its own, so that what is drawn does not depend on what else is in the batch.
        seed: of these generators, together with the prompt's place.
        seeds: one for each prompt's generator, instead of ``seed``. To sample a prompt often, give it as often.
        budget: prompts run at once times the longest of them with its answer, in tokens.
        share_prefix: run what all prompts begin with once, where the model allows it.
        progress: called with the number of prompts finished since the last call.

    Errors: :class:`MetierError` where a prompt leaves no position for an answer.
    """
    room = (int(ends[0]),) * (max_new_tokens + 1)  # what an answer may take, so that batches are cut by it
    shared, items = split_prefix([Item(tuple(prompt), (room,)) for prompt in prompts])
    stored = _stored(runner, shared) if share_prefix else None
    if stored is None:
        shared, items = (), [Item(tuple(prompt), (room,)) for prompt in prompts]
    found: list[Written] = [Written((), "", False)] * len(prompts)
    for run in sorted_runs(items, budget, prefix=len(shared)):
        own = [seed * 1_000_003 + index if seeds is None else seeds[index] for index in run]
        draw = _Draw(temperature, own) if temperature > 0 else None
        rows = _continue(runner, shared, stored, [items[i].trunk for i in run], list(ends), max_new_tokens, draw)
        for index, row in zip(run, rows, strict=True):
            stop = next((at for at, token in enumerate(row) if token in ends), len(row))
            text = str(tokenizer.decode(row[:stop], skip_special_tokens=True))
            found[index] = Written(tuple(row[:stop]), text, stop < len(row))
        if progress:
            progress(len(run))
    return found


def _continue(
    runner: Runner,
    shared: tuple[int, ...],
    stored: Stored | None,
    prompts: list[tuple[int, ...]],
    ends: list[int],
    limit: int,
    draw: _Draw | None,
) -> list[list[int]]:
    """New tokens of each prompt behind ``shared``; after its end token a row repeats ``ends[0]``."""
    longest = max(len(prompt) for prompt in prompts)
    before = runner.behind_soft(shared)
    holes = [longest - len(prompt) for prompt in prompts]
    # with nothing stored the hole comes first: a sliding window would count it
    at = len(before) if stored else 0
    filled = [
        [*before[:at], *[ends[0]] * hole, *before[at:], *prompt] for hole, prompt in zip(holes, prompts, strict=True)
    ]
    rows = torch.tensor(filled, device=runner.device)
    mask = torch.ones_like(rows)
    for row, hole in enumerate(holes):
        mask[row, at : at + hole] = 0
    model = causal_model(runner.model)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=min(limit, _positions_left(model, rows.shape[1])),
        eos_token_id=ends,
        pad_token_id=ends[0],
    )
    begin: dict[str, Any] = {"input_ids": rows}
    soft = soft_prompt(runner.model)
    if stored:
        begin["past_key_values"] = _cache(stored, len(rows))
    elif soft is not None:
        begin = {"inputs_embeds": embed(runner.model, rows, soft, torch.tensor(holes, device=runner.device))}
    with _only(model, config):
        output: Tensor = model.generate(
            **begin,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList([draw] if draw else []),
        )
    # what began as vectors comes back without them
    written: list[list[int]] = output[:, rows.shape[1] if "input_ids" in begin else 0 :].tolist()
    return written


def _positions_left(model: Any, used: int) -> int:
    """How many tokens can follow ``used`` ones: no limit but for a learned table of positions."""
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if not positions or getattr(config, "rope_parameters", None):
        return 1 << 20
    if used >= positions:
        raise MetierError(
            f"a prompt of {used} tokens leaves no room for an answer: the base has {positions} positions",
            fix="lower max_tokens",
        )
    return int(positions) - used


@contextlib.contextmanager
def _only(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Nothing of the settings that a base carries (repetition penalty, sampling, …): they would fill in gaps."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def _stored(runner: Runner, shared: tuple[int, ...]) -> Stored | None:
    """Keys and values of the shared prefix, or None where a hole behind it could not be hidden.

    A sliding window counts places and not positions: the hole would take up a part of the window.
    """
    config = causal_model(runner.model).config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    slides = any(kind != "full_attention" for kind in kinds) if kinds else bool(getattr(config, "sliding_window", None))
    stored = None if slides else runner.store_prefix(shared)
    return stored if stored and len(stored) == int(config.num_hidden_layers) else None


def _cache(stored: Stored, rows: int) -> DynamicCache:
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(stored):
        cache.update(keys[None].expand(rows, -1, -1, -1), values[None].expand(rows, -1, -1, -1), layer)
    return cache


class _Draw(LogitsProcessor):  # type: ignore[misc]
    """Sampling as a maximum: the largest of ``logits / temperature + Gumbel noise`` is a draw from their softmax
    (Gumbel 1954; Maddison, Tarlow & Minka 2014). Noise comes from one generator a row.
    """

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``(rows, vocabulary)`` → the same shape."""
        noise = torch.stack([torch.empty(scores.shape[1]).exponential_(generator=g).log() for g in self.generators])
        return scores.float() / self.temperature - noise.to(scores.device)
