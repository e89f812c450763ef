"""Writing answers: many prompts at once, near in length, the tokens they all begin with run once.

A model that is run packed holds the keys and values of what all prompts begin with once
(:mod:`metier.models.decoding`); for another one the prompts of a batch are padded on the left, so that all of them end
where writing begins. In float32 a prompt is answered the same in a batch as alone; in bfloat16 sums are rounded
differently in another batch, and two tokens that are nearly as likely may change places.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from metier.errors import MetierError
from metier.models.batching import TOKEN_BUDGET, sorted_runs
from metier.models.decoding import write_on
from metier.models.device import widest
from metier.models.encode import split_prefix
from metier.models.forward import Runner
from metier.models.layers import causal_model
from metier.models.load import learned_positions
from metier.models.packed import Item
from metier.models.soft_prompt import embed, soft_prompt

# Tokens of all texts of a batch, their answers included: a step of decoding reads all weights, for however many texts.
WRITE_BUDGET = 16384


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


def first_paragraph(text: str) -> str:
    """The answer of a base that was never taught to end one: what follows a blank line, which parts the examples of a
    plain prompt, is none of it.
    """
    return text.strip().split("\n\n")[0]


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
    budget: int = WRITE_BUDGET,
    share_prefix: bool = True,
    progress: Callable[[int], None] | None = None,
) -> list[Written]:
    """Continue each prompt until one of ``ends`` or ``max_new_tokens``, in the order given.

    Args:
        temperature: 0 takes the likeliest token each time; above 0 tokens are drawn, each prompt from a generator of
            its own, so that what is drawn does not depend on what else is in the batch.
        seed: of these generators, together with the prompt's place.
        seeds: one for each prompt's generator, instead of ``seed``. To sample a prompt often, give it as often.
        budget: tokens of what is run at once: prompts, each counted once, and room for every text.
        share_prefix: run what all prompts begin with once, where the model allows it.
        progress: called with the number of prompts finished since the last call.

    Errors: :class:`MetierError` where a prompt leaves no position for an answer.
    """
    room = (int(ends[0]),) * (max_new_tokens + 1)  # what an answer may take, so that batches are cut by it
    shared, items = split_prefix([Item(tuple(prompt), (room,)) for prompt in prompts])
    if not (share_prefix and runner.packing):
        shared, items = (), [Item(tuple(prompt), (room,)) for prompt in prompts]
    stored = runner.store_prefix(shared)
    found: list[Written] = [Written((), "", False)] * len(prompts)
    few = min(budget, TOKEN_BUDGET)  # a padded text holds all of its prompt
    runs = _batches(items, max_new_tokens, budget) if runner.packing else sorted_runs(items, few)
    for run in runs:
        own = [seed * 1_000_003 + index if seeds is None else seeds[index] for index in run]
        draw = _Draw(temperature, own) if temperature > 0 else None
        trunks = [items[i].trunk for i in run]
        limit = min(max_new_tokens, _positions_left(runner, len(shared) + max(map(len, trunks))))
        if runner.packing:
            choose = functools.partial(_choose, draw)
            rows = write_on(runner, shared, stored, trunks, ends=ends, limit=limit, choose=choose)
        else:
            rows = _padded(runner, trunks, list(ends), limit, draw)
        for index, row in zip(run, rows, strict=True):
            stop = next((at for at, token in enumerate(row) if token in ends), len(row))
            text = str(tokenizer.decode(row[:stop], skip_special_tokens=True))
            found[index] = Written(tuple(row[:stop]), text, stop < len(row))
        if progress:
            progress(len(run))
    return found


def _batches(items: Sequence[Item], room: int, budget: int) -> list[list[int]]:
    """Indices of texts near in length, those of one prompt together, within ``budget``."""
    runs: list[list[int]] = []
    spent, before = 0, None
    for i in sorted(range(len(items)), key=lambda i: (len(items[i].trunk), items[i].trunk, i)):
        trunk = items[i].trunk
        more = room + (len(trunk) if trunk != before else 0)
        if runs and spent + more <= budget:
            runs[-1].append(i)
            spent += more
        else:
            runs.append([i])
            spent = room + len(trunk)
        before = trunk
    return runs


def _choose(draw: _Draw | None, logits: Tensor) -> Tensor:
    return logits.argmax(-1) if draw is None else draw.choose(logits)


def _padded(
    runner: Runner, prompts: list[tuple[int, ...]], ends: list[int], limit: int, draw: _Draw | None
) -> list[list[int]]:
    """New tokens of each prompt; after its end token a row repeats ``ends[0]``."""
    longest = max(len(prompt) for prompt in prompts)
    holes = [longest - len(prompt) for prompt in prompts]
    filled = [[*[ends[0]] * hole, *runner.behind_soft(prompt)] for hole, prompt in zip(holes, prompts, strict=True)]
    rows = torch.tensor(filled, device=runner.device)
    mask = torch.ones_like(rows)
    for row, hole in enumerate(holes):
        mask[row, :hole] = 0
    model = causal_model(runner.model)
    config = GenerationConfig(do_sample=False, max_new_tokens=limit, eos_token_id=ends, pad_token_id=ends[0])
    begin: dict[str, Any] = {"input_ids": rows}
    soft = soft_prompt(runner.model)
    if soft is not None:
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


def _positions_left(runner: Runner, used: int) -> int:
    """How many tokens can follow ``used`` ones and a soft prompt: no limit but for a learned table of positions."""
    positions, used = learned_positions(causal_model(runner.model).config), used + runner.soft_tokens
    if positions is None:
        return 1 << 20
    if used >= positions:
        raise MetierError(
            f"a prompt of {used} tokens leaves no room for an answer: the base has {positions} positions",
            fix="lower max_tokens",
        )
    return positions - used


@contextlib.contextmanager
def _only(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Nothing of the settings that a base carries (repetition penalty, sampling, …): they would fill in gaps."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


class _Draw(LogitsProcessor):  # type: ignore[misc]
    """Sampling by the inverse of the distribution function: one number from a generator of its own for each row."""

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def choose(self, logits: Tensor) -> Tensor:
        """Logits ``(rows, vocabulary)`` → tokens ``(rows,)``."""
        reached = torch.softmax(logits.float() / self.temperature, -1).cumsum(-1, dtype=widest(logits.device))
        drawn = [torch.rand((), generator=generator, dtype=torch.float64) for generator in self.generators]
        aims = torch.stack(drawn).to(logits.device, reached.dtype) * reached[:, -1]
        # the first that exceeds the aim: a token without a chance is never drawn
        return torch.searchsorted(reached, aims[:, None], right=True)[:, 0].clamp(max=logits.shape[1] - 1)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """For transformers, which then takes the likeliest: ``(rows, vocabulary)`` → the same shape."""
        nothing = torch.full_like(scores, -torch.inf)
        return nothing.scatter_(1, self.choose(scores)[:, None], 0.0)
