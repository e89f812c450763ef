"""Everything that was written on the way to an answer, kept as evidence."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.evaluation.scores import Prediction
from metier.files import replacing


@dataclass(frozen=True)
class Sample:
    """One text that a model wrote for a question.

    Attributes:
        question: the example's id.
        stage: what it is: ``rationale``; ``first`` or ``second`` of a refinement; ``draft``, ``claims``, ``query``,
            ``summary`` or ``answer`` of a chain of retrieval.
        number: its place among the samples of this stage, from 0.
        text: as it was written.
        ended: whether it came to its own end; False where it was cut off.
        answer: the option that is likeliest after the text; None where none was asked for.
        probability: of that option among all.
        read: the option that the text itself states; None where it states none.
        document: the passage that a summary is of.
        tokens: written, and run to choose the answer; what samples share is counted in the prediction alone.
        seconds: the sample's part of the time that its batch took.
    """

    question: str
    stage: str
    number: int
    text: str
    ended: bool
    answer: str | None = None
    probability: float | None = None
    read: str | None = None
    document: str | None = None
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Answered:
    """One question as a strategy answered it.

    Attributes:
        prediction: with all tokens and seconds that the question cost.
        samples: in the order in which they were written.
        facts: of this question, such as whether its answer changed with the order of the options.
    """

    prediction: Prediction
    samples: tuple[Sample, ...] = ()
    facts: dict[str, Any] | None = None


def seed_of(seed: int, question: str, stage: str, number: int) -> int:
    """A sample's own seed: what else is asked, and in which order, changes nothing about it."""
    digest = hashlib.sha256(f"{seed}\0{question}\0{stage}\0{number}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples as parquet (zstd), one row each, by rename; columns are the fields of :class:`Sample`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"number": pa.int32(), "ended": pa.bool_(), "probability": pa.float64(), "tokens": pa.int64()}
    kinds["seconds"] = pa.float64()
    columns = {
        field.name: pa.array([getattr(sample, field.name) for sample in samples], kinds.get(field.name, pa.string()))
        for field in fields(Sample)
    }
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def read_samples(path: Path) -> list[Sample]:
    """Read what :func:`write_samples` wrote.

    Errors: :class:`MetierError` where the file is absent, damaged, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [Sample(**row) for row in pq.read_table(path).to_pylist()]
    except (OSError, TypeError, pa.ArrowException) as error:
        raise MetierError(
            f"the samples cannot be read: {error}", where=str(path), fix="ask the questions again"
        ) from error
