"""Labelling in a terminal: one text at a time, one key a label."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from metier.errors import MetierError
from metier.run.label import Given, Labelling
from metier.run.labelled import Item

SKIP, UNDO, QUIT = "s", "u", "q"
_KEYS = "123456789" + "".join(letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in (SKIP, UNDO, QUIT))


def read_key() -> str:
    """One key of the terminal, without Enter; elsewhere the next character that is no line end, empty at the end."""
    if sys.stdin.isatty():
        try:
            return typer.getchar()
        except EOFError:  # Ctrl-D
            return ""
    while (key := sys.stdin.read(1)) in ("\n", "\r"):
        pass
    return key


def ask(work: Labelling, order: str, read_key: Callable[[], str], console: Console | None = None) -> int:
    """Show one text after the other and take a key for each, until all are looked at or the user quits.

    Args:
        read_key: one key; an empty text is the end of the input and quits.

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
