"""What a user sees while it works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from metier.evaluation.demand import in_words

Tick = Callable[[int], None]
"""Told how many more are done."""

console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


_shown: list[Progress] = []  # what stands on the terminal now: rich draws one at a time


@contextmanager
def bar(title: str, total: int, *, lines: bool = True) -> Iterator[Callable[..., None]]:
    """A progress bar with the time left; ``advance(n, note=…)`` moves it. Inside another bar it is one more row.

    Without a terminal there are lines instead of a bar, or nothing if ``lines`` are not wanted.
    """
    if not console.is_terminal:
        with _lines(title, total if lines else 0) as advance:
            yield advance
        return
    if _shown:
        with _row(_shown[0], title, total) as advance:
            yield advance
        return
    columns = (
        TextColumn("  [bold]{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        _shown.append(progress)
        try:
            with _row(progress, title, total) as advance:
                yield advance
        finally:
            _shown.clear()


@contextmanager
def _row(progress: Progress, title: str, total: int) -> Iterator[Callable[..., None]]:
    row = progress.add_task(title, total=total, note="")

    def advance(count: int, note: str = "") -> None:
        progress.update(row, advance=count, note=note)

    yield advance
    progress.remove_task(row)


@contextmanager
def _lines(title: str, total: int) -> Iterator[Callable[..., None]]:
    """One line every tenth of the way: for logs."""
    done, shown = 0, 0

    def advance(count: int, note: str = "") -> None:
        nonlocal done, shown
        done += count
        if total and done * 10 // total > shown:
            shown = done * 10 // total
            console.print(f"  {title}: {done}/{total} {note}".rstrip())

    yield advance


def show_scores(entries: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    """A line for each system of ``scores.json``, and what became of a demand."""
    wide = max(20, *map(len, entries))
    for name, entry in entries.items():
        if entry["status"] != "ok":
            console.print(f"  {name:<{wide}} {entry['status']}: {entry['reason']}", markup=False)
            continue
        found = entry["metrics"][metric]
        ends = "(no interval)" if found["low"] is None else f"[{found['low']:.3f}, {found['high']:.3f}]"
        line = f"{found['value']:.3f}  {ends}  n = {found['n']}"
        line += f"  read {entry['parse_rate']:.1%}" if entry["parse_rate"] < 1 else ""
        console.print(f"  {name:<{wide}} {metric} {line}", markup=False)
    if demanded := entries["specialist"].get("selective"):
        console.print(f"  {in_words(demanded)}", markup=False)
