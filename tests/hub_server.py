"""A Hub on the loopback interface, for tests: the part of the real protocol that downloads use.

It serves a folder: ``root/models/<owner>/<name>/…`` and ``root/datasets/<owner>/<name>/…``, each one commit, with the
branch ``main`` and whatever ``revisions`` adds. Files from ``lfs_bytes`` up are large ones: their ``resolve`` answers
with a redirect to another host (``localhost`` instead of ``127.0.0.1``, as the Hub redirects to its storage), which
must not be sent the token.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.servers import LoopbackServer


@dataclass
class FakeHub:
    """What is served, to whom, and what was asked for."""

    root: Path
    gated: set[str] = field(default_factory=set)  # "models/owner/name": needs the token
    token: str = "hf_right"
    revisions: dict[str, str] = field(default_factory=dict)  # further names of the one commit
    lfs_bytes: int = 1 << 16
    broken: int = 0  # answer this status to everything, if set
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Authorization
    endpoint: str = ""

    def files(self, repo: str) -> dict[str, bytes]:
        folder = self.root / repo
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    def commit(self, repo: str) -> str:
        """The commit's id: a hash of everything in it, so that a changed file is another commit."""
        content = sorted((name, hashlib.sha1(data).hexdigest()) for name, data in self.files(repo).items())
        return hashlib.sha1(json.dumps([repo, content]).encode()).hexdigest()

    def counts(self, method: str) -> int:
        return sum(asked == method for asked, _, _ in self.requests)


def git_oid(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Authorization")))
        if self.hub.broken:
            self._send(self.hub.broken, b"broken")
        elif path.startswith("/storage/"):
            self._storage(path.removeprefix("/storage/"))
        elif path == "/api/models":
            self._json([])
        elif path.startswith("/api/"):
            self._api(path.removeprefix("/api/"))
        else:
            self._resolve(path.removeprefix("/"))

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), Content_Type="application/json; charset=utf-8")

    def _error(self, status: int, code: str, message: str) -> None:
        self._send(status, json.dumps({"error": message}).encode(), X_Error_Code=code, X_Error_Message=message)

    def _allowed(self, repo: str, revision: str) -> bool:
        """Answer with the Hub's own errors where repository, right or revision is missing."""
        if not (self.hub.root / repo).is_dir():
            # the Hub does not tell strangers whether a repository is private or absent
            status = 404 if self.headers.get("Authorization") else 401
            self._error(status, "RepoNotFound", "Repository not found")
        elif repo in self.hub.gated and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            status = 403 if self.headers.get("Authorization") else 401
            self._error(status, "GatedRepo", f"Access to {repo} is restricted")
        elif revision not in ("main", self.hub.commit(repo), *self.hub.revisions):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return True
        return False

    def _api(self, path: str) -> None:
        parts = path.split("/")
        repo, rest = "/".join(parts[:3]), parts[3:]
        verb = rest[0] if rest else "revision"
        revision = "/".join(rest[1:]) or "main"
        if not self._allowed(repo, revision):
            return
        files = self.hub.files(repo)
        if verb == "tree":
            self._json([self._tree_entry(name, data) for name, data in files.items()])
            return
        siblings = [{"rfilename": name} for name in files]
        known = {"id": repo.split("/", 1)[1], "sha": self.hub.commit(repo), "siblings": siblings, "private": False}
        self._json({**known, "tags": [], "downloads": 0, "likes": 0, "gated": repo in self.hub.gated})

    def _tree_entry(self, name: str, data: bytes) -> dict[str, object]:
        entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": git_oid(data)}
        if len(data) >= self.hub.lfs_bytes:
            oid = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
        return entry

    def _resolve(self, path: str) -> None:
        if not path.startswith("datasets/"):
            path = "models/" + path
        repo, found, rest = path.partition("/resolve/")
        names = ["main", *self.hub.revisions, self.hub.commit(repo) if (self.hub.root / repo).is_dir() else "main"]
        revision = next((n for n in names if rest.startswith(n + "/")), rest.split("/")[0])
        if not found or not self._allowed(repo, revision):
            return
        commit = self.hub.commit(repo)
        data = self.hub.files(repo).get(rest.removeprefix(revision + "/"))
        if data is None:
            self._send(404, b"", X_Error_Code="EntryNotFound", X_Error_Message="Entry not found", X_Repo_Commit=commit)
        elif len(data) >= self.hub.lfs_bytes:
            oid = hashlib.sha256(data).hexdigest()
            place = self.hub.endpoint.replace("127.0.0.1", "localhost") + f"/storage/{repo}/{oid}"
            linked = {"X_Linked_Etag": f'"{oid}"', "X_Linked_Size": str(len(data)), "ETag": f'"{git_oid(data)}"'}
            self._send(302, b"", Location=place, X_Repo_Commit=commit, **linked)
        else:
            length = {"Content_Length": str(len(data))}  # of the content, for HEAD too
            self._send(200, data, ETag=f'"{git_oid(data)}"', X_Repo_Commit=commit, **length)

    def _storage(self, path: str) -> None:
        repo, _, oid = path.rpartition("/")
        blobs = {hashlib.sha256(data).hexdigest(): data for data in self.hub.files(repo).values()}
        if "Authorization" in self.headers:
            self._send(400, b"a token was sent to the storage host")
        elif oid in blobs:
            self._send(200, blobs[oid], ETag=f'"{oid}"')
        else:
            self._send(404, b"")


@contextlib.contextmanager
def serve_hub(root: Path) -> Iterator[FakeHub]:
    """Serve ``root`` until the block ends; ``hub.endpoint`` is what ``HF_ENDPOINT`` must be."""
    hub = FakeHub(root)
    server = LoopbackServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
