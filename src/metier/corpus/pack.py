"""The second half of curation: without duplicates, into splits, through the tokenizer, into token shards."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from metier.corpus.clean import read_kept
from metier.corpus.encoder import Encoder
from metier.corpus.holdout import SPLITS, HoldOut
from metier.corpus.shards import ShardWriter, write_index
from metier.corpus.text import Text, batched
from metier.files import sha256_file, write_dir, write_json


@dataclass
class Counted:
    """What a split of a source holds."""

    documents: int = 0
    bytes: int = 0
    characters: int = 0
    tokens: int = 0
    first: str | None = None
    last: str | None = None
    undated: int = 0

    def add(self, text: Text, size: int, tokens: int) -> None:
        """Count a document."""
        self.documents += 1
        self.bytes += size
        self.characters += len(text.text)
        self.tokens += tokens
        self.undated += text.date is None
        if text.date:
            self.first, self.last = min(self.first or text.date, text.date), max(self.last or text.date, text.date)

    def merge(self, other: dict[str, Any]) -> None:
        """Add another's counts."""
        for name in ("documents", "bytes", "characters", "tokens", "undated"):
            setattr(self, name, getattr(self, name) + other[name])
        days = [day for day in (self.first, self.last, other["first"], other["last"]) if day]
        self.first, self.last = (min(days), max(days)) if days else (None, None)


@dataclass
class _Open:
    writer: ShardWriter
    counted: Counted = field(default_factory=Counted)


def pack(clean: Path, dropped: np.ndarray, encoder: Encoder, hold_out: HoldOut, out: Path, *, rank: int = 0) -> None:
    """Tokenize what is kept of one rank's texts into ``out/<rank>/<split>``, beside ``counts.json``.

    Args:
        clean: the folder that :func:`~metier.corpus.clean.clean` wrote.
        dropped: ``(documents,)``: not 0 where a document is left out.
    """
    with write_dir(out / str(rank)) as place, contextlib.ExitStack() as stack:
        splits: dict[str, _Open] = {}
        for batch in batched(read_kept(clean / f"{rank}.jsonl.zst", dropped)):
            for text, ids in zip(batch, encoder.encode([text.text for text in batch]), strict=True):
                split = hold_out.split(text)
                if split not in splits:
                    writer = ShardWriter(
                        place / split,
                        vocabulary=encoder.vocabulary,
                        end=encoder.end,
                        tokenizer_sha256=encoder.sha256,
                    )
                    splits[split] = _Open(stack.enter_context(writer))
                size = len(text.text.encode())
                splits[split].writer.add(ids, id=text.id, bytes=size, date=text.date)
                splits[split].counted.add(text, size, len(ids) + 1)
        write_json(place / "counts.json", {name: vars(found.counted) for name, found in splits.items()})


def assemble(parts: Path, tokens: Path, source: str, world_size: int) -> dict[str, dict[str, Any]]:
    """Make one folder a split, ``<tokens>/<split>/<source>``, of the ranks' parts, and remove the parts.

    Returns:
        Counts by split.
    """
    totals: dict[str, Counted] = {}
    for rank in range(world_size):
        for split, found in json.loads((parts / str(rank) / "counts.json").read_text("utf-8")).items():
            totals.setdefault(split, Counted()).merge(found)
    for split in SPLITS:
        target = tokens / split / source
        ranks = [parts / str(rank) / split for rank in range(world_size)]
        ranks = [folder for folder in ranks if folder.is_dir()]
        if ranks:
            _join(ranks, target)
        elif target.is_dir():
            shutil.rmtree(target)
    shutil.rmtree(parts)
    return {split: vars(totals[split]) for split in SPLITS if split in totals}


def _join(folders: list[Path], target: Path) -> None:
    """One folder of token shards of several, in order: files are moved, their checksums stay."""
    indexes = [json.loads((folder / "index.json").read_text("utf-8")) for folder in folders]
    with write_dir(target) as place:
        files: list[dict[str, Any]] = []
        for folder, index in zip(folders, indexes, strict=True):
            for file in index["files"]:
                name = f"tokens-{len(files):05d}.bin"
                (folder / file["name"]).rename(place / name)
                files.append({**file, "name": name})
        facts = place / "documents.parquet"
        with pq.ParquetWriter(facts, pq.read_schema(folders[0] / facts.name), compression="zstd") as writer:
            for folder in folders:
                for batch in pq.ParquetFile(folder / facts.name).iter_batches():
                    writer.write_batch(batch)
        totals = {name: sum(index[name] for index in indexes) for name in ("tokens", "documents")}
        same = {name: indexes[0][name] for name in ("format", "dtype", "vocabulary", "end_token", "tokenizer_sha256")}
        told = {"name": facts.name, "sha256": sha256_file(facts)}
        write_index(place, {**same, **totals, "files": files, "facts": told})
