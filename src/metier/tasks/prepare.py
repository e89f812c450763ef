"""Duplicates are merged before anything is split; what contradicts itself is reported and dropped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from metier.errors import MetierError
from metier.tasks.example import Example

KEPT_SAMPLES = 20
_PROTECTION: dict[str | None, int] = {"test": 0, "validation": 1, "train": 2}


@dataclass(frozen=True)
class Prepared:
    """Examples without duplicates, and what happened to the others."""

    examples: list[Example]
    report: dict[str, Any]


_SHORT_LINK = re.compile(r"https?://(?:t|stks)\.co/\w*")
"""Shorteners that give every post of the same text a link of its own: the link says nothing about the text."""

_MEANINGFUL = re.compile(
    r"((?<!\w)[+\-−–](?=[$€£¥]?[.,]?\d)"  # the sign of a number: "+5 %" is not "-5 %"
    r"|(?<=\d)[.,:/](?=\d)"  # inside a number: 1.5 is not 15
    r"|(?<!\w)[:;=]-?[()d/|](?!\w))"  # an emoticon
)


class _Fold(dict[int, str]):
    """A translation table, filled as characters are met: punctuation and spaces become a space, invisible ones go."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category in ("Cf", "Cs", "Cn"):
            self[code] = ""
        else:
            self[code] = " " if category[0] in "PZC" else character
        return self[code]


_FOLD = _Fold()


def normalised(text: str) -> str:
    """What is left of a text when case, white space and punctuation do not count (Unicode NFKC).

    Signs and points of numbers, symbols and emoticons count: they carry meaning. A text of nothing but punctuation is
    kept as it is, in lower case.
    """
    lowered = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    pieces = _MEANINGFUL.split(_SHORT_LINK.sub(" ", lowered))
    pieces[0::2] = [piece.translate(_FOLD) for piece in pieces[0::2]]
    return " ".join("".join(pieces).split()) or " ".join(lowered.split())


_SAME_NUMBER: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"(?<![\w.])\.(?=\d)"), "0."),  # .5 is not 5
    (re.compile(r"(?<![\w)])\(\s*(?=[$€£¥]?\d[\d.,]*\s*%?\s*\))"), " -"),  # accounts: (12.5) is -12.5, not 12.5
    (re.compile(r"(?<=\d)\s?%"), " percent "),  # 5 % is not 5
]
"""What makes another number of one, and which :func:`normalised` takes for punctuation."""


def key_of(example: Example) -> tuple[str, ...]:
    """Two examples with this key are the same example: options in another order make no other question.

    Numbers are told apart more closely here. :func:`normalised` itself is left as it is: seeded splits are made by its
    result.
    """
    parts = tuple(_folded(value) for _, value in sorted(example.inputs.items()))
    return parts + tuple(sorted(_folded(choice) for choice in example.choices))


def _folded(text: str) -> str:
    for pattern, meant in _SAME_NUMBER:
        text = pattern.sub(meant, text)
    return normalised(text)


def prepare(examples: Sequence[Example]) -> Prepared:
    """Merge exact and normalised duplicates; drop texts that carry different labels.

    Where the data has its own split, a text that stands in several parts stays in the most protected one (test before
    validation before train), and only the copies there can contradict each other. Which copy is kept depends on the
    ids and not on the order of the rows.

    Errors: :class:`MetierError` naming the rows with an empty text, or of texts that all carry different labels.
    """
    _refuse_empty(examples)
    groups: dict[tuple[str, ...], list[Example]] = {}
    for example in examples:
        groups.setdefault(key_of(example), []).append(example)
    kept, exact, folded, crossing = list[Example](), 0, 0, 0
    contradictory: list[list[Example]] = []
    for members in groups.values():
        protected = _most_protected(members)
        crossing += len(members) - len(protected)
        if len({member.target for member in protected}) > 1:
            contradictory.append(members)
            continue
        first = min(protected, key=lambda member: (member.id, member.source_row))
        if weights := [member.weight for member in protected if member.weight]:
            first = replace(first, weight=max(weights))
        kept.append(first)
        same = sum((member.inputs, member.choices) == (first.inputs, first.choices) for member in members) - 1
        exact += same
        folded += len(members) - 1 - same
    if contradictory and not kept:
        raise _nothing_left(contradictory)
    report = {
        "rows": len(examples),
        "exact_merged": exact,
        "normalised_merged": folded,
        "crossing_parts": crossing,
        "contradictory_texts": len(contradictory),
        "contradictory_rows_dropped": sum(map(len, contradictory)),
        "kept": len(kept),
        "contradictory_samples": [
            {
                "text": members[0].text,
                "labels": sorted({m.target for m in members}),
                "rows": [m.source_row for m in members],
            }
            for members in contradictory[:KEPT_SAMPLES]
        ],
    }
    return Prepared(kept, report)


def _nothing_left(contradictory: Sequence[Sequence[Example]]) -> MetierError:
    first = contradictory[0]
    labels = ", ".join(repr(label[:30]) for label in sorted({member.target for member in first})[:5])
    many = f"each of the {len(contradictory)} texts stands" if len(contradictory) > 1 else "the only text stands"
    return MetierError(
        f"{many} there with several labels, so that nothing is left to learn from: {first[0].text[:60]!r} is {labels}",
        where="; ".join(", ".join(member.source_row for member in members[:5]) for members in contradictory[:3]),
        fix="keep the right label of each text; where the answer depends on another column too, name that under text",
    )


def _most_protected(members: Sequence[Example]) -> list[Example]:
    ranks = [_PROTECTION.get(member.split, 3) for member in members]
    return [member for member, rank in zip(members, ranks, strict=True) if rank == min(ranks)]


def _refuse_empty(examples: Sequence[Example]) -> None:
    empty = [example.source_row for example in examples if not any(value.strip() for value in example.inputs.values())]
    if empty:
        shown = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        raise MetierError(f"{len(empty)} rows have an empty text", where=shown, fix="fill or remove these rows")
