from __future__ import annotations

import errno
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.files import sha256_file
from metier.sources import cache
from metier.sources.lock import Fetched, Lock


def _stored(name: str = "a.txt", data: bytes = b"content") -> cache.Blob:
    with cache.partial(name) as folder:
        (folder / name).write_bytes(data)
        return cache.add_blob(folder / name)


def _two_processes(code: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    return outputs


def test_a_blob_lies_under_its_hash_and_keeps_its_name() -> None:
    blob = _stored()
    assert blob.path == cache.cache_root() / "blobs" / blob.sha256 / "a.txt"
    assert (sha256_file(blob.path), blob.bytes) == (blob.sha256, 7)
    assert cache.get_blob(blob.sha256, "a.txt") == blob
    assert cache.get_blob("0" * 64, "a.txt") is None
    assert not any((cache.cache_root() / "partial").iterdir())


def test_a_blob_that_was_damaged_is_forgotten() -> None:
    blob = _stored()
    blob.path.write_bytes(b"CONTENT")
    assert cache.get_blob(blob.sha256, "a.txt") is None
    assert not blob.path.exists()


def test_a_name_leads_to_its_blob_as_long_as_that_is_whole() -> None:
    blob = _stored()
    cache.remember("key", blob, origin="somewhere")
    found = cache.recall("key")
    assert found is not None
    assert found[0] == blob
    assert found[1]["origin"] == "somewhere"
    assert cache.recall("another key") is None
    for note in (cache.cache_root() / "names").iterdir():
        note.write_text("{")
    assert cache.recall("key") is None


@pytest.mark.parametrize("name", ["../a", "a/b", "..", "", "a\\b"])
def test_a_blob_cannot_be_put_elsewhere(name: str) -> None:
    with pytest.raises(MetierError, match="not a file name"):
        cache.get_blob("0" * 64, name)


def test_a_derived_folder_is_built_once_and_kept() -> None:
    calls: list[Path] = []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "x").write_text("made")

    first, second = cache.derived("thing-1", build), cache.derived("thing-1", build)
    assert first == second == cache.cache_root() / "derived" / "thing-1"
    assert (len(calls), (first / "x").read_text()) == (1, "made")


def test_a_derived_folder_whose_making_fails_is_not_there() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        cache.derived("thing", fail)
    assert list((cache.cache_root() / "derived").iterdir()) == []


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    left = cache.cache_root() / "derived" / ".thing.abc.tmp"
    left.mkdir(parents=True)
    cache.derived("thing", lambda folder: (folder / "x").touch())
    assert not left.exists()


def test_two_processes_build_a_derived_folder_once(tmp_path: Path) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from metier.sources.cache import derived

        def build(folder):
            with open(sys.argv[1], "a") as log:
                log.write("built\\n")
            time.sleep(0.5)
            (folder / "x").write_text("whole")

        print((derived("shared", build) / "x").read_text())
    """
    assert _two_processes(code, str(tmp_path / "log")) == ["whole\n", "whole\n"]
    assert (tmp_path / "log").read_text() == "built\n"


def test_two_processes_unpack_the_same_member_at_once(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("big.txt", "0123456789" * 500_000)
    code = """
        import sys
        from metier.sources import fetch_file
        for _ in range(3):
            fetched = fetch_file(sys.argv[1] + "!big.txt")
        print(fetched.sha256, fetched.path.stat().st_size)
    """
    first, second = _two_processes(code, str(tmp_path / "a.zip"))
    assert first == second
    assert first.split()[1] == "5000000"


def test_the_lock_keeps_order_replaces_and_round_trips(tmp_path: Path) -> None:
    lock = Lock()
    lock.record(Fetched("b", Path("x"), "1" * 64, 3, trust="first use"))
    lock.record(Fetched("a", Path("y"), "2" * 64, 4, revision="c0ffee", trust="revision"))
    lock.record(Fetched("b", Path("x"), "1" * 64, 3, trust="lock"))
    assert [entry["ref"] for entry in lock.entries()] == ["b", "a"]
    assert lock.entries()[0]["trust"] == "first use"  # how it came to be believed stays on record
    lock.save(tmp_path / "lock.json")
    again = Lock.load(tmp_path / "lock.json")
    assert again.entries() == lock.entries()
    pinned = again.pinned("a")
    assert pinned is not None
    assert pinned["revision"] == "c0ffee"
    assert again.pinned("c") is None
    assert Lock.load(tmp_path / "none.json").entries() == []


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"entries": [{}]}), json.dumps({"entries": [1]})])
def test_a_broken_lock_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock.json").write_text(text)
    with pytest.raises(MetierError, match=r"lock cannot be read[\s\S]*lock\.json"):
        Lock.load(tmp_path / "lock.json")


def test_a_lock_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("filelock._unix.os.open", refuse)  # the cache of another user
    with pytest.raises(MetierError, match=r"cannot write[\s\S]*locks[\s\S]*rights"), cache.locked("a"):
        pass
