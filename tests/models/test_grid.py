"""Rows to the grid and back: every gradient arrives where its number came from."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.models import grid as grids
from metier.models.grid import Grid, grid_attention
from metier.models.packed import Item, build_pack


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    prefix=st.integers(0, 3),
    kv_heads=st.integers(1, 2),
    groups=st.integers(1, 3),
    fused=st.booleans(),
)
def test_gradients_are_those_of_small_steps(
    lengths: list[int], prefix: int, kv_heads: int, groups: int, fused: bool
) -> None:
    pack = build_pack(range(prefix), [Item(tuple(range(n)), ((5, 6),)) for n in lengths])
    heads, size = kv_heads * groups, 2
    tokens = prefix + sum(lengths) + len(lengths)
    torch.manual_seed(0)
    rows = [torch.randn(tokens, n, size, dtype=torch.float64, requires_grad=True) for n in (heads, kv_heads, kv_heads)]
    mask = pack.folded_mask(torch.float64, None, heads, kv_heads)
    place = pack.grid(heads, kv_heads)
    before = grids.FUSED_FROM
    grids.FUSED_FROM = 1 if fused else before
    try:
        assert torch.autograd.gradcheck(lambda q, k, v: grid_attention(place, q, k, v, mask, 0.7), rows)
    finally:
        grids.FUSED_FROM = before


def test_a_row_stands_once_and_a_prefix_once_an_item() -> None:
    pack = build_pack((1, 2), [Item((3, 4, 5), ((6,),)), Item((7,), ((8,),))])
    place = Grid(pack.gather, pack.scatter, pack.prefix, pack.seen, heads=4, kv_heads=2)
    assert (place.items, place.longest, place.tokens, place.inline) == (2, 3, 4, True)
    assert torch.equal(place.queries[place.query_of], torch.arange(2 * 4, 6 * 4))
    assert torch.equal(place.keys[place.key_of], torch.arange(2 * 2, 6 * 2))
    assert len(place.empty) == 4 * 2  # the second item ends two tokens earlier, for each of four heads
    assert set(place.empty.tolist()).isdisjoint(place.query_of.tolist())
    assert sorted(place.keys.tolist()).count(0) == 2
