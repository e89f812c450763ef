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
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "metier"
# Above this many tokens a prompt, the scores of plain matmuls cost more memory than a fused kernel saves time.
FUSED_FROM = 512


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
    masks: dict[tuple[torch.dtype, int | None], Tensor] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        """Prefix tokens that the items attend to, in this row or stored."""
        return self.prefix if self.stored is None else int(self.stored[0][0].shape[1])

    def mask(self, dtype: torch.dtype, window: int | None) -> Tensor:
        """Additive mask ``(1 or B, T, seen + T)`` for a layer, with its sliding window if it has one."""
        key = (dtype, window)
        if key not in self.masks:
            allowed = self.allowed
            if window is not None:
                at = self.positions[0, self.prefix :][self.gather]  # (B, T)
                keys = torch.cat([torch.arange(self.seen, device=at.device).expand(len(at), -1), at], 1)
                allowed = allowed & (at[:, :, None] - keys[:, None, :] < window)
            minus_infinity = torch.finfo(dtype).min
            self.masks[key] = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(
                ~allowed, minus_infinity
            )
        return self.masks[key]


_active: contextvars.ContextVar[Pack | None] = contextvars.ContextVar("metier_pack", default=None)


@contextlib.contextmanager
def packed(pack: Pack) -> Iterator[None]:
    """Within this context the model's attention layers read ``pack``'s layout."""
    token = _active.set(pack)
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
    sizes = torch.tensor(lengths)
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
    pack = _active.get()
    if pack is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = int(getattr(module, "layer_idx", -1))
    pack.layers += 1
    if pack.collect is not None:
        pack.collect[layer] = (key[0, :, : pack.prefix].clone(), value[0, :, : pack.prefix].clone())
    parts = []
    if pack.prefix:
        parts.append(_prefix_attention(pack, query, key, value, scale, sliding_window))
    if pack.scatter.numel():
        parts.append(item_attention(pack, layer, query[0], key[0], value[0], scale, sliding_window))
    output = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    return output.transpose(0, 1)[None], None


def _prefix_attention(
    pack: Pack, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
) -> Tensor:
    """The prefix looks at itself alone: ``(heads, prefix, head_dim)``."""
    groups, length = query.shape[1] // key.shape[1], pack.prefix
    mask = None
    if window is not None and window < length:
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - window)
    return F.scaled_dot_product_attention(
        query[:, :, :length],
        key[:, :, :length].repeat_interleave(groups, 1),
        value[:, :, :length].repeat_interleave(groups, 1),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
    )[0]


def item_attention(
    pack: Pack, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None = None
) -> Tensor:
    """Each item looks at the prefix and at itself, ``(heads or kv_heads, prefix + N, head_dim)``.

    Returns ``(heads, N, head_dim)``.
    """
    heads, kv_heads, size = query.shape[0], key.shape[0], query.shape[2]
    groups, (items, longest) = heads // kv_heads, pack.gather.shape
    before, seen = pack.prefix, pack.seen
    queries = _on_grid(pack, query[:, before:])  # (heads, B, T, head_dim)
    shared = pack.stored[layer] if pack.stored is not None else (key[:, :before], value[:, :before])
    keys, values = (
        torch.cat([old[:, None].expand(kv_heads, items, seen, size), _on_grid(pack, new[:, before:])], 2).reshape(
            kv_heads * items, seen + longest, size
        )
        for old, new in zip(shared, (key, value), strict=True)
    )
    reach = window if window is not None and window < seen + longest else None
    mask = pack.mask(query.dtype, reach)  # (1 or B, T, seen + T)
    # the query heads that share a key head are folded into the query length: no repeated keys
    folded = queries.reshape(kv_heads, groups, items, longest, size).transpose(1, 2)
    if longest >= FUSED_FROM:
        mask = mask[:, None] if len(mask) == 1 else mask.repeat(kv_heads, 1, 1)[:, None]
        output = F.scaled_dot_product_attention(
            folded.reshape(kv_heads * items, groups, longest, size),
            keys[:, None].expand(-1, groups, -1, -1),
            values[:, None].expand(-1, groups, -1, -1),
            attn_mask=mask,
            scale=scale,
        )
    else:
        mask = mask.repeat(1 if len(mask) == 1 else kv_heads, groups, 1)
        folded = folded.reshape(kv_heads * items, groups * longest, size)
        scores = torch.baddbmm(mask, folded, keys.transpose(1, 2), alpha=scale)
        output = torch.bmm(torch.softmax(scores, -1), values)
    output = output.reshape(kv_heads, items, groups, longest, size).transpose(1, 2)
    output = output.reshape(heads, items * longest, size)
    return output if items == 1 else output[:, pack.scatter]


def _on_grid(pack: Pack, row: Tensor) -> Tensor:
    """``(heads, N, head_dim)`` → ``(heads, B, T, head_dim)``; one item alone is its own grid."""
    return row[:, None] if len(pack.gather) == 1 else row[:, pack.gather]


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """No mask from transformers while a pack is active: :func:`attention` has its own."""
    if _active.get() is not None:
        return None
    mask: Tensor | None = sdpa_mask(*args, **kwargs)
    return mask


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, _mask)
