"""One curation for a plain local run and for datatrove's executors."""

from __future__ import annotations

from pathlib import Path

from metier.corpus.encoder import tokenizer_encoder
from metier.corpus.holdout import HoldOut
from metier.corpus.source import Source, expand
from metier.corpus.work import Work


def same_work(root: Path, folder: Path, world_size: int = 2) -> Work:
    sources = (Source("speeches", tuple(expand("speeches", [root]))),)
    return Work(folder, sources, tokenizer_encoder(root / "tokenizer.json"), HoldOut(0.1), None, world_size)


def local_bytes(root: Path, world_size: int = 2) -> dict[str, bytes]:
    work = same_work(root, root / "local", world_size)
    for rank in range(world_size):
        work.clean(0, rank)
    work.deduplicate()
    for rank in range(world_size):
        work.pack(0, rank)
    work.assemble(0)
    return {str(p.relative_to(work.tokens)): p.read_bytes() for p in sorted(work.tokens.rglob("*")) if p.is_file()}
