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
    """Keys and values of ``R`` texts that grow by a token a step: ``P`` tokens that all begin with are held once, the
    prompts behind them, of at most ``L`` tokens, once for all texts of a prompt, and what is written for each.

    Args:
        shared: keys and values of the beginning for every layer, each ``(kv_heads, P, head_dim)``, if there is one.
        prompts: the same of every prompt, for every layer: each ``(kv_heads, its tokens, head_dim)``.
        of: the prompt's number for each text.
        room: tokens that each may grow by.
    """

    def __init__(self, shared: Stored | None, prompts: Sequence[Stored], of: Sequence[int], room: int) -> None:
        device = prompts[0][0][0].device
        self.shared, self.before = shared, 0 if shared is None else int(shared[0][0].shape[1])
        self.read = [tuple(_padded([pair[i] for pair in layer]) for i in (0, 1)) for layer in prompts]
        sizes = torch.tensor([keys.shape[1] for keys, _ in prompts[0]], device=device)
        self.sizes = sizes[torch.tensor(of, device=device)]  # (R,): of each text's prompt
        self.longest, self.room = int(sizes.max()), room
        self.grid, self.place = _by_prompt(of, len(sizes), device)
        like = prompts[0][0][0]
        shape = (len(of), like.shape[0], room, like.shape[2])
        self.written = [(like.new_zeros(shape), like.new_zeros(shape)) for _ in prompts]
        self.step = self.layers = 0
        self.masks: dict[int | None, Tensor] = {}

    @property
    def positions(self) -> Tensor:
        """Of the tokens to come, ``(R, 1)``."""
        return (self.before + self.sizes + self.step)[:, None]

    def grow(self) -> None:
        """The tokens of a step are in all layers."""
        self.step, self.layers, self.masks = self.step + 1, 0, {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """One new token a text, ``(R, heads, 1, head_dim)`` → ``(R, 1, heads, head_dim)``; keeps its key and value."""
        self.layers += 1
        rows, heads, _, size = query.shape
        for held, new in zip(self.written[layer], (key, value), strict=True):
            held[:, :, self.step] = new[:, :, 0]
        queries = query.reshape(rows, key.shape[1], -1, size)  # (R, kv_heads, groups, head_dim)
        levels = [self._once, self._a_prompt, self._a_text][self.shared is None :]
        scores = torch.cat([look(layer, 0, queries, True) for look in levels], -1)
        weights = torch.softmax(scores * scale + self._mask(window, scores), -1)
        parts = torch.split(weights, [self.before, self.longest, self.room][self.shared is None :], -1)
        found = [look(layer, 1, part, False) for look, part in zip(levels, parts, strict=True)]
        return torch.stack(found).sum(0).reshape(rows, 1, heads, size)

    # Each level: rows (R, kv_heads, groups, n) times its keys (turned) or its values.

    def _once(self, layer: int, which: int, x: Tensor, turn: bool) -> Tensor:
        assert self.shared is not None
        folded = x.transpose(0, 1).flatten(1, 2)  # one matmul for all texts
        found = torch.bmm(folded, _turned(self.shared[layer][which], turn))
        return found.view(x.shape[1], len(x), x.shape[2], -1).transpose(0, 1)

    def _a_prompt(self, layer: int, which: int, x: Tensor, turn: bool) -> Tensor:
        held = self.read[layer][which]  # (prompts, kv_heads, L, head_dim)
        grid = x[self.grid].transpose(1, 2)  # (prompts, kv_heads, texts of a prompt, groups, n)
        found = torch.bmm(grid.flatten(0, 1).flatten(1, 2), _turned(held.flatten(0, 1), turn))
        return found.view(*grid.shape[:-1], -1).transpose(1, 2).flatten(0, 1)[self.place]

    def _a_text(self, layer: int, which: int, x: Tensor, turn: bool) -> Tensor:
        held = self.written[layer][which].flatten(0, 1)  # also the places to come, for a part would be copied
        return torch.bmm(x.flatten(0, 1), _turned(held, turn)).view(*x.shape[:-1], -1)

    def _mask(self, window: int | None, like: Tensor) -> Tensor:
        """``(R, 1, 1, P + L + room)``: what a text has before it, within its window."""
        reach = window if window is not None and window <= self.before + self.longest + self.step else None
        if reach not in self.masks:
            count = [torch.arange(n, device=like.device) for n in (self.before, self.longest, self.room)]
            begins = self.sizes[:, None]
            rows = len(begins)
            # how far back each place lies; below 0 not written yet
            far = [(begins + self.before + self.step - count[0]), begins + self.step - count[1], self.step - count[2]]
            hidden = torch.cat([part.expand(rows, -1) for part in far], 1)
            hidden = (hidden < 0) if reach is None else (hidden < 0) | (hidden >= reach)
            hidden[:, self.before : self.before + self.longest] |= count[1] >= begins  # the filling of shorter prompts
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            self.masks[reach] = mask.masked_fill_(hidden, -torch.inf)[:, None, None]
        return self.masks[reach]


def _turned(part: Tensor, turn: bool) -> Tensor:
    return part.transpose(-1, -2) if turn else part


def _padded(parts: Sequence[Tensor]) -> Tensor:
    """Keys or values of the prompts in one tensor ``(prompts, kv_heads, L, head_dim)``."""
    longest = max(part.shape[1] for part in parts)
    held = parts[0].new_zeros(len(parts), parts[0].shape[0], longest, parts[0].shape[2])
    for row, part in zip(held, parts, strict=True):
        row[:, : part.shape[1]] = part
    return held


def _by_prompt(of: Sequence[int], prompts: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The texts of each prompt, ``(prompts, most of one)``, filled up with any; and where each text stands in it."""
    texts: list[list[int]] = [[] for _ in range(prompts)]
    for text, prompt in enumerate(of):
        texts[prompt].append(text)
    most = max(map(len, texts))
    place = [prompt * most + texts[prompt].index(text) for text, prompt in enumerate(of)]
    grid = [[*mine, *[0] * (most - len(mine))] for mine in texts]
    return torch.tensor(grid, device=device), torch.tensor(place, device=device)


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
    hidden, texts = begin(runner, unique, of, prefix, stored, limit)
    stops = torch.tensor(list(ends), device=hidden.device)
    tokens = choose(vocabulary_logits(causal, hidden[of]).float())
    written, ended = [tokens], torch.isin(tokens, stops)
    while len(written) < limit and not bool(ended.all()):
        tokens = choose(vocabulary_logits(causal, step(runner, tokens, texts)).float())
        written.append(tokens)
        ended |= torch.isin(tokens, stops)
    found: list[list[int]] = torch.stack(written, 1).tolist()
    return found


@torch.inference_mode()
def begin(
    runner: Runner,
    prompts: Sequence[tuple[int, ...]],
    of: Sequence[int],
    prefix: Sequence[int],
    stored: Stored | None,
    room: int,
) -> tuple[Tensor, Texts]:
    """Read the prompts: hidden states at their ends, ``(prompts, hidden)``, and the texts that begin with them."""
    hidden, begun = _read(runner, prompts, prefix, stored)
    return hidden, Texts(stored, begun, of, room)


@torch.inference_mode()
def step(runner: Runner, tokens: Tensor, texts: Texts) -> Tensor:
    """One more token for each text, ``(R,)``: hidden states after the last norm, ``(R, hidden)``."""
    found = runner.lean.step(tokens, texts) if runner.lean else own_step(runner, tokens, texts)
    if texts.layers != len(texts.written):
        raise RuntimeError(f"{texts.layers} of {len(texts.written)} layers read what was held")
    texts.grow()
    return found


def own_step(runner: Runner, tokens: Tensor, texts: Texts) -> Tensor:
    """The same by the model's own modules, before the texts have grown."""
    decoder = causal_model(runner.model).get_decoder()
    with packed(texts):
        output = decoder(input_ids=tokens[:, None], position_ids=texts.positions, use_cache=False)
    hidden: Tensor = output.last_hidden_state[:, -1]
    return hidden


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
