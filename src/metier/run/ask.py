"""Labelling in a terminal: one text at a time, one key a label."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from metier.errors import MetierError
from metier.run.label import Given, Labelling
from metier.run.labelled import Item

SKIP, UNDO, QUIT = "s", "u", "q"
_KEYS = "123456789" + "".join(letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in (SKIP, UNDO, QUIT))


@contextlib.contextmanager
def keyboard() -> Iterator[Callable[[], str]]:
    """Reads keys, without Enter; an empty text is the end. What is typed ahead is kept, and the terminal is restored.

    Where there is no terminal, the characters of standard input but for line ends.
    """
    if not sys.stdin.isatty():
        yield _next_character
        return
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield typer.getchar
        return
    terminal, ahead = sys.stdin.fileno(), list[str]()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)  # for the whole session: between two keys nothing is lost or shown
        yield lambda: _next_key(terminal, ahead)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _next_character() -> str:
    while (key := sys.stdin.read(1)) in ("\n", "\r"):
        pass
    return key


def _next_key(terminal: int, ahead: list[str]) -> str:
    if not ahead:
        typed = os.read(terminal, 64).decode(errors="replace")
        ahead += [typed] if typed.startswith("\x1b") else typed  # an arrow is several characters
    key = ahead.pop(0) if ahead else ""
    return "" if key == "\x04" else key  # Ctrl-D


def ask(work: Labelling, order: str | None, read_key: Callable[[], str], console: Console | None = None) -> int:
    """Show one text after the other and take a key for each, until all are looked at or the user quits.

    Args:
        read_key: one key (:func:`keyboard`); an empty text is the end of the input and quits.

    Returns:
        how many labels were given.
    """
    console = console or Console(highlight=False)
    queue, keys = work.queue(order), label_keys(work.labels)
    history: list[tuple[int, Given | None, bool]] = []
    place = 0
    while place < len(queue):
        item = queue[place]
        _show(work, item, f"{place + 1} of {len(queue)}", keys, console)
        key = read_key().lower()
        while key and key not in keys and key not in (SKIP, UNDO, QUIT):
            console.print(f"{key!r} is none of the keys", markup=False)
            key = read_key().lower()
        if key in ("", QUIT):
            break
        if key == UNDO:
            if not history:
                console.print("nothing to undo")
                continue
            place, before, labelled = history.pop()
            if labelled:
                work.restore(queue[place].key, before)
            continue
        before = work.put(item.key, keys[key]) if key in keys else None
        console.print(f"→ {keys.get(key, 'skipped')}", markup=False)
        history.append((place, before, key in keys))
        place += 1
    if work.given and not work.out.exists():
        work.save()  # what IN has labelled already
    return sum(labelled for _, _, labelled in history)


def label_keys(labels: Sequence[str]) -> dict[str, str]:
    """Keys of labels: a number (letters after the ninth), and the initial where it is free and only one label's.

    Raises:
        MetierError: there are more labels than keys.
    """
    if len(labels) > len(_KEYS):
        fix = "label in a spreadsheet: --sheet, then --import"
        raise MetierError(f"there are {len(labels)} labels and {len(_KEYS)} keys", fix=fix)
    keys = dict(zip(_KEYS, labels, strict=False))
    initials = [label[0].lower() for label in labels]
    for initial, label in zip(initials, labels, strict=True):
        if initial in _KEYS and initials.count(initial) == 1:
            keys.setdefault(initial, label)
    return keys


def _show(work: Labelling, item: Item, title: str, keys: dict[str, str], console: Console) -> None:
    console.print(Panel(Text(item.text), title=title, subtitle=f"row {item.number}", title_align="left"))
    if item.key in work.given:
        given = work.given[item.key]
        console.print(f"labelled {given.label} by {given.labeller or 'somebody'}", markup=False)
    if answer := work.suggestions.get(item.key):
        shares = sorted(answer.probabilities.items(), key=lambda pair: -pair[1])
        console.print(
            f"suggested {answer.label}: " + ", ".join(f"{label} {share:.2f}" for label, share in shares), markup=False
        )
    shown = [f"{'/'.join(key for key in keys if keys[key] == label)} {label}" for label in work.labels]
    console.print("   ".join([*shown, f"{SKIP} skip", f"{UNDO} undo", f"{QUIT} quit and save"]), markup=False)
