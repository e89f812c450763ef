"""Opening plain, gzip and zstd files alike, and noticing where one breaks off."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from metier.errors import MetierError

SUFFIXES = (".gz", ".zst")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BLOCK = 1 << 20


class _ZstdReader(io.RawIOBase):
    """A zstd stream that, unlike the library's own reader, says when the last frame is not whole."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file, self._new = file, zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._inside = False  # within a frame that has begun and not ended
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            raw = self._file.read(_BLOCK)
            if not raw:
                if self._inside:
                    raise EOFError("the zstd stream ends within a frame")
                return 0
            self._ready = self._unpack(raw)
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _unpack(self, raw: bytes) -> bytes:
        out = b""
        while raw:
            self._inside = True
            out += self._frame.decompress(raw)
            raw = b""
            if self._frame.eof:
                raw, self._inside, self._frame = self._frame.unused_data, False, self._new()
        return out

    def close(self) -> None:
        self._file.close()
        super().close()


def open_bytes(path: Path) -> BinaryIO:
    """Open for reading; gzip and zstd are recognised by their first bytes, whatever the file is called."""
    file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    start = file.read(4)
    file.seek(0)
    if start.startswith(_GZIP):
        file.close()
        return cast(BinaryIO, gzip.open(path))
    if start == _ZSTD:
        return cast(BinaryIO, io.BufferedReader(_ZstdReader(file), _BLOCK))
    return file


def is_compressed(path: Path) -> bool:
    """Whether the file begins as gzip or zstd does."""
    with open(path, "rb") as file:
        start = file.read(4)
    return start.startswith(_GZIP) or start == _ZSTD


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong in reading ``path`` (absent, no rights, cut off, damaged) into a :class:`MetierError`."""
    import zstandard

    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        fix = "copy or download the file again"
        raise MetierError(f"the compressed file is damaged or cut off: {error}", where=str(path), fix=fix) from error
    except FileNotFoundError as error:
        raise MetierError("the file does not exist", where=str(path)) from error
    except IsADirectoryError as error:
        raise MetierError("a folder, where a file is needed", where=str(path), fix="name one file in it") from error
    except OSError as error:
        raise MetierError(f"the file cannot be read: {error.strerror or error}", where=str(path)) from error


@contextlib.contextmanager
def create_bytes(target: Path, suffix: str) -> Iterator[IO[bytes]]:
    """Write ``target``, compressed as the final name's last ``suffix`` says (``.gz``, ``.zst``, else not at all).

    The same content gives the same bytes: no time or name goes into the gzip header.
    """
    with open(target, "wb") as raw:
        if suffix == ".gz":
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                yield cast(IO[bytes], packed)
        elif suffix == ".zst":
            import zstandard

            with zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False) as writer:
                yield cast(IO[bytes], writer)
        else:
            yield raw
