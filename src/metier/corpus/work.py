"""The units of work of a curation, and where each leaves what it made.

A unit reads files and writes files, so it is the same whoever calls it: a loop, a pool of processes, datatrove's
executors (:mod:`metier.corpus.datatrove_steps`). Below the folder::

    clean/<source>/<rank>.*           texts that passed the steps, signatures, tally
    duplicates/<source>/<rank>.npy    what stands earlier, in this source or another; samples.json shows a few
    parts/<source>/<rank>/<split>     token shards, until all ranks are done
    tokens/<split>/<source>           the result
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from metier.corpus.clean import clean, read_clean, read_kept, read_tally
from metier.corpus.duplicates import EXACT, NEAR, find_duplicates
from metier.corpus.encoder import Encoder
from metier.corpus.holdout import SPLITS, HoldOut
from metier.corpus.ledger import duplicate_counts, entry
from metier.corpus.overlap import Questions
from metier.corpus.pack import assemble, pack
from metier.corpus.source import Source
from metier.corpus.text import SAMPLE_CHARACTERS, SAMPLES, Text
from metier.errors import MetierError
from metier.files import write_bytes, write_json


@dataclass(frozen=True)
class Work:
    """A curation: everything that its units need. It can be sent to another process.

    Attributes:
        folder: of the corpus.
        sources: in order; of duplicates the first is kept.
        encoder: only :meth:`pack` needs it.
        world_size: parts of each source, by the hash of a document's place. It decides the order of documents.
    """

    folder: Path
    sources: tuple[Source, ...]
    encoder: Encoder | None
    hold_out: HoldOut = field(default_factory=HoldOut)
    questions: Questions | None = None
    world_size: int = 1

    def clean(self, number: int, rank: int) -> None:
        """Read and judge one part of a source."""
        source = self.sources[number]
        clean(source, self.questions, self.clean_folder(source), rank, self.world_size)

    def deduplicate(self) -> None:
        """Mark duplicates over all sources and parts, and keep samples of each source's.

        Raises:
            MetierError: nothing is left to train on.
        """
        jobs = [(number, rank) for number in range(len(self.sources)) for rank in range(self.world_size)]
        files = [(number, self.clean_folder(self.sources[number]) / f"{rank}.signatures") for number, rank in jobs]
        kinds, kept = find_duplicates(files)
        if not sum(len(kind) for kind in kinds):
            raise self._nothing()
        for (number, rank), kind in zip(jobs, kinds, strict=True):
            buffer = io.BytesIO()
            np.save(buffer, kind)
            write_bytes(self.marks(self.sources[number], rank), buffer.getvalue())
        owner = np.repeat([number for number, _ in jobs], [len(kind) for kind in kinds])
        self._write_samples(owner, np.concatenate(kinds), np.concatenate(kept))

    def _write_samples(self, owner: np.ndarray, kind: np.ndarray, kept: np.ndarray) -> None:
        """The first few duplicates of each source, as :class:`Tally` has them; all arrays are ``(documents,)``."""
        rows = {
            (number, reason): np.flatnonzero((owner == number) & (kind == mark))[:SAMPLES].tolist()
            for number in range(len(self.sources))
            for mark, reason in ((1, EXACT), (2, NEAR))
        }
        texts = self._texts({row for found in rows.values() for one in found for row in (one, int(kept[one]))})
        for number, source in enumerate(self.sources):
            samples: dict[str, list[dict[str, str]]] = {}
            for reason in (EXACT, NEAR):
                for row in rows[number, reason]:
                    first = int(kept[row])
                    detail = f"kept in its place: {texts[first].id}, of {self.sources[owner[first]].name}"
                    one = {"id": texts[row].id, "detail": detail, "text": texts[row].text[:SAMPLE_CHARACTERS]}
                    samples.setdefault(reason, []).append(one)
            write_json(self.duplicate_samples(source), samples)

    def _texts(self, rows: set[int]) -> dict[int, Text]:
        """Cleaned texts by number, counted over all sources and parts."""
        if not rows:
            return {}
        files = (
            self.clean_folder(source) / f"{rank}.jsonl.zst"
            for source in self.sources
            for rank in range(self.world_size)
        )
        numbered = enumerate(text for file in files for text in read_clean(file))
        return {row: text for row, text in islice(numbered, max(rows) + 1) if row in rows}

    def pack(self, number: int, rank: int) -> None:
        """Tokenize one part of a source."""
        assert self.encoder is not None
        source = self.sources[number]
        dropped = np.load(self.marks(source, rank))
        pack(self.clean_folder(source), dropped, self.encoder, self.hold_out, self.parts_folder(source), rank=rank)

    def kept(self, number: int, split: str = "train") -> Iterator[str]:
        """The texts of a source that are in ``split``, in the order they are packed in."""
        source = self.sources[number]
        for rank in range(self.world_size):
            dropped = np.load(self.marks(source, rank))
            for text in read_kept(self.clean_folder(source) / f"{rank}.jsonl.zst", dropped):
                if self.hold_out.split(text) == split:
                    yield text.text

    def assemble(self, number: int) -> None:
        """Join the parts of a source, and account for it in ``tokens/<source>.json``."""
        source = self.sources[number]
        self.entry_file(source).unlink(missing_ok=True)  # what is half of one curation, half of another, has no row
        splits = assemble(self.parts_folder(source), self.tokens, source.name, self.world_size)
        marks = [np.load(self.marks(source, rank)) for rank in range(self.world_size)]
        tally = read_tally(self.clean_folder(source), self.world_size)
        write_json(self.entry_file(source), entry(source, tally, duplicate_counts(marks), splits))

    def remove_others(self) -> None:
        """Remove what was made of sources and parts that are none of this work any more."""
        names = {source.name for source in self.sources}
        rooms = [self.folder / room for room in ("fetched", "clean", "duplicates", "parts")]
        rooms += [self.tokens / split for split in SPLITS]
        for folder in [path for room in rooms for path in room.glob("*") if path.is_dir() and path.name not in names]:
            shutil.rmtree(folder)
        for row in [row for row in self.tokens.glob("*.json") if row.stem not in names]:
            row.unlink()
        for source in self.sources:
            for file in [*self.clean_folder(source).glob("*.*"), *self.marks(source, 0).parent.glob("*.npy")]:
                rank = file.name.partition(".")[0]
                if rank.isdecimal() and int(rank) >= self.world_size:
                    file.unlink()

    @property
    def tokens(self) -> Path:
        """The folder of the result."""
        return self.folder / "tokens"

    def clean_folder(self, source: Source) -> Path:
        """Where :meth:`clean` writes."""
        return self.folder / "clean" / source.name

    def clean_files(self, number: int, rank: int) -> list[Path]:
        """What :meth:`clean` makes."""
        folder = self.clean_folder(self.sources[number])
        return [folder / f"{rank}.{kind}" for kind in ("jsonl.zst", "signatures", "json")]

    def marks(self, source: Source, rank: int) -> Path:
        """What :meth:`deduplicate` makes for one part."""
        return self.folder / "duplicates" / source.name / f"{rank}.npy"

    def duplicate_samples(self, source: Source) -> Path:
        """The samples that :meth:`deduplicate` keeps of a source."""
        return self.folder / "duplicates" / source.name / "samples.json"

    def parts_folder(self, source: Source) -> Path:
        """Where :meth:`pack` writes."""
        return self.folder / "parts" / source.name

    def entry_file(self, source: Source) -> Path:
        """A source's row of the ledger."""
        return self.tokens / f"{source.name}.json"

    def entries(self) -> dict[str, dict[str, Any]]:
        """The rows of the ledger, in order."""
        return {source.name: json.loads(self.entry_file(source).read_text("utf-8")) for source in self.sources}

    def _nothing(self) -> MetierError:
        reasons = {s.name: dict(read_tally(self.clean_folder(s), self.world_size).dropped) for s in self.sources}
        told = "; ".join(
            f"{name}: " + (", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "no document")
            for name, dropped in reasons.items()
        )
        fix = "see dropped samples in clean/<source>/<rank>.json; change text, language, quality, min_words or split_on"
        return MetierError(f"no document is left ({told})", where=str(self.folder), fix=fix)


def spread(
    jobs: Sequence[tuple[Callable[..., None], tuple[Any, ...]]], processes: int, tick: Callable[[int], None]
) -> None:
    """Do jobs that do not depend on each other, several at a time, each by a process that starts afresh.

    The first error ends it: what is under way then is finished.

    Args:
        tick: told the number of each job as it is done, whatever becomes of the others.

    Raises:
        MetierError: the system ended one of the processes.
    """
    if processes <= 1 or len(jobs) <= 1:
        for number, (function, arguments) in enumerate(jobs):
            function(*arguments)
            tick(number)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        left = {pool.submit(function, *arguments): number for number, (function, arguments) in enumerate(jobs)}
        try:
            for future in as_completed(list(left)):
                number = left.pop(future)
                future.result()
                tick(number)
        except BrokenProcessPool as error:
            fix = "work on fewer parts at once: metier curate RECIPE --processes 1; what was done is kept"
            raise MetierError("a process was killed from outside, most likely for want of memory", fix=fix) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for future, number in left.items():
                if future.done() and not future.cancelled() and not future.exception():
                    tick(number)
