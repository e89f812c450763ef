"""Which examples run together: near in length, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from metier.models.packed import Item

TOKEN_BUDGET = 4096


def by_budget(items: Sequence[Item], budget: int = TOKEN_BUDGET, *, prefix: int = 0) -> list[list[int]]:
    """Cut ``items`` (indices, in the given order) into runs whose attention grid holds at most ``budget`` tokens.

    The grid pads to the longest item of a run, and each item also looks at ``prefix`` keys.
    """
    runs: list[list[int]] = []
    longest = 0
    for index, item in enumerate(items):
        longest = max(longest, item.tokens)
        if runs and (len(runs[-1]) + 1) * (longest + prefix // 4) <= budget:
            runs[-1].append(index)
        else:
            runs.append([index])
            longest = item.tokens
    return runs


def sorted_runs(items: Sequence[Item], budget: int = TOKEN_BUDGET, *, prefix: int = 0) -> list[list[int]]:
    """Like :func:`by_budget` over the items sorted by length; indices refer to the given order."""
    order = sorted(range(len(items)), key=lambda i: (items[i].tokens, i))
    runs = by_budget([items[i] for i in order], budget, prefix=prefix)
    return [[order[i] for i in run] for run in runs]
