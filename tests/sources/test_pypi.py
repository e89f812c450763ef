from __future__ import annotations

import http.server
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metier.errors import MetierError
from metier.files import sha256_file
from metier.sources import Lock, cache_root, fetch_file, pypi
from metier.sources.index import Index, Listed, choose
from tests.servers import LoopbackServer
from tests.sources.packages import make_sdist, make_wheel, point_pip_at, zip_bytes


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "links"
    folder.mkdir()
    point_pip_at(monkeypatch, links=folder)
    return folder


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(pypi, "_recorded", lambda: table)
    return table


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something touched the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_a_wheel_is_downloaded_once_and_read(links: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inner = zip_bytes({"deep/inner.tsv": b"a\tb\n1\t2\n"})
    wheel = make_wheel(links, "demo-set", "1.0", {"demo_set/assets/d.zip": inner, "demo_set/x.csv": b"x\n1\n"})
    fetched = fetch_file("pypi:Demo_Set==1.0!assets/d.zip!inner.tsv")
    assert fetched.path.read_bytes() == b"a\tb\n1\t2\n"
    assert fetched.path.name == "inner.tsv"
    assert (fetched.bytes, fetched.trust) == (8, "first use")
    assert fetched.origin == f"{wheel.name} sha256:{sha256_file(wheel)}"
    assert capfd.readouterr().err.count("downloading demo-set 1.0") == 1
    whole = fetch_file("pypi:demo-set==1.0")
    assert (whole.sha256, whole.path.name) == (sha256_file(wheel), wheel.name)
    wheel.unlink()
    assert fetch_file("pypi:demo-set==1.0!x.csv").path.read_bytes() == b"x\n1\n"
    assert capfd.readouterr().err == ""


def test_what_is_cached_needs_no_network(links: Path, request: pytest.FixtureRequest) -> None:
    make_wheel(links, "demo", "1.0", {"demo/a.txt": b"a", "demo/b.txt": b"b"})
    fetch_file("pypi:demo==1.0!a.txt")
    request.getfixturevalue("no_network")
    assert fetch_file("pypi:demo==1.0!a.txt", offline=True).bytes == 1
    assert fetch_file("pypi:demo==1.0!b.txt", offline=True).bytes == 1
    with pytest.raises(MetierError, match=r"pypi:other==1.0 is not in the cache[\s\S]*without --offline"):
        fetch_file("pypi:other==1.0", offline=True)


def test_a_damaged_copy_is_fetched_again(links: Path) -> None:
    make_wheel(links, "demo", "1.0", {"demo/a.txt": b"abc"})
    for ref in ("pypi:demo==1.0", "pypi:demo==1.0!a.txt"):
        first = fetch_file(ref)
        first.path.write_bytes(b"broken")
        assert fetch_file(ref) == first
        assert sha256_file(first.path) == first.sha256


def test_recorded_hashes_are_enforced(links: Path, recorded: dict[str, dict[str, Any]]) -> None:
    wheel = make_wheel(links, "demo", "1.0", {"demo/a.txt": b"abc"})
    recorded["demo==1.0"] = {"sha256": {wheel.name: sha256_file(wheel)}}
    assert fetch_file("pypi:demo==1.0!a.txt").trust == "catalogue"
    found = sha256_file(wheel)
    recorded["demo==1.0"] = {"sha256": {wheel.name: "0" * 64}}
    with pytest.raises(MetierError, match=f"wrong hash[\\s\\S]*{found}[\\s\\S]*{'0' * 64}"):
        fetch_file("pypi:demo==1.0!a.txt")
    recorded["demo==1.0"] = {"sha256": {"demo-1.0.tar.gz": found}}  # another file of the release
    with pytest.raises(MetierError, match="wrong hash"):
        fetch_file("pypi:demo==1.0")
    assert not any((cache_root() / "partial").iterdir())


def test_hashes_given_and_locked_are_enforced(links: Path, tmp_path: Path) -> None:
    make_wheel(links, "demo", "1.0", {"demo/a.txt": b"abc"})
    ref, lock = "pypi:demo==1.0!a.txt", Lock()
    digest = fetch_file(ref, lock=lock).sha256
    assert fetch_file(ref, sha256=digest.upper()).trust == "given"
    with pytest.raises(MetierError, match=f"wrong hash: sha256 {digest}; wanted is {'1' * 64}"):
        fetch_file(ref, sha256="1" * 64)
    assert fetch_file(ref, lock=lock).trust == "lock"
    assert [entry["trust"] for entry in lock.entries()] == ["first use"]
    lock.save(tmp_path / "lock.json")
    (tmp_path / "lock.json").write_text((tmp_path / "lock.json").read_text().replace(digest, "2" * 64))
    with pytest.raises(MetierError, match=f"the lock has {'2' * 64}"):
        fetch_file(ref, lock=Lock.load(tmp_path / "lock.json"))


def test_the_shipped_table_is_well_formed() -> None:
    for key, entry in pypi._recorded().items():
        assert "==".join(pypi.parse(key)) == key
        assert entry["licence"]
        for filename, digest in entry["sha256"].items():
            assert Listed(filename, "", None).release() == pypi.parse(key)
            assert len(digest) == 64


def test_nothing_of_a_source_distribution_runs(links: Path, tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit\n".encode()
    pyproject = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    make_sdist(
        links, "demo", "1.0", {"setup.py": trap, "backend.py": trap, "pyproject.toml": pyproject, "d/a.txt": b"a"}
    )
    make_wheel(links, "unrelated", "3.0", {})
    assert fetch_file("pypi:demo==1.0!d/a.txt").path.read_bytes() == b"a"
    assert fetch_file("pypi:demo==1.0").path.name == "demo-1.0.tar.gz"
    assert not (tmp_path / "ran").exists()


def test_a_wheel_for_another_machine_can_be_read(links: Path) -> None:
    make_wheel(links, "demo", "1.0", {"demo/a.txt": b"a"}, tag="cp36-cp36m-win32")
    assert fetch_file("pypi:demo==1.0!a.txt").path.read_bytes() == b"a"


def test_a_missing_release_names_the_nearest(links: Path) -> None:
    make_wheel(links, "demo", "1.0.1", {})
    make_wheel(links, "unrelated", "1.0.0", {})
    with pytest.raises(MetierError, match=r"no release 1.0.0 of demo[\s\S]*did you mean '1.0.1'"):
        fetch_file("pypi:demo==1.0.0")
    with pytest.raises(MetierError, match="no package 'absent'"):
        fetch_file("pypi:absent==1.0")


@pytest.mark.parametrize(
    "text", ["demo", "demo>=1", "demo==", "==1", "--index-url=x==1", "demo==1.*", "demo==x", "a b==1"]
)
def test_only_exact_releases_are_accepted(text: str) -> None:
    with pytest.raises(MetierError, match="not a release of a package"):
        fetch_file(f"pypi:{text}")


def test_dangerous_members_are_refused_before_anything_is_fetched(no_network: None) -> None:
    with pytest.raises(MetierError, match="refused"):
        fetch_file("pypi:demo==1.0!../../etc/passwd")
    with pytest.raises(MetierError, match="empty"):
        fetch_file("pypi:demo==1.0!!a")


def test_no_network_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    point_pip_at(monkeypatch, index=f"http://127.0.0.1:{port}/simple")
    with pytest.raises(MetierError, match="the package index cannot be reached"):
        fetch_file("pypi:demo==1.0")


def test_no_pip_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypi.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MetierError, match=r"ensurepip[\s\S]*uv pip install pip"):
        fetch_file("pypi:demo==1.0")


class _SimpleIndex(http.server.BaseHTTPRequestHandler):
    folder: Path
    as_json: bool
    lie: bool = False
    password = "Basic dXNlcjpwYXNz"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.strip("/").split("/")
        files = {path.name: path for path in self.folder.iterdir()}
        if self.headers.get("Authorization") != self.password:
            self._send(401, b"", "text/plain")
        elif name[0] == "files" and name[1] in files:
            self._send(200, files[name[1]].read_bytes(), "application/octet-stream")
        elif name != ["simple", "demo"]:
            self._send(404, b"", "text/plain")
        elif self.as_json:
            listed = [
                {"filename": f, "url": f"/files/{f}", "hashes": {"sha256": self._hash(p)}} for f, p in files.items()
            ]
            body = json.dumps({"meta": {"api-version": "1.0"}, "name": "demo", "files": listed}).encode()
            self._send(200, body, "application/vnd.pypi.simple.v1+json")
        else:
            links = "".join(f'<a href="../../files/{f}#sha256={self._hash(p)}">{f}</a>' for f, p in files.items())
            self._send(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")

    def _hash(self, path: Path) -> str:
        return "0" * 64 if self.lie else sha256_file(path)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(params=["html", "json"])
def index(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[_SimpleIndex]]:
    (tmp_path / "files").mkdir()
    kind = {"folder": tmp_path / "files", "as_json": request.param == "json"}
    handler = type("Handler", (_SimpleIndex,), kind)
    server = LoopbackServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    point_pip_at(monkeypatch, index=f"http://user:pass@127.0.0.1:{server.server_address[1]}/simple/")
    yield handler
    server.shutdown()
    server.server_close()


def test_an_index_with_a_password_gives_wheels_and_source_distributions(index: type[_SimpleIndex]) -> None:
    make_wheel(index.folder, "demo", "2.0", {"demo/a.txt": b"wheel"})
    make_sdist(index.folder, "demo", "1.0", {"setup.py": b"1/0", "a.txt": b"sdist"})
    assert fetch_file("pypi:demo==2.0!a.txt").path.read_bytes() == b"wheel"
    assert fetch_file("pypi:demo==1.0!a.txt").path.read_bytes() == b"sdist"


def test_the_hash_that_an_index_states_is_checked(index: type[_SimpleIndex], monkeypatch: pytest.MonkeyPatch) -> None:
    make_sdist(index.folder, "demo", "1.0", {"a.txt": b"sdist"})
    monkeypatch.setattr(index, "lie", True)
    with pytest.raises(MetierError, match="wrong hash"):
        fetch_file("pypi:demo==1.0")


def test_the_best_file_of_a_release_is_chosen() -> None:
    names = [
        "demo-1.0-cp36-cp36m-win32.whl",
        "demo-1.0.tar.gz",
        "demo-1.0-py3-none-any.whl",
        "demo-1.0.1.tar.gz",
        "x.txt",
    ]
    listed = [Listed(name, "", None) for name in names]
    picked = [choose(listed[:n], "Demo", "1.0.0") for n in (1, 2, 3)]
    assert [file.filename if file else None for file in picked] == names[:3]
    assert choose(listed, "demo", "9") is None
    assert Index({"no-index": "1"}).files("demo") == []
