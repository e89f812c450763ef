"""What passes through the steps, and the count of what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

SAMPLES = 3  # kept of each reason
SAMPLE_CHARACTERS = 300
BATCH_BYTES = 1 << 19  # of text looked at together: enough to make numpy's overhead small, little to hold
BATCH_DOCUMENTS = 512


@dataclass(slots=True)
class Text:
    """A document on its way through the steps.

    ``order`` is its place in its source (file, row), the same whoever reads it. ``group`` names what it belongs to,
    and whole groups are held out together.
    """

    order: int
    id: str
    text: str
    date: str | None
    group: str


Texts = Iterator[Text]
Step = Callable[[Texts, "Tally"], Texts]
"""A generator over documents: gives on what it keeps, changed or not, and tells the tally what it drops."""


@dataclass
class Tally:
    """Counts of one source.

    Attributes:
        read: documents and their UTF-8 bytes as read.
        dropped: documents by reason.
        replaced: what de-identification replaced, by kind.
        overlap: by task: documents touched, passages cut and the different questions found, by the width of the match.
        samples: by reason, the first few that were dropped: id, detail and the beginning of the text.
    """

    read: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    overlap: dict[str, dict[str, set[int]]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def drop(self, reason: str, id: str, detail: str = "", text: str = "") -> None:
        """Count a document that goes no further."""
        self.dropped[reason] += 1
        kept = self.samples.setdefault(reason, [])
        if len(kept) < SAMPLES:
            kept.append({"id": id, "detail": detail, "text": text[:SAMPLE_CHARACTERS]})

    def to_json(self) -> dict[str, Any]:
        """The counts in a fixed order."""
        return {
            "read": dict(self.read),
            "dropped": dict(sorted(self.dropped.items())),
            "replaced": dict(sorted(self.replaced.items())),
            "overlap": {t: {k: sorted(v) for k, v in sorted(w.items())} for t, w in sorted(self.overlap.items())},
            "samples": dict(sorted(self.samples.items())),
        }

    def add(self, found: dict[str, Any]) -> None:
        """Add another's counts, as :meth:`to_json` gave them."""
        self.read.update(found["read"])
        self.dropped.update(found["dropped"])
        self.replaced.update(found["replaced"])
        for task, widths in found["overlap"].items():
            for width, numbers in widths.items():
                self.overlap.setdefault(task, {}).setdefault(width, set()).update(numbers)
        for reason, samples in found["samples"].items():
            kept = self.samples.setdefault(reason, [])
            kept += samples[: SAMPLES - len(kept)]


def batched(texts: Texts) -> Iterator[list[Text]]:
    """Documents in batches of about :data:`BATCH_BYTES`, in order."""
    batch: list[Text] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text.text)
        if size >= BATCH_BYTES or len(batch) >= BATCH_DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
