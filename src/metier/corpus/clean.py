"""The first half of curation, for one source and rank: read, repair, de-identify, judge, cut overlap, sign, spill.

Texts stand on disk between the halves (JSON lines, zstd); in memory are a batch and the counts.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import IO, cast

import numpy as np

from metier.corpus.decontaminate import overlap_step
from metier.corpus.deidentify import deidentify_step
from metier.corpus.duplicates import Signer
from metier.corpus.language import language_step
from metier.corpus.overlap import Questions
from metier.corpus.quality import quality_step
from metier.corpus.readers import read_source
from metier.corpus.repair import repair_step
from metier.corpus.source import Source
from metier.corpus.text import Step, Tally, Text, Texts, batched
from metier.errors import MetierError
from metier.files import replacing, write_json

VERSION = 9  # of what the steps do; part of the key of what they made


def steps_of(source: Source, questions: Questions | None = None) -> list[Step]:
    """The steps in order. De-identification is second, so that no sample of a later drop shows a person."""
    steps = [repair_step()]
    if source.deidentify:
        finder = None
        if source.names:
            from metier.corpus.presidio import presidio_finder

            finder = presidio_finder(source.language or "en")
        steps.append(deidentify_step(finder))
    if source.language:
        steps.append(language_step(source.language))
    if source.quality != "none":
        steps.append(quality_step(source.quality, min_words=source.min_words, language=source.language))
    if questions:
        steps.append(overlap_step(questions))
    return steps


def through(texts: Texts, steps: Sequence[Step], tally: Tally) -> Texts:
    """Documents through all steps, as they come."""
    for step in steps:
        texts = step(texts, tally)
    return texts


def clean(source: Source, questions: Questions | None, folder: Path, rank: int = 0, world_size: int = 1) -> None:
    """Write ``<rank>.jsonl.zst`` (texts), ``<rank>.signatures`` and ``<rank>.json`` (the tally) into ``folder``.

    Raises:
        MetierError: whatever a reader meets; an extra that is not installed.
    """
    import zstandard

    tally, signer = Tally(), Signer()
    texts = through(read_source(source, tally, rank=rank, world_size=world_size), steps_of(source, questions), tally)
    with (
        replacing(folder / f"{rank}.jsonl.zst") as spilled,
        replacing(folder / f"{rank}.signatures") as signed,
        open(spilled, "wb") as raw,
        open(signed, "wb") as signatures,
        zstandard.ZstdCompressor(level=1, write_checksum=True).stream_writer(raw, closefd=False) as packed,
    ):
        for batch in batched(texts):
            lines = [json.dumps([t.order, t.id, t.text, t.date, t.group], ensure_ascii=False) for t in batch]
            packed.write(("\n".join(lines) + "\n").encode())
            signer(batch).tofile(signatures)
    write_json(folder / f"{rank}.json", tally.to_json())


def read_clean(path: Path) -> Iterator[Text]:
    """The texts that :func:`clean` wrote.

    Raises:
        MetierError: the file is not as it was written.
    """
    import zstandard

    try:
        with open(path, "rb") as raw:
            stream = zstandard.ZstdDecompressor().stream_reader(cast(IO[bytes], raw), read_size=1 << 20)
            lines = io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20)
            for line in io.TextIOWrapper(lines, "utf-8", newline="\n"):
                yield Text(*json.loads(line))
    except (zstandard.ZstdError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def read_kept(path: Path, dropped: np.ndarray) -> Iterator[Text]:
    """The texts that :func:`clean` wrote, without those whose mark in ``dropped``, ``(documents,)``, is not 0.

    Raises:
        MetierError: the file is not as it was written, or holds another number of texts.
    """
    for text, drop in zip_longest(read_clean(path), dropped.tolist()):
        if text is None or drop is None:
            raise _damaged(path, f"{len(dropped):,} texts were written to it")
        if not drop:
            yield text


def _damaged(path: Path, why: str) -> MetierError:
    fix = "delete it and curate again (metier curate RECIPE): it is made again"
    return MetierError(f"the cleaned texts are damaged: {why}", where=str(path), fix=fix)


def read_tally(folder: Path, world_size: int) -> Tally:
    """The counts of all ranks together."""
    tally = Tally()
    for rank in range(world_size):
        tally.add(json.loads((folder / f"{rank}.json").read_text("utf-8")))
    return tally
