"""A rubric workbench: one directory with blinded items, raters with their items, and what they said.

::

    DIR/rubric.yaml          the axes                       guide.md       the same, for people who fill in a sheet
    DIR/items.jsonl          questions and answers          key.json       whose answers they are: for the report alone
    DIR/raters/NAME.json     items in this rater's order    ratings/NAME.jsonl   one line a save, never changed
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from metier.errors import MetierError, nearest
from metier.evaluation.rubric_axes import Axis, Rubric, read_rubric
from metier.files import explain_os_errors, write_json

Said = dict[str, dict[str, str | None]]
_NAME = re.compile(r"^[^\W_](?:[\w .-]{0,38}[\w-])?$")
_AGAIN = "the workbench is damaged: restore this file from a copy"


@dataclass(frozen=True)
class Item:
    """What is judged: a question with one answer, or with the two that are compared. Nothing says whose they are."""

    id: str
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Rater:
    """Who judges. ``items`` in this rater's order, each with whether A and B change places; ``machine`` of a judge."""

    name: str
    items: dict[str, bool]
    machine: dict[str, Any] | None = None


def check_name(name: str) -> str:
    """A rater's name, which is also a file's: letters, digits, spaces, dots, hyphens and underscores."""
    if not _NAME.match(name):
        fix = "use at most 40 letters, digits, spaces, dots and hyphens, beginning with a letter or a digit"
        raise MetierError(f"a rater cannot be called {name!r}", fix=fix)
    return name


class Workbench:
    """Reads a workbench's directory and adds ratings to it; safe for several threads."""

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Open ``folder``.

        Raises:
            MetierError: it holds no workbench, or a file of it is damaged.
        """
        self.folder, self.now = folder, now
        if not (folder / "rubric.yaml").is_file() or not (folder / "items.jsonl").is_file():
            raise MetierError("there is no workbench", where=str(folder), fix="make one: metier rubric new --help")
        self.rubric: Rubric = read_rubric((folder / "rubric.yaml").read_text("utf-8"), str(folder / "rubric.yaml"))
        lines = _read_lines(folder / "items.jsonl")
        self.items = {line["item"]: Item(line["item"], line["question"], tuple(line["answers"])) for line in lines}
        self.raters = {rater.name: rater for rater in map(_read_rater, sorted((folder / "raters").glob("*.json")))}
        self._lock = threading.Lock()
        self._said: dict[str, tuple[int, Said]] = {}

    def rater(self, name: str) -> Rater:
        """The rater of this name; an unknown one is a :class:`MetierError` with the nearest."""
        if name not in self.raters:
            raise MetierError(f"there is no rater '{name}'", where=str(self.folder), fix=nearest(name, self.raters))
        return self.raters[name]

    @property
    def people(self) -> list[str]:
        """Names of the raters that are people."""
        return [rater.name for rater in self.raters.values() if rater.machine is None]

    @property
    def machines(self) -> list[str]:
        """Names of the raters that are machines."""
        return [rater.name for rater in self.raters.values() if rater.machine is not None]

    def shown(self, rater: str, item: str) -> Item:
        """An item as this rater sees it, A before B."""
        found = self.items[item]
        flipped = self.rater(rater).items[item]
        return Item(found.id, found.question, found.answers[::-1] if flipped else found.answers)

    def said(self, rater: str) -> Said:
        """What a rater chose so far, by item and axis, the latest of each. None: a machine's words without a choice."""
        path = self._log(rater)
        size = path.stat().st_size if path.exists() else 0
        known, found = self._said.get(rater, (0, {}))
        if size != known:  # another process added to it, or it was never read
            found = {}
            for number, line in enumerate(_read_lines(path), 1):
                self._check(rater, line, f"{path}, line {number}")
                found[line["item"]] = {**found.get(line["item"], {}), **line["values"]}
            self._said[rater] = (size, found)
        return found

    def _check(self, rater: str, line: Any, where: str) -> None:
        if not isinstance(line, dict) or not isinstance(line.get("values"), dict):
            raise MetierError("not a rating", where=where, fix=_AGAIN)
        if line.get("item") not in self.rater(rater).items:
            what = f"a rating for an answer that '{rater}' was not given: {line.get('item')!r}"
            raise MetierError(what, where=where, fix=_AGAIN)
        for name, value in line["values"].items():
            self.check_choice(name, value, where, machine=self.rater(rater).machine is not None)

    def check_choice(self, name: str, value: object, where: str, *, machine: bool = False) -> Axis:
        """The axis of a choice.

        Raises:
            MetierError: an unknown axis or option, with the nearest.
        """
        axis = self.rubric.axis(name)
        if axis is None:
            names = [one.name for one in self.rubric.axes]
            raise MetierError(f"there is no axis '{name}'", where=where, fix=nearest(name, names))
        if value not in self.rubric.options(axis) and not (machine and value is None):
            fix = nearest(str(value), self.rubric.options(axis))
            raise MetierError(f"'{value}' is no option of '{name}'", where=where, fix=fix)
        return axis

    def complete(self, rater: str, item: str) -> bool:
        """Whether every axis of an item was judged; a machine's words without a choice are no judgement."""
        said = self.said(rater).get(item, {})
        return all(said.get(axis.name) is not None for axis in self.rubric.axes)

    def done(self, rater: str) -> int:
        """How many items a rater has judged on every axis."""
        return sum(self.complete(rater, item) for item in self.said(rater))

    def record(self, rater: str, item: str, values: Mapping[str, str | None], **more: Any) -> None:
        """Add choices to a rater's file; they are on the disk when this returns.

        Raises:
            MetierError: an item that the rater was not given, an unknown axis or option, a full disk.
        """
        line = {"at": self.now().isoformat(timespec="seconds"), "item": item, "values": dict(values), **more}
        self._check(rater, line, f"rater '{rater}', answer '{item}'")
        # one process may serve the page while another imports a sheet
        with self._lock, FileLock(self.folder / ".lock"):
            before = self.said(rater)
            append_line(self._log(rater), line)
            after = {**before, item: {**before.get(item, {}), **values}}  # a new one: others may be reading the old
            self._said[rater] = (self._log(rater).stat().st_size, after)

    def add_machine(self, name: str, about: dict[str, Any]) -> Rater:
        """Make a judge a rater of every item, or find the one that is there.

        Raises:
            MetierError: the name is a person's, or another judge's.
        """
        same = next((other for other in self.raters if other.casefold() == check_name(name).casefold()), None)
        known = self.raters[same].machine if same else None
        if same and known == about:
            return self.raters[same]
        if same and (known is None or any(v is not None for said in self.said(same).values() for v in said.values())):
            what = "a person" if known is None else "another judge: model, address or prompt differ"
            raise MetierError(f"the name '{same}' is taken by {what}", fix="give this judge its own --name")
        if same:  # it never judged anything, as where its address was wrong or nothing could be read
            del self.raters[same]
            (self.folder / "raters" / f"{same}.json").unlink()
        # each question of a comparison is shown to a judge as its file says; half of them change places
        items = {item: place % 2 == 1 and self.rubric.mode == "pairwise" for place, item in enumerate(self.items)}
        self.raters[name] = Rater(name, items, about)
        write_rater(self.folder, self.raters[name])
        return self.raters[name]

    def token(self) -> str:
        """The secret of this workbench's forms, made once: pages that are open go on working after a restart."""
        path = self.folder / ".token"
        with explain_os_errors(path), FileLock(self.folder / ".lock"):
            if not path.exists() or not path.stat().st_size:  # an empty one is of a crash, and would be no secret
                path.touch(mode=0o600)
                path.write_text(secrets.token_urlsafe(32), encoding="utf-8")
            return path.read_text("utf-8")

    def _log(self, rater: str) -> Path:
        return self.folder / "ratings" / f"{rater}.jsonl"


def write_rater(folder: Path, rater: Rater) -> None:
    """Write ``raters/NAME.json``."""
    record = {"name": rater.name, "items": rater.items} | ({"machine": rater.machine} if rater.machine else {})
    write_json(folder / "raters" / f"{rater.name}.json", record)


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Add one line of JSON to a file and wait until it is on the disk.

    The rest of a line that was cut off by a crash is taken away first: nobody was told that it was kept.
    """
    data = (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _read_lines(path: Path) -> list[Any]:
    """Lines of JSON; a last line without its end was never acknowledged and does not count."""
    with explain_os_errors(path):
        data = path.read_bytes()
    found = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise MetierError(f"not valid JSON: {error}", where=f"{path}, line {number}", fix=_AGAIN) from error
    return found


def _read_rater(path: Path) -> Rater:
    try:
        record = json.loads(path.read_text("utf-8"))
        name, items = check_name(record["name"]), {str(item): bool(flip) for item, flip in record["items"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise MetierError(f"not a rater: {error}", where=str(path), fix=_AGAIN) from error
    if name != path.stem:
        raise MetierError(f"it names the rater '{name}'", where=str(path), fix=_AGAIN)
    return Rater(name, items, record.get("machine"))
