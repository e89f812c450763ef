"""Train, validation, test: stratified, seeded, grouped, and the same whatever the order of the rows."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metier.errors import MetierError
from metier.files import sha256_json
from metier.tasks.example import Example
from metier.tasks.labels import ONE_LABEL, joined
from metier.tasks.prepare import normalised

PARTS = ("train", "validation", "test")
CALIBRATION = "calibration"  # a half of validation that training never looks at, where one is asked for
FEWEST = 5  # rows a class must have: below, a part of the split would lack it by accident


@dataclass(frozen=True)
class Split:
    """The three parts, and how they were made."""

    parts: dict[str, list[Example]]
    seed: int
    fractions: dict[str, float]
    grouped: bool
    published: bool
    stratified: bool = True

    def to_json(self, labels: Sequence[str], duplicates: Mapping[str, Any]) -> dict[str, Any]:
        """What ``data/splits.json`` holds: membership, counts a class, a hash of it all."""
        parts = [*PARTS, *([CALIBRATION] if CALIBRATION in self.parts else [])]
        rows = {
            part: [[example.id, *_content(example), example.target] for example in self.parts[part]] for part in parts
        }
        counts = {part: Counter(_class(e, self.stratified) for e in self.parts[part]) for part in parts}
        labels = labels if self.stratified else [_ALL]
        return {
            "seed": self.seed,
            "fractions": self.fractions,
            "grouped": self.grouped,
            "published": self.published,
            "counts": {part: {label: counts[part].get(label, 0) for label in labels} for part in parts},
            "hash": sha256_json(rows),
            "duplicates": dict(duplicates),
            "ids": {part: [example.id for example in self.parts[part]] for part in parts},
        }


_ALL = "all"


def _class(example: Example, stratify: bool) -> str:
    return example.target if stratify else _ALL


def _content(example: Example) -> list[str]:
    """What an example says, its options as they stand: their order belongs to what was learnt."""
    parts = [value for _, value in sorted(example.inputs.items())]
    return [normalised(part) for part in (*parts, *example.choices)]


def split(examples: Sequence[Example], *, seed: int, fractions: Mapping[str, float], stratify: bool = True) -> Split:
    """Cut examples into parts by ``fractions`` (train, validation, test).

    Every class is spread in proportion, unless targets are no classes (``stratify`` false). Where examples carry
    groups, whole groups are assigned. Where all examples say themselves which part they belong to, that is kept, and a
    part that is missing is cut from train.

    Errors: :class:`MetierError` for a single class or one with too few rows, an id or a group in two parts, a split
    that only some rows have.
    """
    if stratify or not examples:
        _check_classes(examples)
    shares = {part: float(fractions[part]) for part in PARTS}
    grouped = any(example.group for example in examples)
    _check_ids(examples)
    if any(example.split for example in examples):
        parts = _published(examples, seed, shares, stratify)
        return Split(parts, seed, shares, grouped, published=True, stratified=stratify)
    parts = _assign(examples, seed, shares, stratify)
    for label in {_class(example, stratify) for example in examples}:
        for part in PARTS:
            if not any(_class(example, stratify) == label for example in parts[part]):
                raise _too_few(label if stratify else None, part, len(examples), shares, grouped)
    return Split(parts, seed, shares, grouped, published=False, stratified=stratify)


def _too_few(label: str | None, part: str, rows: int, shares: Mapping[str, float], grouped: bool) -> MetierError:
    unit, of_it = "groups" if grouped else "rows", "" if label is None else " of it"
    merge = "" if label is None else " merge it into another class (label_map),"
    return MetierError(
        f"no example is left for {part}" if label is None else f"the class '{label}' has no example in {part}",
        where=f"{rows} rows" + (", which stand in too few groups" if grouped else ""),
        fix=f"give at least {_enough(shares)} {unit}{of_it},{merge} or change the shares",
    )


def only_test(examples: Sequence[Example], *, seed: int, fractions: Mapping[str, float], stratify: bool) -> Split:
    """Everything is the test part: of examples that are only asked, where nothing is learnt.

    Errors: :class:`MetierError` for an id used twice.
    """
    _check_ids(examples)
    shares = {part: float(fractions[part]) for part in PARTS}
    grouped = any(example.group for example in examples)
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": list(examples)}
    return Split(parts, seed, shares, grouped, published=True, stratified=stratify)


def with_calibration(made: Split) -> Split:
    """The split with half of validation as a fourth part, ``calibration``: what chooses the weights never sees it.

    Labels in proportion, whole groups, seeded as the split itself.
    """
    shares = {"train": 0.0, "validation": 0.5, "test": 0.5}
    halves = _assign(made.parts["validation"], made.seed, shares, made.stratified)
    parts = {**made.parts, "validation": halves["validation"], CALIBRATION: halves["test"]}
    return replace(made, parts=parts)


def fewer(train: Sequence[Example], count: int, seed: int, *, written: bool = False) -> list[Example]:
    """``count`` of the examples with labels in proportion; a larger count holds all of a smaller one's.

    Answers that are ``written`` out, and options that differ from question to question, are no labels: of these the
    sample is a plain one, since in proportion to answers that hardly recur it would hold the commonest alone.
    """
    labelled = not written and len({frozenset(example.choices) for example in train}) == 1
    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(train, key=lambda e: hashlib.sha256(f"{seed}\x1f{e.id}".encode()).digest()):
        by_label[example.target if labelled else ""].append(example)
    placed = [
        ((place + 0.5) / len(members), label, example)
        for label, members in by_label.items()
        for place, example in enumerate(members)
    ]
    chosen = sorted(placed, key=lambda entry: entry[:2])[:count]
    return sorted((example for _, _, example in chosen), key=lambda example: example.id)


def _enough(shares: Mapping[str, float]) -> int:
    """So many rows of a class that no part can lack it: dealing stays within two thirds of a row of every share."""
    return math.ceil(1 / min(share for share in shares.values() if share > 0))


def _published(
    examples: Sequence[Example], seed: int, shares: dict[str, float], stratify: bool
) -> dict[str, list[Example]]:
    without = [example.source_row for example in examples if not example.split]
    if without:
        raise MetierError(
            f"{len(without)} of {len(examples)} rows have no split, the others do",
            where=", ".join(without[:5]),
            fix=f"write {', '.join(PARTS)} in every row, or leave the split column out",
        )
    unknown = sorted({str(example.split) for example in examples} - set(PARTS))
    if unknown:
        raise MetierError(f"unknown part {unknown[0]!r} in the split column", fix=f"use {', '.join(PARTS)}")
    parts = {part: [example for example in examples if example.split == part] for part in PARTS}
    if not parts["train"]:
        raise MetierError("the split column puts no row into train", fix="mend it, or leave it out")
    _check_groups(parts)
    missing = [part for part in ("validation", "test") if not parts[part]]
    if missing:
        cut = {part: shares[part] if part in ("train", *missing) else 0.0 for part in PARTS}
        parts |= {
            part: rows for part, rows in _assign(parts["train"], seed, _whole(cut), stratify).items() if cut[part]
        }
        for part in missing:
            if cut[part] and not parts[part]:
                fix = f"raise split.{part}: whole groups are moved" if parts["train"][0].group else "give more rows"
                raise MetierError(f"nothing is left of train for {part}", fix=fix)
    return parts


def _whole(shares: Mapping[str, float]) -> dict[str, float]:
    total = sum(shares.values())
    return {part: share / total for part, share in shares.items()}


def _check_groups(parts: Mapping[str, Sequence[Example]]) -> None:
    home: dict[str, tuple[str, Example]] = {}
    for part, members in parts.items():
        for example in members:
            if not example.group:
                continue
            other, first = home.setdefault(example.group, (part, example))
            if other != part:
                raise MetierError(
                    f"the group {example.group[:60]!r} stands in {other} and in {part}",
                    where=f"{first.source_row} and {example.source_row}",
                    fix="mend the split column, or leave it out to have groups kept together",
                )


def _check_ids(examples: Sequence[Example]) -> None:
    seen: dict[str, Example] = {}
    for example in examples:
        if seen.setdefault(example.id, example) is not example:
            raise MetierError(
                f"two examples have the id {example.id!r}",
                where=f"{seen[example.id].source_row} and {example.source_row}",
                fix="name a column of unique ids, or none",
            )


def _assign(
    examples: Sequence[Example], seed: int, shares: dict[str, float], stratify: bool
) -> dict[str, list[Example]]:
    """Deal units (groups, or single examples) so that every class fills each part in proportion."""
    units: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        units[f"g:{example.group}" if example.group else "k:" + "\x1f".join(_content(example))].append(example)
    # hashing puts the units in an order that depends on the seed and their content, not on the file's order
    order = sorted(units, key=lambda unit: hashlib.sha256(f"{seed}\x1f{unit}".encode()).digest())
    wanted = {part: share for part, share in shares.items() if share > 0}
    have: dict[str, Counter[str]] = {part: Counter() for part in wanted}
    seen: Counter[str] = Counter()
    parts: dict[str, list[Example]] = {part: [] for part in PARTS}
    for unit in order:
        members = sorted(units[unit], key=lambda example: example.id)
        label = Counter(sorted(_class(member, stratify) for member in members)).most_common(1)[0][0]
        seen[label] += len(members)
        # the part that lacks most of this class; test first where they are level, then validation
        part = max(reversed(list(wanted)), key=lambda name: wanted[name] * seen[label] - have[name][label])
        have[part][label] += len(members)
        parts[part] += members
    return {part: sorted(parts[part], key=lambda example: example.id) for part in PARTS}


def _check_classes(examples: Sequence[Example]) -> None:
    counts = Counter(example.target for example in examples)
    if not counts:
        raise MetierError("there is no example", fix="check the file and its columns")
    if len(counts) == 1:
        raise MetierError(
            f"all {len(examples)} rows have the label '{next(iter(counts))}'",
            fix="a classifier needs at least two classes: check task.label",
        )
    for label, count in counts.items():
        if count < FEWEST:
            rows = ", ".join(example.source_row for example in examples if example.target == label)
            raise MetierError(
                f"the class '{label}' has {count} row{'s' * (count > 1)}: too few to split",
                where=rows,
                fix=f"give at least {FEWEST} rows of it, merge it into another class (label_map), or remove it"
                + (f"; {ONE_LABEL}" if joined(label, counts) else ""),
            )
