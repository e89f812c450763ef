"""Writing many texts at once: what they all begin with is held once, and texts with one prompt read it once.

A step of decoding reads all keys and values that came before. Of eleven chains of thought behind five solved examples
nearly all of these are the examples': held and read for each text, as libraries do, they cost more than the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metier.models.batching import sorted_runs
from metier.models.forward import Runner, Stored, vocabulary_logits
from metier.models.layers import causal_model
from metier.models.packed import Item, packed

Choose = Callable[[Tensor], Tensor]


class Texts:
    """Keys and values of ``R`` texts that grow by a token a step, behind a prefix that they share.

    Args:
        shared: keys and values of the prefix for every layer, each ``(kv_heads, P, head_dim)``, if there is one.
        begun: the same of what each text begins with, ``(kv_heads, its tokens, head_dim)``, for every layer and text.
        room: tokens that each may grow by.
    """

    def __init__(self, shared: Stored | None, begun: Sequence[Stored], room: int) -> None:
        self.shared, self.before = shared, 0 if shared is None else int(shared[0][0].shape[1])
        device = begun[0][0][0].device
        self.lengths = torch.tensor([keys.shape[1] for keys, _ in begun[0]], device=device)  # (R,)
        self.end = int(self.lengths.max()) + room
        self.every = torch.arange(len(self.lengths), device=device)
        self.held = [tuple(_room([pair[i] for pair in layer], self.end) for i in (0, 1)) for layer in begun]
        self.layers = 0
        self.masks: dict[int | None, Tensor] = {}

    @property
    def positions(self) -> Tensor:
        """Of the tokens to come, ``(R, 1)``."""
        return (self.before + self.lengths)[:, None]

    def grow(self) -> None:
        """The tokens of a step are in all layers."""
        self.lengths, self.layers, self.masks = self.lengths + 1, 0, {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """One new token a text, ``(R, heads, 1, head_dim)`` → ``(R, 1, heads, head_dim)``; keeps its key and value."""
        self.layers += 1
        rows, heads, _, size = query.shape
        kv_heads = key.shape[1]
        for held, new in zip(self.held[layer], (key, value), strict=True):
            held[self.every, :, self.lengths] = new[:, :, 0]
        # (R · kv_heads, end, head_dim): also the places to come, for a part would be copied
        keys, values = (held.flatten(0, 1) for held in self.held[layer])
        queries = query.reshape(rows, kv_heads, heads // kv_heads, size)
        scores = torch.bmm(queries.flatten(0, 1), keys.transpose(1, 2)).view(rows, kv_heads, -1, self.end)
        if self.shared is not None:  # one matmul for all texts: (kv_heads, R · groups, P)
            folded = queries.transpose(0, 1).reshape(kv_heads, -1, size)
            there = torch.bmm(folded, self.shared[layer][0].transpose(1, 2)).view(kv_heads, rows, -1, self.before)
            scores = torch.cat([there.transpose(0, 1), scores], -1)
        weights = torch.softmax(scores * scale + self._mask(window, scores), -1)
        found = torch.bmm(weights[..., self.before :].flatten(0, 1), values).view(rows, kv_heads, -1, size)
        if self.shared is not None:
            folded = weights[..., : self.before].transpose(0, 1).reshape(kv_heads, -1, self.before)
            found = found + torch.bmm(folded, self.shared[layer][1]).view(kv_heads, rows, -1, size).transpose(0, 1)
        return found.reshape(rows, 1, heads, size)

    def _mask(self, window: int | None, like: Tensor) -> Tensor:
        """``(R, 1, 1, P + end)``: each text sees the prefix and its own tokens, within its window."""
        reach = window if window is not None and window < self.before + self.end else None
        if reach not in self.masks:
            at = torch.arange(-self.before, self.end, device=like.device)  # the prefix lies before a text's own tokens
            hidden = at > self.lengths[:, None]
            if reach is not None:
                hidden |= self.lengths[:, None] - at >= reach
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            self.masks[reach] = mask.masked_fill_(hidden, -torch.inf)[:, None, None]
        return self.masks[reach]


def _room(parts: Sequence[Tensor], length: int) -> Tensor:
    """Texts' keys or values in one tensor ``(R, kv_heads, length, head_dim)``."""
    held = parts[0].new_zeros(len(parts), parts[0].shape[0], length, parts[0].shape[2])
    for row, part in zip(held, parts, strict=True):
        row[:, : part.shape[1]] = part
    return held


@torch.inference_mode()
def write_on(
    runner: Runner,
    prefix: Sequence[int],
    stored: Stored | None,
    prompts: Sequence[tuple[int, ...]],
    *,
    ends: Sequence[int],
    limit: int,
    choose: Choose,
) -> list[list[int]]:
    """At most ``limit`` tokens behind each prompt, for a model that is run packed; behind an end token anything.

    Args:
        prompts: without ``prefix``; one that stands there several times is read once.
        stored: keys and values of soft prompt and prefix, from :meth:`Runner.store_prefix`.
        choose: logits ``(R, vocabulary)`` in float32 → the next tokens ``(R,)``.
    """
    causal = causal_model(runner.model)
    unique = list(dict.fromkeys(prompts))
    of = [unique.index(prompt) for prompt in prompts]
    hidden, begun = _read(runner, unique, prefix, stored)
    texts = Texts(stored, [[pairs[i] for i in of] for pairs in begun], limit)
    stops = torch.tensor(list(ends), device=hidden.device)
    tokens = choose(vocabulary_logits(causal, hidden[of]).float())
    written, ended = [tokens], torch.isin(tokens, stops)
    while len(written) < limit and not bool(ended.all()):
        with packed(texts):
            output = causal.get_decoder()(input_ids=tokens[:, None], position_ids=texts.positions, use_cache=False)
        if texts.layers != len(texts.held):
            raise RuntimeError(f"{texts.layers} of {len(texts.held)} layers read what was held")
        texts.grow()
        tokens = choose(vocabulary_logits(causal, output.last_hidden_state[:, -1]).float())
        written.append(tokens)
        ended |= torch.isin(tokens, stops)
    found: list[list[int]] = torch.stack(written, 1).tolist()
    return found


def _read(
    runner: Runner, prompts: Sequence[tuple[int, ...]], prefix: Sequence[int], stored: Stored | None
) -> tuple[Tensor, list[Stored]]:
    """:meth:`Runner.read`, a few prompts at a time."""
    items = [Item(prompt, ((0,),)) for prompt in prompts]
    runs = sorted_runs(items, prefix=len(prefix))
    parts = [runner.read([items[i] for i in run], prefix, stored) for run in runs]
    place = {i: at for at, i in enumerate(i for run in runs for i in run)}
    order = [place[i] for i in range(len(items))]
    hidden = torch.cat([ends for ends, _ in parts])[order]
    layers = [[pair for part in layer for pair in part] for layer in zip(*(pairs for _, pairs in parts), strict=True)]
    return hidden, [[layer[i] for i in order] for layer in layers]
