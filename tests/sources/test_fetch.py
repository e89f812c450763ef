from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.files import sha256_file
from metier.sources import Lock, fetch_file
from metier.sources.refs import parse_ref, parse_repository
from tests.sources.packages import make_wheel, point_pip_at, zip_bytes


def test_a_local_file_is_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a!b: c.csv"
    path.write_bytes(b"x\n1\n")
    lock = Lock()
    fetched = fetch_file(str(path), lock=lock)
    assert (fetched.path, fetched.sha256, fetched.bytes, fetched.trust) == (path, sha256_file(path), 4, "local")
    monkeypatch.chdir(tmp_path)
    assert fetch_file(path.name).sha256 == fetched.sha256
    path.write_bytes(b"x\n2\n")  # a user's own file may change: the lock says what it was this time
    assert lock.entries()[0]["sha256"] != fetch_file(str(path), lock=lock).sha256
    assert lock.entries()[0]["sha256"] == sha256_file(path)
    with pytest.raises(MetierError, match="wrong hash"):
        fetch_file(str(path), sha256="0" * 64)


def test_archives_within_a_local_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.writestr("x/inner.zip", zip_bytes({"deep/a.txt": b"deep"}))
    ref = f"{tmp_path / 'outer.zip'}!inner.zip!deep/a.txt"
    first = fetch_file(ref)
    assert first.path.read_bytes() == b"deep"
    first.path.write_bytes(b"hurt")
    assert fetch_file(ref).path.read_bytes() == b"deep"
    with pytest.raises(MetierError, match="not an archive"):
        fetch_file(ref + "!more")


def test_what_is_no_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "train.csv").touch()
    with pytest.raises(MetierError, match=r"does not exist[\s\S]*did you mean .*train\.csv"):
        fetch_file(str(tmp_path / "trian.csv"))
    with pytest.raises(MetierError, match="a folder"):
        fetch_file(str(tmp_path))
    with pytest.raises(MetierError, match=r"unknown kind of source[\s\S]*did you mean 'pypi'"):
        fetch_file("pipy:x==1")
    with pytest.raises(MetierError, match="refused"):
        fetch_file(f"{tmp_path / 'train.csv'}!../x")


def test_a_tilde_that_is_no_home_is_a_name_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~$report.csv").write_text("a\n1\n", "utf-8")
    assert fetch_file("~$report.csv").bytes == 4
    with pytest.raises(MetierError, match="does not exist"):
        fetch_file("~nobody/report.csv")


def test_references_are_taken_apart() -> None:
    ref = parse_ref("hf:a/b@refs/convert/parquet!x/y.zip!z")
    assert (ref.scheme, ref.body, ref.members) == ("hf", "a/b@refs/convert/parquet", ("x/y.zip", "z"))
    assert parse_repository(ref.body) == ("a/b", "refs/convert/parquet")
    assert parse_repository("hf:gpt2") == ("gpt2", None)
    assert parse_ref("C:\\data\\a.csv").scheme == "path"
    assert parse_ref("data/a.zip!b").members == ("b",)


def test_two_processes_fetch_one_distribution_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_pip_at(monkeypatch, links=tmp_path)
    make_wheel(tmp_path, "demo", "1.0", {"demo/a.bin": os.urandom(3_000_000)})
    code = "from metier.sources import fetch_file; print(fetch_file('pypi:demo==1.0!a.bin').sha256)"
    command = [sys.executable, "-c", code]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in pair]
    assert outputs[0][0] == outputs[1][0] != ""
    assert sum(error.count("downloading demo") for _, error in outputs) == 1
