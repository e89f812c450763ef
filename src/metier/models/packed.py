"""Many short prompts in one row: no padding in the matmuls, one shared prefix, no leak between neighbours.

A batch of prompts that begin alike is laid out as one sequence

    prefix | trunk 1, branches 1 | trunk 2, branches 2 | ...

so that every linear layer sees ``(1, tokens, hidden)`` without a padded position. Only attention needs to know
who may look at whom: a token sees the prefix, its own trunk and its own branch, never a neighbour. Branches are
the candidate answers of one prompt: the trunk is computed once for all of them.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from metier.models.grid import Grid, grid_attention

ATTENTION = "metier"


@dataclass(frozen=True)
class Item:
    """One prompt and its candidate answers, as token ids (the shared prefix already taken off the trunk).

    ``weights`` are the answers' shares of the loss where several are learnt; None is 1 for each.
    """

    trunk: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...] | None = None

    @property
    def tokens(self) -> int:
        """Tokens that must run through the model: an answer's last token is only ever predicted."""
        return len(self.trunk) + sum(len(answer) - 1 for answer in self.answers)


@dataclass
class Pack:
    """A batch laid out as one row. ``B`` items, ``T`` tokens in the longest, ``N`` tokens after the prefix.

    Attributes:
        prefix: tokens shared by all items, 0 if there are none or if ``stored`` holds them.
        input_ids, positions: ``(1, prefix + N)``.
        gather: ``(B, T)`` index into the N tokens; places past an item's end repeat a valid index.
        scatter: ``(N,)`` index into the flattened ``(B, T)``.
        mask: ``(1 or B, T, prefix + T)``, additive, 0 where a token may look.
        rows, targets: ``(M,)`` positions in the row whose next token is scored, and that token.
        owner: ``(M,)`` index of the answer (items' answers counted through) each row belongs to.
        stored: keys and values of the prefix a layer, each ``(kv_heads, prefix, head_dim)``, when cached.
        collect: to be filled with keys and values of all tokens in the row, each ``(kv_heads, tokens, head_dim)``.
    """

    prefix: int
    input_ids: Tensor
    positions: Tensor
    gather: Tensor
    scatter: Tensor
    allowed: Tensor
    rows: Tensor
    targets: Tensor
    owner: Tensor
    answers: int
    stored: list[tuple[Tensor, Tensor]] | None = None
    collect: dict[int, tuple[Tensor, Tensor]] | None = None
    layers: int = 0  # attention layers that have read this layout so far
    masks: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)
    grids: dict[tuple[int, int], Grid] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        """Prefix tokens that the items attend to, in this row or stored."""
        return self.prefix if self.stored is None else int(self.stored[0][0].shape[1])

    def grid(self, heads: int, kv_heads: int) -> Grid:
        """Where rows stand for attention with so many heads."""
        key = (heads, kv_heads)
        if key not in self.grids:
            self.grids[key] = Grid(self.gather, self.scatter, self.prefix, self.seen, heads, kv_heads)
        return self.grids[key]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """:func:`pack_attention` in the shapes of :func:`attention`; collects keys and values where that is wanted."""
        self.layers += 1
        if self.collect is not None:
            self.collect[layer] = (key[0].clone(), value[0].clone())
        queries, keys, values = (part[0].transpose(0, 1) for part in (query, key, value))
        return pack_attention(self, layer, queries, keys, values, scale, window)[None]

    def mask(self, dtype: torch.dtype, window: int | None) -> Tensor:
        """Additive mask ``(1 or B, T, seen + T)`` for a layer, with its sliding window if it has one."""
        allowed = self.allowed
        if window is not None:
            at = self.positions[0, self.prefix :][self.gather]  # (B, T)
            keys = torch.cat([torch.arange(self.seen, device=at.device).expand(len(at), -1), at], 1)
            allowed = allowed & (at[:, :, None] - keys[:, None, :] < window)
        empty = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return empty.masked_fill(~allowed, torch.finfo(dtype).min)

    def folded_mask(self, dtype: torch.dtype, window: int | None, heads: int, kv_heads: int) -> Tensor:
        """:meth:`mask` for queries folded by key head: ``(1 or kv_heads · B, groups · T, seen + T)``."""
        key = (dtype, window, heads, kv_heads)
        if key not in self.masks:
            mask = self.mask(dtype, window)
            self.masks[key] = mask.repeat(1 if len(mask) == 1 else kv_heads, heads // kv_heads, 1)
        return self.masks[key]


class Layout(Protocol):
    """Who may look at whom, and where keys and values are."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention of one layer: shapes as in :func:`attention`."""
        ...


_active: contextvars.ContextVar[Layout | None] = contextvars.ContextVar("metier_layout", default=None)


@contextlib.contextmanager
def packed(layout: Layout) -> Iterator[None]:
    """Within this context the model's attention layers read ``layout``."""
    token = _active.set(layout)
    try:
        yield
    finally:
        _active.reset(token)


def build_pack(
    prefix: Sequence[int],
    items: Sequence[Item],
    *,
    device: str | torch.device = "cpu",
    stored: list[tuple[Tensor, Tensor]] | None = None,
) -> Pack:
    """Lay ``items`` out behind ``prefix``. Where ``stored`` holds the prefix's keys, its tokens are not run again."""
    before = len(prefix)
    inline = before if stored is None else 0
    ids, positions = list(prefix[:inline]), list(range(inline))
    rows: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    lengths: list[int] = []
    branch_ids: list[list[int]] = []
    count = 0
    for item in items:
        start = len(ids)
        ids += item.trunk
        positions += range(before, before + len(item.trunk))
        branches = [0] * len(item.trunk)
        after = before + len(item.trunk)
        for number, answer in enumerate(item.answers, 1):
            # the first token of an answer is predicted at the trunk's end, the others along its branch
            rows.append(start + len(item.trunk) - 1)
            rows += range(len(ids), len(ids) + len(answer) - 1)
            targets += answer
            owner += [count] * len(answer)
            ids += answer[:-1]
            positions += range(after, after + len(answer) - 1)
            branches += [number] * (len(answer) - 1)
            count += 1
        lengths.append(len(ids) - start)
        branch_ids.append(branches)
    gather, scatter = _layout(lengths)
    return Pack(
        prefix=inline,
        input_ids=torch.tensor([ids], device=device),
        positions=torch.tensor([positions], device=device),
        gather=gather.to(device),
        scatter=scatter.to(device),
        allowed=_allowed(branch_ids, before, int(gather.shape[1])).to(device),
        rows=torch.tensor(rows, device=device),
        targets=torch.tensor(targets, device=device),
        owner=torch.tensor(owner, device=device),
        answers=count,
        stored=stored,
    )


def _layout(lengths: list[int]) -> tuple[Tensor, Tensor]:
    """Index maps between the row and the padded grid that attention works on."""
    sizes = torch.tensor(lengths, dtype=torch.long)  # also of none
    longest = int(sizes.max()) if lengths else 0
    starts = sizes.cumsum(0) - sizes
    within = torch.arange(longest)[None, :]
    gather = (starts[:, None] + within).clamp(max=max(int(sizes.sum()) - 1, 0))
    real = within < sizes[:, None]
    return gather, real.flatten().nonzero()[:, 0]


def _allowed(branch_ids: list[list[int]], before: int, longest: int) -> Tensor:
    """Who may look at whom: ``(1 or B, T, before + T)``, True where a query sees a key."""
    causal = torch.ones(longest, before + longest, dtype=torch.bool).tril(before)[None]
    if all(len(set(branches)) <= 2 for branches in branch_ids):
        return causal  # at most one branch each: it simply continues its trunk
    grid = torch.full((len(branch_ids), longest), -1)
    for row, branches in enumerate(branch_ids):
        grid[row, : len(branches)] = torch.tensor(branches)
    same = (grid[:, None, :] == 0) | (grid[:, None, :] == grid[:, :, None])
    return causal & F.pad(same, (before, 0), value=True)


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention for transformers' interface: a pack's layout if one is active, plain SDPA otherwise.

    Shapes: ``query (1, heads, prefix + N, head_dim)``, ``key`` and ``value`` with ``kv_heads``;
    returns ``(1, prefix + N, heads, head_dim)``.
    """
    layout = _active.get()
    if layout is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return layout.attend(int(getattr(module, "layer_idx", -1)), query, key, value, scale, sliding_window), None


def pack_attention(
    pack: Pack, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None = None
) -> Tensor:
    """:func:`metier.models.grid.grid_attention` of ``layer`` in ``pack``'s layout."""
    heads, kv_heads = query.shape[1], key.shape[1]
    reach = window if window is not None and window < pack.seen + pack.gather.shape[1] else None
    mask = pack.folded_mask(query.dtype, reach, heads, kv_heads)
    stored = None if pack.stored is None else pack.stored[layer]
    return grid_attention(pack.grid(heads, kv_heads), query, key, value, mask, scale, window, stored)


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """No mask from transformers while a pack is active: :func:`attention` has its own."""
    if _active.get() is not None:
        return None
    mask: Tensor | None = sdpa_mask(*args, **kwargs)
    return mask


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, _mask)
