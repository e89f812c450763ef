"""Distributions made on the spot, and pip pointed at them and at nothing else."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest


def make_wheel(folder: Path, name: str, version: str, files: dict[str, bytes], tag: str = "py3-none-any") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    info = {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        f"{stem}.dist-info/RECORD": b"",
    }
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for member, data in {**files, **info}.items():
            wheel.writestr(member, data)
    return path


def make_sdist(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{version}"
    path = folder / f"{stem}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member, data in files.items():
            info = tarfile.TarInfo(f"{stem}/{member}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for member, data in files.items():
            zipped.writestr(member, data)
    return buffer.getvalue()


def point_pip_at(monkeypatch: pytest.MonkeyPatch, *, index: str | None = None, links: Path | None = None) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    if index:
        monkeypatch.setenv("PIP_INDEX_URL", index)
    else:
        monkeypatch.setenv("PIP_NO_INDEX", "1")
    if links:
        monkeypatch.setenv("PIP_FIND_LINKS", str(links))
