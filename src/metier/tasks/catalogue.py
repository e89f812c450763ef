"""The tasks that metier knows by name."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from metier.errors import MetierError, nearest
from metier.sources import Lock, fetch_file, hub_reachable, load_hub_dataset
from metier.tasks.choices import alike_left_out
from metier.tasks.example import Example, Loaded
from metier.tasks.formats import READERS
from metier.tasks.prepare import key_of
from metier.tasks.protocols import OWN, arrange, under
from metier.tasks.records import Columns, to_examples, unique_ids
from metier.tasks.task import DataSource, Protocol, Reading, Task

FOLDER = resources.files("metier.tasks") / "catalogue"
_PLACES = ("embedded", "local", "pypi", "hub")
_FATAL = ("wrong hash", "the disk is full")
"""Faults that reading the data from another place would only hide."""


@functools.cache
def names() -> list[str]:
    """Names of all tasks, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in FOLDER.iterdir() if entry.name.endswith(".yaml"))


@functools.cache
def get(name: str) -> Task:
    """A task by its name; an unknown one is a :class:`MetierError` with the nearest name."""
    if name not in names():
        raise MetierError(f"there is no task '{name}'", fix=nearest(name, names()))
    return Task.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def load_task(
    name: str,
    variant: str | None = None,
    *,
    protocol: str = OWN,
    agreement: bool = False,
    data_root: Path | None = None,
    lock: Lock | None = None,
    offline: bool = False,
) -> Loaded:
    """Read a task's examples from the first of its places that has them: embedded, data root, package index, hub; then
    from places that lack something.

    Under a published protocol the task has its wording, and where the rows are the published ones, the examples have
    their parts. With ``agreement`` every example carries the share of annotators behind its label.

    Errors: :class:`MetierError` that lists every place and why it could not be read; a protocol that the task does not
    have.
    """
    task, chosen = under(get(name), protocol)
    wanted = _agreed(chosen, variant)
    value = _variant(task, wanted)
    task = _of_variant(task, wanted)
    shares = _shares(task) if agreement else {}
    failures: list[str] = []
    for place, lesser in (*((place, False) for place in _PLACES), *((place, True) for place in _PLACES)):
        sources = [source for source in task.sources if (source.where, source.lesser) == (place, lesser)]
        if not sources:
            continue
        try:
            examples = _read_all(sources, task, value, data_root, lock, offline)
            narrower = {
                share: _read_all(sources, task, task.variants[narrow], data_root, lock, offline)
                for narrow, share in shares.items()
            }
        except _AbsentError as error:
            failures.append(f"{place}: {error}")
            continue
        _check_labels(task, examples)
        examples, told = alike_left_out(task, examples)
        if agreement:
            examples = [replace(example, agreement=share) for example, share in _agreeing(examples, narrower)]
        where = f"{place}: " + ", ".join(_ref(source, value) for source in sources)
        return _loaded(task, chosen, list(unique_ids(examples)), sources, where, told)
    raise _out_of_reach(name, chosen, protocol, failures)


def _loaded(
    task: Task,
    protocol: Protocol | None,
    examples: list[Example],
    sources: Sequence[DataSource],
    where: str,
    told: list[str],
) -> Loaded:
    """The examples as the protocol arranges them, with what a user should know about where they came from."""
    told += list(dict.fromkeys(source.note for source in sources if source.note))
    if protocol:
        examples = arrange(examples, protocol, task.name)
        told.append(f"protocol of {protocol.title}, {protocol.mark}: {protocol.note}")
    steps = dict.fromkeys(step for source in sources for step in source.options.get("clean", ()))
    task = task.model_copy(update={"reading": Reading(clean=list(steps))})
    return Loaded(task, examples, where, told, protocol)


def _out_of_reach(name: str, protocol: Protocol | None, called: str, failures: Sequence[str]) -> MetierError:
    if protocol and protocol.sources:
        return MetierError(
            f"the rows of the protocol '{called}' for '{name}' cannot be had: {protocol.note}",
            where="; ".join(failures),
            fix="put the file there or connect to the hub, or leave protocol out for metier's own split",
        )
    return MetierError(
        f"the data of '{name}' cannot be had",
        where="; ".join(failures),
        fix="set --data-root (or METIER_DATA) to a folder that holds it, or connect to the hub: check the network, "
        "HF_ENDPOINT and --offline",
    )


def _shares(task: Task) -> dict[str, float]:
    if not task.agreement:
        raise MetierError(
            f"the agreement of the annotators of '{task.name}' was not published",
            where="recipe, adapt.soft_labels",
            fix="leave soft_labels out",
        )
    return task.agreement


def _agreeing(examples: list[Example], narrower: dict[float, list[Example]]) -> Iterator[tuple[Example, float | None]]:
    """Every example with the largest share under which its text and label are listed."""
    found: dict[tuple[tuple[str, ...], str], float] = {}
    for share, members in narrower.items():
        for member in members:
            key = (key_of(member), member.target)
            found[key] = max(share, found.get(key, 0.0))
    return ((example, found.get((key_of(example), example.target))) for example in examples)


class _AbsentError(Exception):
    """This place does not have the data; the next may."""


def _agreed(protocol: Protocol | None, variant: str | None) -> str | None:
    if protocol is None or protocol.variant is None or variant in (None, protocol.variant):
        return variant if protocol is None or variant else protocol.variant
    raise MetierError(
        f"{protocol.title} is defined on the variant '{protocol.variant}', not on '{variant}'",
        where="recipe, task.variant",
        fix="leave the variant out",
    )


def _variant(task: Task, variant: str | None) -> str:
    if not task.variants:
        if variant:
            raise MetierError(f"'{task.name}' has no variants", where="recipe, task.variant", fix="leave it out")
        return ""
    chosen = variant or next(iter(task.variants))
    if chosen not in task.variants:
        raise MetierError(
            f"'{task.name}' has no variant '{chosen}'", where="recipe, task.variant", fix=nearest(chosen, task.variants)
        )
    return task.variants[chosen]


def _of_variant(task: Task, variant: str | None) -> Task:
    """The task with the wording and the places of one of its variants."""
    name = variant or next(iter(task.variants), "")
    changes: dict[str, object] = {
        "sources": [source for source in task.sources if not source.variants or name in source.variants],
        "templates": {},
    }
    if name in task.templates:
        changes["template"] = task.templates[name]
    return task.model_copy(update=changes)


def _ref(source: DataSource, value: str) -> str:
    return source.ref.replace("{variant}", value)


def _read_all(
    sources: Sequence[DataSource], task: Task, value: str, data_root: Path | None, lock: Lock | None, offline: bool
) -> list[Example]:
    return [example for source in sources for example in _read(source, task, value, data_root, lock, offline)]


def _read(
    source: DataSource, task: Task, value: str, data_root: Path | None, lock: Lock | None, offline: bool
) -> list[Example]:
    if source.where == "hub" and "!" not in source.ref:
        examples = _whole_set(source, lock, offline)
        return [replace(example, split=source.split) for example in examples] if source.split else examples
    path = _locate(source, _ref(source, value), data_root, lock, offline)
    name = path.name if source.where != "embedded" else task.name
    options = {key: value if option == "{variant}" else option for key, option in source.options.items()}
    examples = READERS[source.reader](path, name, options)
    changes: dict[str, Any] = {key: given for key, given in (("split", source.split), ("group", source.group)) if given}
    return [replace(example, **changes) for example in examples] if changes else list(examples)


def _whole_set(source: DataSource, lock: Lock | None, offline: bool) -> list[Example]:
    """One split of a data set of the Hub, in the order it has there."""
    options = {**source.options}
    part = str(options.pop("hub_split"))
    name = f"{source.ref.removeprefix('hf:')} {part}"
    try:
        rows = load_hub_dataset(source.ref, split=part, lock=lock, offline=offline or not hub_reachable(offline))
        return to_examples(rows, Columns(**options), name).examples
    except MetierError as error:
        if error.what.startswith(_FATAL) or (error.where or "").startswith(name):
            raise
        raise _AbsentError(f"{source.ref}: {error.what}") from error


def _locate(source: DataSource, ref: str, data_root: Path | None, lock: Lock | None, offline: bool) -> Path:
    if source.where == "embedded":
        path = Path(str(resources.files("metier.tasks") / "data" / ref))
        if not path.is_file():
            raise _AbsentError(f"this installation lacks {path}")
        return path
    if source.where == "local":
        if data_root is None:
            raise _AbsentError("no --data-root (or METIER_DATA) is set")
        path = data_root / ref
        if not path.exists():
            raise _AbsentError(f"{path} does not exist")
        return fetch_file(str(path), lock=lock).path
    # a hub out of reach still leaves what was fetched before
    offline = offline or (source.where == "hub" and not hub_reachable(offline))
    try:
        return fetch_file(ref, lock=lock, offline=offline).path
    except MetierError as error:
        if error.what.startswith(_FATAL):
            raise
        raise _AbsentError(f"{ref}: {error.what}") from error


def _check_labels(task: Task, examples: list[Example]) -> None:
    for example in examples:
        if task.kind == "classification" and example.target not in task.labels:
            raise MetierError(
                f"unknown label {example.target!r}", where=example.source_row, fix=nearest(example.target, task.labels)
            )
