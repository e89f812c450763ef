"""Documents become labelled examples: a table being labelled, key by key or as a sheet to be filled in."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from metier.errors import MetierError, nearest
from metier.run.labelled import Item, Items, cell, checked_labels, read_items
from metier.sources import writable_format, write_table

if TYPE_CHECKING:
    from metier.inference.specialist import Answer

ORDERS = ("given", "uncertain", "disagreements")
ADDED = ("label", "labeller", "suggested", "probability", "labelled_at")


class Suggests(Protocol):
    """What a :class:`~metier.inference.specialist.Specialist` does here."""

    labels: list[str]

    def predict(self, texts: Iterable[str], /) -> Sequence[Any]:
        """Answer each text, in order."""
        ...


@dataclass(frozen=True)
class Given:
    """A label, who gave it and when (ISO 8601, UTC), and what a model had suggested to them."""

    label: str
    labeller: str
    suggested: str
    probability: str
    labelled_at: str


class Labelling:
    """A table that is being labelled. What is labelled is in ``out`` at once, and only that, in the table's order.

    So ``out`` can be a recipe's table at any time, and whoever starts again goes on where they were.
    """

    def __init__(
        self,
        source: Path,
        out: Path,
        labels: Sequence[str] | None,
        *,
        text: str = "text",
        identity: str | None = None,
        gold: str = "label",
        labeller: str | None = None,
        specialist: Suggests | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Read the table, the labels that it and ``out`` hold, and a model's suggestions.

        Args:
            labels: in the order of their keys; None takes the specialist's.
            gold: the column of ``source`` with labels that are there already; the usual ``label`` may be absent.
            labeller: written beside each label; None takes the login name.
            specialist: suggests a label for every text.

        Raises:
            MetierError: a missing column, an unknown label (with row and nearest), labels that the specialist has and
                this task has not, an ``out`` that holds other rows than ``source``.
        """
        if source.resolve() == out.resolve():
            raise MetierError("the table cannot be its own output", where=str(out), fix="give --out another name")
        writable_format(out)  # before anything is labelled
        self.labels = _declared(labels, specialist)
        self.out, self.now = out, now
        self.labeller = labeller or _login()
        self.items = read_items(source, text=text, identity=identity, label=gold)
        if gold != "label" and gold not in self.items.columns:  # named, so that there are labels to be found
            fix = f"{nearest(gold, self.items.columns)}; name the column of labels with --gold, or leave it out"
            raise MetierError(f"there is no column '{gold}'", where=str(source), fix=fix)
        if not self.items.by_key:
            raise MetierError("there is no text to label", where=str(source), fix="give a table with at least one text")
        self.given = self.stated = self._read(self.items, gold)
        if out.exists():
            written = read_items(out, text=text, identity=identity)
            self._check_same(written, source)
            self.given = self.stated | self._read(written, "label")
            self.items = _with_notes(self.items, written)
        texts = [item.text for item in self.items.by_key.values()]
        answers = specialist.predict(texts) if specialist else []
        self.suggestions: dict[str, Answer] = dict(zip(self.items.by_key, answers, strict=False))

    def _read(self, items: Items, column: str) -> dict[str, Given]:
        return {
            key: Given(label, *(cell(items.by_key[key].values.get(name)) for name in ADDED[1:]))
            for key, label in checked_labels(items, self.labels, column).items()
        }

    def _check_same(self, written: Items, source: Path) -> None:
        strange = next((item for key, item in written.by_key.items() if key not in self.items.by_key), None)
        if strange or "label" not in written.columns:
            what = f"row {strange.number} is not in {source}" if strange else "it has no column 'label'"
            raise MetierError(
                f"the output exists and holds something else: {what}", where=str(self.out), fix="name another --out"
            )

    def summary(self) -> str:
        """What was found, in one line."""
        items = self.items
        return (
            f"{items.path}: {len(items.by_key)} texts, {len(self.given)} labelled already"
            f" ({items.empty} rows with an empty text and {items.repeated} with a repeated one left out)"
        )

    def queue(self, order: str | None = None) -> list[Item]:
        """What to look at: all that has no label, in the order asked for; disagreements first where there are any.

        ``given``: as in the table. ``uncertain``: least sure suggestions first. ``disagreements``: as in the table, but
        before those, labelled rows for which another label is suggested, surest suggestion first, unless the label was
        given with that suggestion in view.
        """
        order = order or ("disagreements" if self.suggestions else "given")
        if order not in ORDERS:
            raise MetierError(f"there is no order '{order}'", where="--order", fix=nearest(order, ORDERS))
        if order != "given" and not self.suggestions:
            raise MetierError(f"--order {order} needs suggestions", fix="name a finished run: --suggest RUN")
        items = self.items.by_key.values()
        fresh = [item for item in items if item.key not in self.given]
        if order == "given":
            return fresh

        def sure(item: Item) -> float:
            return self.suggestions[item.key].probability

        if order == "uncertain":
            return sorted(fresh, key=sure)
        disputed = [item for item in items if item.key in self.given and self._disputed(item.key)]
        return [*sorted(disputed, key=sure, reverse=True), *fresh]

    def _disputed(self, key: str) -> bool:
        suggested, given = self.suggestions[key].label, self.given[key]
        return given.label != suggested and given.suggested != suggested

    def suggested(self, key: str) -> tuple[str, str]:
        """The suggested label and its probability as they are written; empty where there is none."""
        answer = self.suggestions.get(key)
        return (answer.label, f"{answer.probability:.6f}") if answer else ("", "")

    def put(self, key: str, label: str | None) -> Given | None:
        """Label an item, or with None take its label away, and save; returns what was there before."""
        given = None
        if label is not None:
            at = self.now().isoformat(timespec="seconds")
            given = Given(label, self.labeller, *self.suggested(key), at)
        return self.restore(key, given)

    def restore(self, key: str, given: Given | None) -> Given | None:
        """Set or take away what is known of an item, and save; returns what was there before."""
        before = self.given.pop(key, None)
        if given is not None:
            self.given[key] = given
        self.save()
        return before

    def save(self) -> None:
        """Write every labelled row."""
        self._write(item for item in self.items.by_key.values() if item.key in self.given)

    def _write(self, items: Iterable[Item], more: Callable[[str], dict[str, str]] = lambda _: {}) -> None:
        columns = list(dict.fromkeys([*self.items.columns, *ADDED]))
        rows = ({**item.values, **self._cells(item.key), **more(item.key)} for item in items)
        write_table(self.out, rows, columns)

    def _cells(self, key: str) -> dict[str, str]:
        given = self.given.get(key) or Given("", "", *self.suggested(key), "")
        return {name: getattr(given, name) for name in ADDED}

    def write_sheet(self, order: str | None = None) -> int:
        """Write what has no label yet, with an empty column ``label`` to fill in; returns the number of rows.

        Rows for a second look keep their label, and show what is suggested instead.

        Raises:
            MetierError: the file exists: somebody may have filled it in.
        """
        if self.out.exists():
            fix = "name another --out, or take its labels with --import"
            raise MetierError("the sheet exists already", where=str(self.out), fix=fix)
        queue = self.queue(order)
        self._write(queue, lambda key: dict(zip(("suggested", "probability"), self.suggested(key), strict=True)))
        return len(queue)

    def take_labels(self) -> tuple[int, int]:
        """Write the rows of a filled sheet that have a label; returns how many there are, and how many of them changed.

        A label of the sheet replaces another one that ``out`` has.
        """
        if not self.given:
            where = f"{self.items.path}, {len(self.items.by_key)} rows"
            raise MetierError("no row has a label", where=where, fix="fill the column 'label', or name it with --gold")
        at = self.now().isoformat(timespec="seconds")
        changed = {key: given for key, given in self.stated.items() if given.label != self.given[key].label}
        self.given |= changed
        for key, given in self.given.items():
            who, when = given.labeller or self.labeller, given.labelled_at or at
            self.given[key] = Given(given.label, who, given.suggested, given.probability, when)
        self.save()
        return len(self.given), len(changed)


def _with_notes(items: Items, written: Items) -> Items:
    """The items with the columns that somebody added to the output, so that these are not lost when it is written."""
    by_key = dict(items.by_key)
    for key, item in written.by_key.items():
        by_key[key] = replace(by_key[key], values={**item.values, **by_key[key].values})
    return replace(items, columns=list(dict.fromkeys([*items.columns, *written.columns])), by_key=by_key)


def _declared(labels: Sequence[str] | None, specialist: Suggests | None) -> list[str]:
    if labels is None:
        if specialist is None:
            raise MetierError("the labels are not known", fix="name them: --labels positive,neutral,negative")
        return list(specialist.labels)
    stated = [label.strip() for label in labels if label.strip()]
    if len({label.casefold() for label in stated}) != len(stated) or len(stated) < 2:
        raise MetierError(
            f"at least two labels are needed, each once; found: {', '.join(stated) or 'none'}",
            where="--labels",
            fix="separate them by commas: --labels positive,neutral,negative",
        )
    strange = [label for label in specialist.labels if label not in stated] if specialist else []
    if strange:
        raise MetierError(
            f"the specialist knows a label '{strange[0]}' that --labels does not name", fix=nearest(strange[0], stated)
        )
    return stated


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:  # a container may have no name for its user
        raise MetierError("it is not known who labels", fix="give a name: --labeller NAME") from error
