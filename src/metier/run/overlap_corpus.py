"""The corpus that is searched for overlap: files of every format, what was curated, what a run learnt from."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from metier.corpus.clean import read_kept
from metier.corpus.holdout import HoldOut
from metier.corpus.readers import EVERY, read_source, text_encoding
from metier.corpus.source import Source, format_of
from metier.corpus.text import Tally
from metier.errors import MetierError
from metier.recipe import CorpusSource
from metier.run.corpus_sources import source_files, source_name
from metier.run.record import run_record, training_data
from metier.sources.compression import explained, open_bytes

_RECORDS = ("jsonl", "json", "csv", "tsv", "xlsx", "parquet")
_BLOCK = 1 << 18  # characters of a file that are read at once


class Document(NamedTuple):
    """A text of the corpus, as it comes."""

    id: str
    blocks: Iterator[str]


@dataclass(frozen=True)
class Part:
    """A file of the corpus, or as much: its size in bytes, by which progress is told, and its documents."""

    name: str
    bytes: int
    read: Callable[[Tally], Iterator[Document]]


@dataclass(frozen=True)
class Reading:
    """How files are read where their names do not say it; as in a recipe's corpus."""

    text: tuple[str, ...] = ()
    split_on: str = "file"
    format: str | None = None
    encoding: str | None = None


def corpus_parts(
    places: Sequence[str], reading: Reading, fetched: Path, *, data_root: Path | None, offline: bool
) -> list[Part]:
    """The parts of all places: a file, a folder, a glob, any source of a recipe's corpus, or a run directory.

    Of a run: what was curated for its training (no duplicates, nothing held out), and its task's training part.

    Raises:
        MetierError: nothing there, nothing to read in it, a run that learnt nothing.
    """
    parts: list[Part] = []
    seen: set[Path] = set()
    for place in places:
        if (Path(place) / "manifest.json").is_file():
            parts += _run_parts(Path(place), data_root, offline)
            continue
        choice = CorpusSource(path=place, split_on=reading.split_on)
        roots = [Path(), *([data_root] if data_root else [])]
        files = source_files(place, roots, fetched, choice, offline)
        source = Source(
            source_name(place), tuple(files), format=reading.format, encoding=reading.encoding,
            split_on=reading.split_on, text=reading.text,
        )  # fmt: skip
        for path in files:
            if path not in seen:
                seen.add(path)
                parts.append(Part(source.label(path), path.stat().st_size, partial(_documents, source, path)))
    return parts


def _documents(source: Source, path: Path, tally: Tally) -> Iterator[Document]:
    kind, label = source.format or format_of(path), source.label(path)
    if kind in ("txt", "md") and source.split_on == "file":
        encoding = text_encoding(path, source, tally, lambda _: True)
        if encoding:
            yield Document(label, _blocks(path, encoding))
        return
    text = source.text or (EVERY if kind in _RECORDS else ())
    alone = replace(source, files=(path,), text=text, labels={path: label})
    for found in read_source(alone, tally):
        yield Document(found.id, iter([found.text]))


def _blocks(path: Path, encoding: str) -> Iterator[str]:
    """A file of text of any size."""
    with explained(path), io.TextIOWrapper(cast(io.BufferedReader, open_bytes(path)), encoding) as file:
        while block := file.read(_BLOCK):
            yield block


def _run_parts(run: Path, data_root: Path | None, offline: bool) -> list[Part]:
    parts = []
    if (run / "ledger.json").is_file():
        parts += _curated(run)
    if (run / "data" / "splits.json").is_file():
        parts.append(_learnt(run, data_root, offline))
    if not parts:
        fix = "give a run that was finished, or the folder of its texts"
        raise MetierError("this run has neither a curated corpus nor training examples", where=str(run), fix=fix)
    return parts


def _curated(run: Path) -> list[Part]:
    ledger = json.loads((run / "ledger.json").read_text("utf-8"))
    hold_out, corpus = HoldOut(**ledger["hold_out"]), run / "corpus"
    parts = []
    for name in ledger["sources"]:
        files = sorted((corpus / "clean" / name).glob("*.jsonl.zst"))
        marks = [corpus / "duplicates" / name / f"{file.name.split('.')[0]}.npy" for file in files]
        if not files or not all(mark.is_file() for mark in marks):
            fix = "curate again: metier curate RECIPE"
            raise MetierError(f"the texts of '{name}' are not all there", where=str(corpus / "clean" / name), fix=fix)
        for file, mark in zip(files, marks, strict=True):
            parts.append(Part(f"{name}/{file.name}", file.stat().st_size, partial(_kept, file, mark, hold_out)))
    return parts


def _kept(file: Path, mark: Path, hold_out: HoldOut, tally: Tally) -> Iterator[Document]:
    """The texts of one part of a source that are trained on."""
    for text in read_kept(file, np.load(mark)):
        if hold_out.split(text) == "train":
            yield Document(text.id, iter([text.text]))


def _learnt(run: Path, data_root: Path | None, offline: bool) -> Part:
    examples = training_data(run, *run_record(run), data_root, offline).part("train")

    def read(tally: Tally) -> Iterator[Document]:
        for example in examples:
            yield Document(f"train/{example.id}", iter(["\n".join(example.inputs.values())]))

    size = sum(len(example.text.encode("utf-8", "surrogatepass")) for example in examples)
    return Part("training part", size, read)
