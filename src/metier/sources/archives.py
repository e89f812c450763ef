"""Reading one member out of an archive, without trusting the archive."""

from __future__ import annotations

import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from metier.errors import MetierError, nearest
from metier.files import explain_os_errors

LIMIT_BYTES = 8 * 2**30
"""No member larger than this is unpacked, whatever the archive says."""
_RATIO, _RATIO_FROM_BYTES = 250, 64 * 2**20  # text packs 3 to 10 times; a bomb a thousand times and more

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


def check_member_name(name: str, where: str) -> None:
    """Refuse a name that could lead out of the folder it is unpacked in."""
    parts = name.split("/")
    if (
        not name
        or "\\" in name
        or "\0" in name
        or name.startswith("/")
        or re.match(r"[A-Za-z]:", name)
        or any(part in ("..", ".", "") for part in parts)
    ):
        fix = "name the member by its plain relative path, with / between folders"
        raise MetierError(f"the member name {name!r} is refused: it is not a plain relative path", where=where, fix=fix)


def extract_member(archive: Path, member: str, target: Path, *, limit: int = LIMIT_BYTES) -> None:
    """Write one member of a zip (wheel) or tar archive (plain, gz, bz2, xz) to ``target``.

    ``member`` is its path in the archive; leading folders may be left out where only one member ends so. Links,
    devices, folders, encrypted members, names that lead out of the archive, members larger than ``limit`` bytes and
    members packed suspiciously tightly are refused, and no more bytes are written than the archive declared.
    """
    check_member_name(member, str(archive))
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                _from_zip(zipped, archive, member, target, limit)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tarred:
                _from_tar(tarred, archive, member, target, limit)
        else:
            raise MetierError("not an archive: a zip, a wheel or a tar is needed to read a member", where=str(archive))
    except _BROKEN as error:
        raise MetierError(f"the archive is damaged: {error}", where=f"{archive}!{member}") from error


def _from_zip(zipped: zipfile.ZipFile, archive: Path, member: str, target: Path, limit: int) -> None:
    info = zipped.getinfo(_find(zipped.namelist(), member, archive))
    where = f"{archive}!{info.filename}"
    mode = info.external_attr >> 16
    if info.is_dir() or (mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
        raise MetierError("the member is refused: it is a folder, a link or a device, not a file", where=where)
    if info.flag_bits & 0x1:
        raise MetierError("the member is encrypted", where=where, fix="unpack it yourself and name the file's path")
    _check_size(info.file_size, info.compress_size, limit, where)
    _copy(lambda: zipped.open(info), target, info.file_size, where)


def _from_tar(tarred: tarfile.TarFile, archive: Path, member: str, target: Path, limit: int) -> None:
    seen: dict[str, tarfile.TarInfo] = {}
    for info in tarred:
        # a compressed tar is unpacked as it is read, so what lies before the member counts too
        _check_size(info.offset_data + info.size, archive.stat().st_size, limit, f"{archive}!{info.name}")
        seen[info.name.removeprefix("./")] = info
    info = seen[_find(list(seen), member, archive)]
    where = f"{archive}!{info.name}"
    if not info.isreg():
        raise MetierError("the member is refused: it is a folder, a link or a device, not a file", where=where)

    def opened() -> IO[bytes]:
        file = tarred.extractfile(info)
        assert file is not None  # only folders and devices have none
        return file

    _copy(opened, target, info.size, where)


def _find(names: Sequence[str], member: str, archive: Path) -> str:
    matches = [member] if member in names else [name for name in set(names) if name.endswith("/" + member)]
    if len(matches) > 1:
        fix = "name one of them in full: " + ", ".join(sorted(matches)[:8])
        raise MetierError(f"{len(matches)} members end in {member!r}", where=str(archive), fix=fix)
    if not matches:
        files = [name for name in names if not name.endswith("/")]
        ends = {name.rsplit("/", 1)[-1]: name for name in files}
        last = member.rsplit("/", 1)[-1]
        close = ends.get(last) or (nearest(member, files) if len(files) <= 40 else nearest(last, list(ends)[:5000]))
        raise MetierError(f"there is no member {member!r}", where=str(archive), fix=close[:500])
    check_member_name(matches[0], str(archive))
    return matches[0]


def _check_size(size: int, packed: int, limit: int, where: str) -> None:
    if size > limit:
        fix = "if you trust it, unpack it yourself and name the file's path"
        raise MetierError(f"refused: it unpacks to {size:,} bytes; the limit is {limit:,}", where=where, fix=fix)
    if size > _RATIO_FROM_BYTES and size > _RATIO * max(packed, 1):
        fix = "if you trust it, unpack it yourself and name the file's path"
        raise MetierError(f"refused: {packed:,} bytes unpack to {size:,}, as in a zip bomb", where=where, fix=fix)


def _copy(opened: Callable[[], IO[bytes]], target: Path, declared: int, where: str) -> None:
    written = 0
    with opened() as source, explain_os_errors(target), open(target, "wb") as out:
        while block := source.read(1 << 20):
            written += len(block)
            if written > declared:
                raise MetierError(f"the archive is damaged: more than the {declared:,} bytes declared", where=where)
            out.write(block)
    if written != declared:
        raise MetierError(f"the archive is damaged: {written:,} bytes where {declared:,} are declared", where=where)
