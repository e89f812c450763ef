"""What a user sees while it works."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from metier.run import progress


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=file, force_terminal=terminal, width=100))
    return file


def test_a_bar_inside_another_is_one_more_row(monkeypatch: pytest.MonkeyPatch) -> None:
    file = shown(monkeypatch, terminal=True)
    with progress.bar("adapt", 4) as advance:
        advance(1, "loss 0.500")
        with progress.bar("validation", 8) as tick:
            tick(8)
            progress._shown[0].refresh()
        advance(1)
        assert [task.description for task in progress._shown[0].tasks] == ["adapt"]
    assert not progress._shown
    assert all(words in file.getvalue() for words in ("adapt", "validation", "8/8", "loss 0.500"))


def test_a_bar_that_breaks_off_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    shown(monkeypatch, terminal=True)
    with pytest.raises(KeyboardInterrupt), progress.bar("adapt", 4), progress.bar("validation", 8):
        raise KeyboardInterrupt
    assert not progress._shown


def test_without_a_terminal_there_are_lines_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    file = shown(monkeypatch, terminal=False)
    with progress.bar("adapt", 20) as advance, progress.bar("validation", 2, lines=False) as tick:
        for _ in range(4):
            advance(1, "loss 0.500")
        tick(2)
    assert file.getvalue().splitlines() == ["  adapt: 2/20 loss 0.500", "  adapt: 4/20 loss 0.500"]
