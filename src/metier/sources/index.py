"""Reading a package index as pip is configured to, without letting a package run any code.

``pip download`` of a source distribution runs its build backend to learn its metadata: code of a package that one
only wants to read. So where there is no wheel for this machine, the release's files are looked up in the simple
index (PEP 503 as HTML, PEP 691 as JSON) under pip's own settings: ``index-url``, ``extra-index-url``, ``find-links``,
``no-index``, ``cert``, ``client-cert``, ``proxy``, ``trusted-host``, credentials in a URL or in netrc.
"""

from __future__ import annotations

import ast
import base64
import json
import netrc
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from packaging.utils import (
    InvalidName,
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from metier.errors import MetierError
from metier.files import explain_os_errors

_SECONDS = 60
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.1"


@dataclass(frozen=True)
class Listed:
    """A file that an index lists: its name, where it is, and the SHA-256 that the index states."""

    filename: str
    url: str
    sha256: str | None

    def release(self) -> tuple[str, str] | None:
        """The normalised project name and version, or None if the name is not that of a distribution."""
        try:
            if self.filename.endswith(".whl"):
                name, version, *_ = parse_wheel_filename(self.filename)
            else:
                name, version = parse_sdist_filename(self.filename)
        except (InvalidName, InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
            return None
        return str(name), str(version)


def pip_settings() -> dict[str, str]:
    """pip's settings for downloads, as ``pip config list`` gives them, environment last."""
    command = [sys.executable, "-P", "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    settings: dict[str, str] = {}
    for section in ("global.", "download.", ":env:."):
        for line in lines:
            key, found, value = line.partition("=")
            if found and key.startswith(section):
                try:
                    settings[key.removeprefix(section)] = str(ast.literal_eval(value))
                except (ValueError, SyntaxError):
                    continue
    return settings


class Index:
    """The places where pip would look, and the means to read them."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._settings = settings
        self._trusted = set(settings.get("trusted-host", "").split())
        given = " ".join(settings.get(name, "") for name in ("index-url", "extra-index-url", "find-links"))
        # files mostly lie on the index's own host, under links that do not repeat its credentials
        self._known = {
            urlsplit(url).netloc.rpartition("@")[2]: found for url in given.split() if (found := _written(url))
        }

    def files(self, project: str) -> list[Listed]:
        """Every file listed for ``project``, in pip's order of places. OSError if a place cannot be reached."""
        listed: list[Listed] = []
        for place in self._places(canonicalize_name(project)):
            try:
                listed += list(self._list(place))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except urllib.error.HTTPError as error:
                if error.code not in (404, 410):
                    raise
        return listed

    def download(self, file: Listed, target: Path) -> None:
        """Write a listed file to ``target``. OSError if it cannot be fetched whole."""
        with self._open(file.url) as response, explain_os_errors(target), open(target, "wb") as out:
            declared = response.headers.get("Content-Length")
            written = 0
            while block := response.read(1 << 20):
                out.write(block)
                written += len(block)
        if declared is not None and written != int(declared):
            raise ConnectionError(f"{file.url}: {written:,} bytes came of {declared}")

    def _places(self, project: str) -> Iterator[str]:
        yield from self._settings.get("find-links", "").split()
        if self._settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
            return
        main = self._settings.get("index-url", "https://pypi.org/simple")
        for index in [main, *self._settings.get("extra-index-url", "").split()]:
            yield f"{index.rstrip('/')}/{project}/"

    def _list(self, place: str) -> Iterator[Listed]:
        folder = _local(place)
        if folder is not None and folder.is_dir() and not (folder / "index.html").is_file():
            for path in sorted(folder.iterdir()):
                yield Listed(path.name, path.absolute().as_uri(), None)
            return
        if folder is not None:
            page = folder / "index.html" if folder.is_dir() else folder
            yield from _from_html(page.read_text("utf-8", errors="replace"), page.absolute().as_uri())
            return
        with self._open(place) as response:
            body, base = response.read(), response.geturl()
            kind = response.headers.get("Content-Type", "")
        if "json" in kind:
            for file in json.loads(body).get("files", []):
                yield Listed(file["filename"], urljoin(base, file["url"]), file.get("hashes", {}).get("sha256"))
        else:
            yield from _from_html(body.decode("utf-8", errors="replace"), base)

    def _open(self, url: str) -> Any:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "file"):
            raise MetierError(f"not a place to download from: {url!r}")
        request = urllib.request.Request(_bare(url), headers={"Accept": _ACCEPT, "User-Agent": "metier"})
        if credentials := _written(url) or self._known.get(parts.netloc) or _from_netrc(parts.hostname):
            token = base64.b64encode(":".join(credentials).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {token}")
        handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=self._tls(parts.hostname))]
        if proxy := self._settings.get("proxy"):
            handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        return urllib.request.build_opener(*handlers).open(request, timeout=_SECONDS)

    def _tls(self, host: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._settings.get("cert"))
        if client := self._settings.get("client-cert"):
            context.load_cert_chain(client)
        if host in self._trusted:  # the user told pip so
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def choose(files: list[Listed], project: str, version: str) -> Listed | None:
    """The best file of a release to read: a wheel for every machine, else a source distribution, else any wheel."""

    def is_wanted(file: Listed) -> bool:  # 1.0 and 1.0.0 are one version
        release = file.release()
        return release is not None and release[0] == name and Version(release[1]) == Version(version)

    name = canonicalize_name(project)
    ours = [file for file in files if is_wanted(file)]

    def rank(file: Listed) -> int:
        if file.filename.endswith("-none-any.whl"):
            return 0
        return 2 if file.filename.endswith(".whl") else 1

    return min(ours, key=rank, default=None)


def versions_of(files: list[Listed], project: str) -> set[str]:
    """The versions of ``project`` among listed files (a folder of wheels lists other projects' files too)."""
    releases = [release for file in files if (release := file.release())]
    return {version for name, version in releases if name == canonicalize_name(project)}


def _local(place: str) -> Path | None:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme in ("http", "https") else Path(place).expanduser()


def _bare(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _written(url: str) -> tuple[str, str] | None:
    """User and password, if the URL holds them."""
    parts = urlsplit(url)
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def _from_netrc(host: str | None) -> tuple[str, str] | None:
    try:
        known = netrc.netrc().authenticators(host or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return (known[0] or "", known[2] or "") if known else None


def _from_html(page: str, base: str) -> Iterator[Listed]:
    parser = _Links()
    parser.feed(page)
    for href in parser.links:
        url = urljoin(base, href)
        parts = urlsplit(url)
        kind, _, digest = parts.fragment.partition("=")
        filename = unquote(parts.path.rsplit("/", 1)[-1])
        yield Listed(filename, url, digest if kind == "sha256" else None)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


__all__ = ["Index", "Listed", "choose", "pip_settings", "versions_of"]
