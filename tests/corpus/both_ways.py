"""One curation for a plain local run and for datatrove's executors."""

from __future__ import annotations

from pathlib import Path

from metier.corpus.holdout import HoldOut
from metier.corpus.pack import Encoder
from metier.corpus.source import Source, expand
from metier.corpus.work import Work
from metier.files import sha256_file
from metier.run.curate import _Encode


def same_work(root: Path, folder: Path, world_size: int = 2) -> Work:
    file = root / "tokenizer.json"
    sources = (Source("speeches", tuple(expand("speeches", [root]))),)
    return Work(folder, sources, Encoder(_Encode(file), 257, 256, sha256_file(file)), HoldOut(0.1), None, world_size)


def local_bytes(root: Path, world_size: int = 2) -> dict[str, bytes]:
    work = same_work(root, root / "local", world_size)
    for rank in range(world_size):
        work.clean(0, rank)
    work.deduplicate()
    for rank in range(world_size):
        work.pack(0, rank)
    work.assemble(0)
    return {str(p.relative_to(work.tokens)): p.read_bytes() for p in sorted(work.tokens.rglob("*")) if p.is_file()}
