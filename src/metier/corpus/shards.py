"""Token shards: documents as token ids on disk, memory-mapped, each file with its checksum.

A folder of one source and split holds::

    index.json          dtype, vocabulary, end token, tokenizer; of every file its size and SHA-256
    tokens-00000.bin    little-endian ids, documents one after another, each ended by the end-of-text token
    documents.parquet   of every document, in order: id, tokens (with the end token), UTF-8 bytes, date
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metier.errors import MetierError
from metier.files import sha256_file, sha256_json, write_dir, write_json

SHARD_TOKENS = 1 << 27  # 256 MB of uint16: one file of it is copied, checked and mapped in a moment
_ROWS = 8192  # documents whose facts are held before they are written
_SCHEMA = pa.schema([("id", pa.string()), ("tokens", pa.int64()), ("bytes", pa.int64()), ("date", pa.string())])
_FIX = "curate again (metier curate RECIPE), or copy the folder again from where it is whole"


def token_dtype(vocabulary: int) -> np.dtype[Any]:
    """Little-endian uint16 below 65,536 ids, else uint32."""
    return np.dtype("<u2") if vocabulary < 1 << 16 else np.dtype("<u4")


class ShardWriter:
    """Writes one folder of token shards; it appears, whole, when the ``with`` block ends without an error.

    Args:
        folder: ``<corpus>/<split>/<source>``; one that is there already is replaced at the end.
        vocabulary: number of ids; decides the format, and every id is checked against it.
        end: the end-of-text token, put after each document.
        tokenizer_sha256: of the tokenizer's file; whoever trains on the shards can compare it.
        shard_tokens: a new file is begun when the last holds as many tokens; a document is never split.
    """

    def __init__(
        self, folder: Path, *, vocabulary: int, end: int, tokenizer_sha256: str, shard_tokens: int = SHARD_TOKENS
    ) -> None:
        self.folder, self.vocabulary, self.end = folder, vocabulary, end
        self._tokenizer, self._limit, self._dtype = tokenizer_sha256, shard_tokens, token_dtype(vocabulary)
        self._stack = contextlib.ExitStack()
        self._files: list[dict[str, Any]] = []
        self._file: IO[bytes] | None = None
        self._rows: list[tuple[str, int, int, str | None]] = []
        self.documents = self.tokens = 0

    def __enter__(self) -> Self:
        self._place = self._stack.enter_context(write_dir(self.folder))
        self._facts = pq.ParquetWriter(self._place / "documents.parquet", _SCHEMA, compression="zstd")
        return self

    def add(self, ids: Sequence[int] | np.ndarray, *, id: str, bytes: int, date: str | None = None) -> None:
        """Append a document.

        Args:
            ids: its tokens, without the end-of-text token.
            id: of the document.
            bytes: of its text in UTF-8, by which bits per byte are counted.
            date: ISO, or None.

        Raises:
            MetierError: an id outside the vocabulary.
        """
        tokens = np.empty(len(ids) + 1, dtype=np.int64)
        tokens[:-1], tokens[-1] = ids, self.end
        if tokens.min() < 0 or tokens.max() >= self.vocabulary:
            raise MetierError(
                f"token ids from {tokens.min()} to {tokens.max()}, outside a vocabulary of {self.vocabulary:,}",
                where=f"document {id}",
                fix="give the tokenizer's whole vocabulary, with its added tokens",
            )
        if self._file is None or self._files[-1]["tokens"] >= self._limit:
            self._begin()
        assert self._file is not None
        data = tokens.astype(self._dtype).tobytes()
        self._file.write(data)
        self._digest.update(data)
        self._files[-1]["tokens"] += len(tokens)
        self._files[-1]["documents"] += 1
        self.tokens += len(tokens)
        self.documents += 1
        self._rows.append((id, len(tokens), bytes, date))
        if len(self._rows) >= _ROWS:
            self._flush()

    def _begin(self) -> None:
        self._finish()
        name = f"tokens-{len(self._files):05d}.bin"
        self._file, self._digest = open(self._place / name, "wb"), hashlib.sha256()  # noqa: SIM115
        self._files.append({"name": name, "tokens": 0, "documents": 0, "sha256": ""})

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._files[-1]["sha256"] = self._digest.hexdigest()

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else [[]] * 4
        arrays = [pa.array(list(column), field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        self._facts.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
        self._rows = []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is None:
            self._flush()
        self._facts.close()
        if self._file is not None:
            self._finish()
        if kind is None:
            self._write_index()
        self._stack.__exit__(kind, error, trace)

    def _write_index(self) -> None:
        index: dict[str, Any] = {
            "format": 1,
            "dtype": self._dtype.name,
            "vocabulary": self.vocabulary,
            "end_token": self.end,
            "tokenizer_sha256": self._tokenizer,
            "tokens": self.tokens,
            "documents": self.documents,
            "files": self._files,
            "facts": {"name": "documents.parquet", "sha256": sha256_file(self._place / "documents.parquet")},
        }
        write_index(self._place, index)


def write_index(folder: Path, index: dict[str, Any]) -> None:
    """Write ``index.json`` with a checksum of itself."""
    write_json(folder / "index.json", {**index, "sha256": sha256_json(index)})


class TokenShards:
    """The documents of one folder as one long row of tokens, read from disk as they are needed.

    Attributes:
        tokens: number of tokens, end tokens included.
        documents: number of documents.
        starts: ``(documents + 1,)`` int64: where each document begins; the last is ``tokens``.
        bytes: ``(documents,)`` int64: UTF-8 bytes of each document's text.
        index: what ``index.json`` holds.
    """

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        self.folder, self.index = folder, index
        self.tokens: int = index["tokens"]
        self.documents: int = index["documents"]
        facts = pq.read_table(folder / index["facts"]["name"], columns=["tokens", "bytes"])
        self.starts = np.concatenate([[0], np.cumsum(facts["tokens"].to_numpy())]).astype(np.int64)
        self.bytes: np.ndarray = facts["bytes"].to_numpy().astype(np.int64)
        self._maps = [np.memmap(folder / file["name"], dtype=self.dtype, mode="r") for file in index["files"]]
        self._offsets = np.cumsum([0, *(file["tokens"] for file in index["files"])])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the ids on disk."""
        return token_dtype(self.index["vocabulary"])

    @classmethod
    def open(cls, folder: Path, *, verify: bool = True) -> TokenShards:
        """Open a folder that :class:`ShardWriter` wrote.

        Args:
            folder: of one source and split.
            verify: also compare every file's SHA-256 (about a second a gigabyte), not only its size.

        Raises:
            MetierError: no index; a file that is missing, cut off or changed, by name.
        """
        index = _read_index(folder / "index.json")
        width = token_dtype(index["vocabulary"]).itemsize
        for file in [*index["files"], index["facts"]]:
            path = folder / file["name"]
            if not path.is_file():
                raise MetierError("a file of the token shards is missing", where=str(path), fix=_FIX)
            if "tokens" in file and path.stat().st_size != file["tokens"] * width:
                found = f"{path.stat().st_size:,} bytes, where the index says {file['tokens'] * width:,}"
                raise MetierError(f"the token shard is cut off or too long: {found}", where=str(path), fix=_FIX)
            if (verify or "tokens" not in file) and sha256_file(path) != file["sha256"]:
                raise MetierError("the file is not as it was written: its SHA-256 differs", where=str(path), fix=_FIX)
        return cls(folder, index)

    def read(self, start: int, count: int) -> np.ndarray:
        """``(count,)`` int64 tokens from position ``start`` on; IndexError beyond the end."""
        if start < 0 or count < 0 or start + count > self.tokens:
            raise IndexError(f"tokens {start} to {start + count} of {self.tokens}")
        out = np.empty(count, dtype=np.int64)
        shard, done = int(np.searchsorted(self._offsets, start, side="right")) - 1, 0
        while done < count:
            inside = start + done - int(self._offsets[shard])
            piece = self._maps[shard][inside : inside + count - done]
            out[done : done + len(piece)] = piece
            done, shard = done + len(piece), shard + 1
        return out

    def document(self, i: int) -> np.ndarray:
        """``(tokens,)`` int64: the i-th document with its end token."""
        return self.read(int(self.starts[i]), int(self.starts[i + 1] - self.starts[i]))

    def ids(self) -> list[str]:
        """The documents' ids, in order."""
        return list(pq.read_table(self.folder / self.index["facts"]["name"], columns=["id"])["id"].to_pylist())


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads(path.read_text("utf-8"))
        written = index.pop("sha256")
        if written != sha256_json(index):
            raise ValueError("its checksum differs")
    except FileNotFoundError:
        raise MetierError("no token shards here: there is no index.json", where=str(path.parent), fix=_FIX) from None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise MetierError(f"the index of the token shards is damaged: {error}", where=str(path), fix=_FIX) from error
    return index
