from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.sources.archives import check_member_name, extract_member


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return path


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def _info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def _read(archive: Path, member: str, limit: int = 1 << 30) -> bytes:
    target = archive.parent / "out"
    extract_member(archive, member, target, limit=limit)
    return target.read_bytes()


@pytest.mark.parametrize("member", ["pkg/data/a.txt", "data/a.txt", "a.txt"])
def test_a_member_is_found_by_its_path_or_the_end_of_it(tmp_path: Path, member: str) -> None:
    archive = _zip(tmp_path / "a.whl", {"pkg/data/a.txt": b"one", "pkg/b.txt": b"two"})
    assert _read(archive, member) == b"one"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars_of_every_packing(tmp_path: Path, mode: str) -> None:
    archive = _tar(tmp_path / "a.tar", (_info("./x-1/a.txt"), b"one"), mode=mode)
    assert _read(archive, "x-1/a.txt") == b"one"


def test_an_ambiguous_ending_names_the_choices(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"x/a.txt": b"", "y/a.txt": b"", "z/b/a.txt": b""})
    with pytest.raises(MetierError, match=r"3 members end in 'a.txt'[\s\S]*x/a.txt, y/a.txt"):
        _read(archive, "a.txt")


def test_a_missing_member_suggests_the_nearest(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"data/train.csv": b""})
    with pytest.raises(MetierError, match=r"no member 'data/trian.csv'[\s\S]*did you mean 'data/train.csv'"):
        _read(archive, "data/trian.csv")


@pytest.mark.parametrize(
    "name", ["../a", "a/../b", "/etc/passwd", "C:/a", "c:a", "a\\b", "..", ".", "", "a//b", "./a", "a\0b", "a/"]
)
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(MetierError, match="refused"):
        check_member_name(name, "x.zip")


@given(st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), min_size=1, max_size=4))
def test_plain_relative_names_pass(parts: list[str]) -> None:
    check_member_name("/".join(parts), "x.zip")


def test_a_traversing_member_is_not_reached_by_its_ending(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"../../evil.txt": b"x"})
    with pytest.raises(MetierError, match=r"'\.\./\.\./evil\.txt' is refused"):
        _read(archive, "evil.txt")
    archive = _tar(tmp_path / "b.tar", (_info("/abs/evil.txt"), b"x"))
    with pytest.raises(MetierError, match=r"'/abs/evil\.txt' is refused"):
        _read(archive, "evil.txt")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_devices_and_folders_of_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = _tar(tmp_path / "a.tar", (_info("real"), b"x"), (_info("link", kind, "/etc/passwd"), b""))
    with pytest.raises(MetierError, match="a folder, a link"):
        _read(archive, "link")


def test_links_and_encrypted_members_of_a_zip_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("locked", b"x")
    with pytest.raises(MetierError, match="a folder, a link"):
        _read(tmp_path / "a.zip", "link")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the second entry of the directory
    data[at + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(MetierError, match="encrypted"):
        _read(tmp_path / "a.zip", "locked")


def test_bombs_are_refused_by_size_and_by_ratio(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"zeros": bytes(70 << 20)})
    with pytest.raises(MetierError, match="the limit is 1,000"):
        _read(archive, "zeros", limit=1000)
    with pytest.raises(MetierError, match="zip bomb"):
        _read(archive, "zeros")
    packed = _tar(tmp_path / "b.tar", (_info("zeros"), bytes(70 << 20)), (_info("small"), b"x"))
    with pytest.raises(MetierError, match="zip bomb"):
        _read(packed, "small")
    assert not (tmp_path / "out").exists()


def test_a_member_that_lies_about_its_size_is_stopped(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a": b"x" * 5000})
    data = bytearray(archive.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (100).to_bytes(4, "little")
    archive.write_bytes(data)
    with pytest.raises(MetierError, match="damaged"):
        _read(archive, "a")


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    whole = _zip(tmp_path / "a.zip", {"a": bytes(range(256)) * 100}).read_bytes()
    hurt = bytearray(whole)
    hurt[60] ^= 0xFF
    (tmp_path / "hurt.zip").write_bytes(hurt)
    with pytest.raises(MetierError, match=r"damaged[\s\S]*hurt.zip!a"):
        _read(tmp_path / "hurt.zip", "a")
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    with pytest.raises(MetierError, match=r"not an archive|damaged"):
        _read(tmp_path / "cut.zip", "a")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(MetierError, match="not an archive"):
        _read(tmp_path / "text.zip", "a")
    tar = _tar(tmp_path / "a.tar.gz", (_info("a"), bytes(range(256)) * 400)).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(tar[: len(tar) // 2])
    with pytest.raises(MetierError, match=r"damaged|not an archive"):
        _read(tmp_path / "cut.tar.gz", "a")
