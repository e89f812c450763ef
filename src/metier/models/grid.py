"""Attention over a pack: rows of tokens to a grid of items and back, each by one copy of rows.

Plain indexing would do, but its gradient adds row by row, one after the other, because it cannot know that no row is
read twice. Here it is known: a token stands once in the grid, a prefix's once an item.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metier.models.gradient import call

# Above this many tokens a prompt, the scores of plain matmuls cost more memory than a fused kernel saves time.
FUSED_FROM = 512


class Grid:
    """Where the rows of a pack stand in its grid, for ``heads`` query heads in groups that share a key head.

    Rows are ``(tokens · heads, head_dim)``. The query heads that share a key head are folded into the query length,
    so that no key is repeated: queries ``(kv_heads · B, groups · T, head_dim)``, keys ``(kv_heads · B, seen + T,
    head_dim)``.

    Args:
        gather, scatter: as in a pack, ``(B, T)`` and ``(N,)``.
        prefix: tokens in the row before the items.
        seen: tokens of the prefix that the items look at, in the row or stored.
    """

    def __init__(self, gather: Tensor, scatter: Tensor, prefix: int, seen: int, heads: int, kv_heads: int) -> None:
        (items, longest), device = gather.shape, gather.device
        groups = heads // kv_heads
        self.prefix, self.seen, self.items, self.longest = prefix, seen, items, longest
        self.heads, self.kv_heads, self.groups, self.tokens = heads, kv_heads, groups, len(scatter)
        kv = torch.arange(kv_heads, device=device)
        group = torch.arange(groups, device=device)
        head = kv[:, None] * groups + group  # (kv_heads, groups)
        # (kv_heads, B, groups, T) and (kv_heads, B, seen + T): the row that stands there
        self.queries = ((prefix + gather)[None, :, None] * heads + head[:, None, :, None]).flatten()
        places = torch.cat([torch.arange(seen, device=device).expand(items, seen), seen + gather], 1)
        self.keys = (places[None] * kv_heads + kv[:, None, None]).flatten()
        # (N, heads) and (N, kv_heads): where a row stands
        item, at = scatter // max(longest, 1), scatter % max(longest, 1)
        first = kv[None] * items + item[:, None]  # (N, kv_heads)
        self.query_of = ((first[:, :, None] * groups + group) * longest + at[:, None, None]).flatten()
        self.key_of = (first * (seen + longest) + seen + at[:, None]).flatten()
        empty = torch.ones(items * longest, dtype=torch.bool, device=device)
        empty[scatter] = False
        self.empty = empty.view(1, items, 1, longest).expand(kv_heads, items, groups, longest).flatten().nonzero()[:, 0]

    @property
    def inline(self) -> bool:
        """Whether the prefix that the items look at is in the row."""
        return self.prefix == self.seen


class _Spread(torch.autograd.Function):
    """Rows → (those of the prefix, the grid)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, grid: Grid, queries: bool) -> tuple[Tensor, Tensor]:
        ctx.grid, ctx.queries = grid, queries
        before = grid.prefix * (grid.heads if queries else grid.kv_heads)
        spread = rows.index_select(0, grid.queries if queries else grid.keys)
        return rows[:before].clone(), spread

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (to_prefix, to_grid), grid = gradients, ctx.grid
        heads, where = (grid.heads, grid.query_of) if ctx.queries else (grid.kv_heads, grid.key_of)
        before = grid.prefix * heads
        to_rows = to_grid.new_empty(before + grid.tokens * heads, to_grid.shape[1])
        torch.index_select(to_grid, 0, where, out=to_rows[before:])
        to_rows[:before] = to_prefix
        if before and not ctx.queries:
            parts = to_grid.view(grid.kv_heads, grid.items, grid.seen + grid.longest, -1)[:, :, : grid.seen]
            to_rows[:before] += parts.sum(1).transpose(0, 1).reshape(before, -1)
        return to_rows, None, None


class _Collect(torch.autograd.Function):
    """(The prefix's rows, the grid) → rows."""

    @staticmethod
    def forward(ctx: Any, of_prefix: Tensor, of_grid: Tensor, grid: Grid) -> Tensor:
        ctx.grid = grid
        rows = of_grid.new_empty(len(of_prefix) + len(grid.query_of), of_grid.shape[1])
        rows[: len(of_prefix)] = of_prefix
        torch.index_select(of_grid, 0, grid.query_of, out=rows[len(of_prefix) :])
        return rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (to_rows,), grid = gradients, ctx.grid
        to_grid = to_rows.index_select(0, grid.queries).index_fill_(0, grid.empty, 0.0)
        return to_rows[: grid.prefix * grid.heads], to_grid, None


def grid_attention(
    grid: Grid,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    scale: float,
    window: int | None = None,
    stored: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The prefix looks at itself, each item at the prefix and at itself.

    Args:
        query, key, value: ``(prefix + N, heads or kv_heads, head_dim)``.
        mask: ``(1 or kv_heads · B, groups · T, seen + T)``, additive.
        stored: keys and values of the prefix, each ``(kv_heads, seen, head_dim)``, if it is not in the row.

    Returns:
        ``(prefix + N, heads, head_dim)``.
    """
    tokens, heads, size = query.shape
    if stored is not None:
        key, value = (torch.cat([old.transpose(0, 1), new]) for old, new in zip(stored, (key, value), strict=True))
    queries, keys, values = query.reshape(-1, size), key.reshape(-1, size), value.reshape(-1, size)
    if not grid.tokens:
        return _prefix_attention(grid, queries, keys, values, scale, window).view(tokens, heads, size)
    first, queries = call(_Spread, queries, grid, True)
    first_keys, keys = _spread_keys(keys, grid)
    first_values, values = _spread_keys(values, grid)
    if grid.prefix:
        first = _prefix_attention(grid, first, first_keys, first_values, scale, window)
    found = _scaled(grid, queries, keys, values, mask, scale)
    rows: Tensor = call(_Collect, first, found.reshape(-1, size), grid)
    return rows.view(tokens, heads, size)


def _spread_keys(rows: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    if not grid.inline:  # nothing is learnt behind a stored prefix
        return rows[:0], rows.index_select(0, grid.keys)
    first, spread = call(_Spread, rows, grid, False)
    return first, spread


def _scaled(grid: Grid, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of the items, on their grid."""
    rows, longest, size = grid.kv_heads * grid.items, grid.longest, queries.shape[-1]
    keys, values = keys.view(rows, -1, size), values.view(rows, -1, size)
    if longest < FUSED_FROM:
        scores = torch.baddbmm(mask, queries.view(rows, -1, size), keys.transpose(1, 2), alpha=scale)
        return torch.bmm(torch.softmax(scores, -1), values)
    return F.scaled_dot_product_attention(
        queries.view(rows, grid.groups, longest, size),
        keys[:, None].expand(-1, grid.groups, -1, -1),
        values[:, None].expand(-1, grid.groups, -1, -1),
        attn_mask=mask.view(len(mask), grid.groups, longest, -1),
        scale=scale,
    )


def _prefix_attention(
    grid: Grid, queries: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None
) -> Tensor:
    """Rows of the prefix, ``(prefix · heads, head_dim)``: each of its tokens looks at those before it."""
    length, size = grid.prefix, queries.shape[-1]
    queries = queries.view(length, grid.kv_heads, grid.groups, size).permute(1, 2, 0, 3)
    keys, values = (part.view(length, grid.kv_heads, size).transpose(0, 1) for part in (keys, values))
    allowed = torch.ones(length, length, dtype=torch.bool, device=queries.device).tril()
    if window is not None:
        allowed = allowed.triu(1 - window)
    if length < FUSED_FROM:  # the fused kernel's gradient takes ten times as long for so few
        mask = torch.zeros_like(allowed, dtype=queries.dtype).masked_fill(~allowed, torch.finfo(queries.dtype).min)
        folded = queries.reshape(grid.kv_heads, -1, size)
        scores = torch.baddbmm(mask.repeat(grid.groups, 1), folded, keys.transpose(1, 2), alpha=scale)
        found = torch.bmm(torch.softmax(scores, -1), values).view(grid.kv_heads, grid.groups, length, size)
    else:
        found = F.scaled_dot_product_attention(
            queries,
            keys[:, None].expand(-1, grid.groups, -1, -1),
            values[:, None].expand(-1, grid.groups, -1, -1),
            attn_mask=allowed,
            scale=scale,
        )
    return found.permute(2, 0, 1, 3).reshape(-1, size)
