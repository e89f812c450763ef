"""Whole data sets of the Hub, by name: the parquet, csv or JSON files of one split. Scripts are never run.

The repository's files are fetched as files (so they are cached, pinned and usable offline, from any endpoint); which
of them belong to a configuration and a split is decided by the repository's card, or by the ``datasets`` library's
rules for file names; and that library reads them.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metier.errors import MetierError, nearest
from metier.sources import hub
from metier.sources.binary import plain_value
from metier.sources.cache import cache_root
from metier.sources.hub_faults import endpoint, explained, is_offline
from metier.sources.lock import Lock
from metier.sources.refs import parse_repository
from metier.sources.tables import Row

log = logging.getLogger(__name__)

LIMIT_BYTES = 8 * 2**30
"""A configuration larger than this is not fetched whole."""
_BUILDERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
_PATTERNS = [f"*{suffix}{packed}" for suffix in _BUILDERS for packed in ("", ".gz", ".zst")]
_OPTIONS = ("sep", "delimiter", "names", "header", "encoding", "quotechar", "field")  # of a card, for the reader


@dataclass(frozen=True)
class _Config:
    """A configuration in a card: files by split, or a folder, and options for the reader."""

    files: dict[str, list[str]]
    folder: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def load_hub_dataset(
    ref: str, config: str | None = None, split: str = "train", *, lock: Lock | None = None, offline: bool = False
) -> Iterator[Row]:
    """The rows of one split of a data set on the Hub, numbered from 1.

    Args:
        ref: ``hf:owner/name[@revision]``.
        config: the configuration; needed where there are several and none is the default.
        split: ``train``, ``validation``, ``test`` or whatever the data set calls it.
        lock: a revision that it pins is used again; what came is recorded in it.
        offline: use the cache only.

    Raises:
        MetierError: not found, gated, unreachable, not cached; a data set made by a script; an unknown configuration
            or split (with those there are); files that cannot be read.
    """
    repository, revision = parse_repository(ref)
    pinned = lock.pinned(ref) if lock else None
    revision = pinned["revision"] if pinned else revision
    card = hub.fetch_snapshot(repository, revision, ["README.md"], offline=offline)
    revision = card.name  # from here on the very same commit
    chosen = _choose(_configs(card / "README.md"), config, ref)
    patterns = _wanted(chosen, config)
    _check_size(repository, revision, patterns, ref, offline)
    folder = hub.fetch_snapshot(repository, revision, patterns, ignore=["*.py"], offline=offline)
    files, options = _files_of_split(folder, chosen, config, split, ref)
    if lock is not None:
        lock.record(hub.describe_folder(ref, folder, patterns, ["*.py"]))
    return _read(files, options, ref, split)


def _configs(card: Path) -> dict[str, _Config]:
    """The configurations that a card's front matter lists; none if it lists none."""
    import yaml

    text = card.read_text("utf-8", errors="replace") if card.is_file() else ""
    if not text.startswith("---"):
        return {}
    try:
        front = yaml.safe_load(text.split("---", 2)[1]) or {}
        listed = front.get("configs") or []
        return {str(entry.get("config_name", "default")): _config(entry) for entry in listed}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise MetierError(f"the data set's card cannot be read: {error}", where=str(card)) from error


def _config(entry: dict[str, Any]) -> _Config:
    files = entry.get("data_files")
    options = {name: entry[name] for name in _OPTIONS if name in entry} | {"default": bool(entry.get("default"))}
    if files is None:
        return _Config({}, str(entry["data_dir"]).strip("/") if entry.get("data_dir") else None, options)
    if isinstance(files, dict):
        pairs = list(files.items())
    elif isinstance(files, list) and files and isinstance(files[0], dict):
        pairs = [(item["split"], item["path"]) for item in files]
    else:
        pairs = [("train", files)]
    return _Config({str(s): [paths] if isinstance(paths, str) else list(paths) for s, paths in pairs}, None, options)


def _choose(configs: dict[str, _Config], config: str | None, ref: str) -> _Config | None:
    if not configs:
        return None
    if config is not None:
        if config in configs:
            return configs[config]
        raise MetierError(f"the data set has no configuration {config!r}", where=ref, fix=nearest(config, configs))
    default = [c for name, c in configs.items() if c.options["default"] or name == "default" or len(configs) == 1]
    if default:
        return default[0]
    fix = "name one of: " + ", ".join(configs)
    raise MetierError(f"the data set has {len(configs)} configurations and no default", where=ref, fix=fix)


def _wanted(chosen: _Config | None, config: str | None) -> list[str]:
    if chosen and chosen.files:
        return ["README.md", *(pattern for patterns in chosen.files.values() for pattern in patterns)]
    folder = chosen.folder if chosen else None
    return ["README.md", *([f"{folder}/{pattern}" for pattern in _PATTERNS] if folder else _PATTERNS)]


def _check_size(repository: str, revision: str, patterns: list[str], ref: str, offline: bool) -> None:
    from huggingface_hub import HfApi

    if is_offline(offline):
        return
    with explained(repository, revision, None, kind="dataset", offline=offline):
        tree = list(
            HfApi(endpoint=endpoint()).list_repo_tree(
                repository, recursive=True, revision=revision, repo_type="dataset"
            )
        )
    sizes = {entry.path: entry.size for entry in tree if hasattr(entry, "size")}
    data = {name: size for name, size in sizes.items() if any(fnmatch.fnmatch(name, p) for p in patterns[1:])}
    if not data:
        scripts = [name for name in sizes if name.endswith(".py")]
        what = (
            "the data set is made by a script, and scripts are not run"
            if scripts
            else "the data set has no files to read"
        )
        others = [name for name in sizes if not name.endswith((".py", ".md", ".gitattributes", "dataset_infos.json"))]
        fix = f"try {ref.partition('@')[0]}@refs/convert/parquet"
        if others:
            fix += f"; or name a raw file: {ref}!{others[0]}"
        raise MetierError(what, where=ref, fix=fix)
    if (size := sum(data.values())) > LIMIT_BYTES:
        fix = f"name a configuration, or single files: {ref}!{min(data)}"
        raise MetierError(f"the data set has {size:,} bytes; the limit is {LIMIT_BYTES:,}", where=ref, fix=fix)


def _files_of_split(
    folder: Path, chosen: _Config | None, config: str | None, split: str, ref: str
) -> tuple[list[str], dict[str, Any]]:
    from datasets.data_files import EmptyDatasetError, get_data_patterns, resolve_pattern

    base, options = folder, {}
    splits: dict[str, list[str]]
    if chosen and chosen.files:
        splits, options = chosen.files, chosen.options
    else:
        if chosen and chosen.folder:
            base, options = folder / chosen.folder, chosen.options
        elif config is not None:  # converted data sets keep each configuration in a folder of its own
            base = folder / config
            if not base.is_dir():
                names = [path.name for path in folder.iterdir() if path.is_dir()]
                raise MetierError(
                    f"the data set has no configuration {config!r}",
                    where=ref,
                    fix=nearest(config, names) if names else "leave it out",
                )
        try:
            splits = {str(name): patterns for name, patterns in get_data_patterns(str(base)).items()}
        except EmptyDatasetError as error:
            raise MetierError("the data set has no files to read", where=ref) from error
    if split not in splits:
        raise MetierError(f"the data set has no split {split!r}", where=ref, fix=nearest(split, splits))
    files: list[str] = []
    for pattern in splits[split]:
        try:
            files += [file for file in resolve_pattern(pattern, str(base)) if file not in files and _builder(file)]
        except FileNotFoundError:
            continue
    if not files:
        raise MetierError(f"the split {split!r} has no files to read", where=ref, fix=f"its card names {splits[split]}")
    return files, options


def _suffix(file: str) -> str:
    path = Path(file)
    return Path(path.stem).suffix if path.suffix in (".gz", ".zst") else path.suffix


def _builder(file: str) -> str | None:
    return _BUILDERS.get(_suffix(file).lower())


def _read(files: list[str], options: dict[str, Any], ref: str, split: str) -> Iterator[Row]:
    import datasets
    import pyarrow as pa

    kinds = {_builder(file) for file in files}
    kind = "parquet" if "parquet" in kinds else _builder(files[0])
    if len(kinds) > 1:
        log.warning("%s holds the split %s in several formats: only its %s files are read", ref, split, kind)
    files = [file for file in files if _builder(file) == kind]
    options = {name: value for name, value in options.items() if name != "default"}
    if kind == "csv":
        options.setdefault("sep", "\t" if _suffix(files[0]) == ".tsv" else options.pop("delimiter", ","))
        options |= {"keep_default_na": False, "na_values": [""]}  # the word "None" is a word
    number = 0
    try:
        rows = datasets.load_dataset(
            kind,
            data_files={split: files},
            split=split,
            streaming=True,
            cache_dir=str(cache_root() / "datasets"),
            **options,
        )
        for number, values in enumerate(rows, 1):
            where = f"{ref}, {split}, row {number}"
            yield Row(number, {str(name): plain_value(value, where, str(name)) for name, value in values.items()})
    except (datasets.exceptions.DatasetsError, pa.ArrowException, ValueError, OSError, EOFError, TypeError) as error:
        fix = "read its files one by one instead: " + f"{ref}!path"
        said = str(error).strip().split("\n")[0]
        raise MetierError(
            f"the data set cannot be read: {said}", where=f"{ref}, {split}, after row {number}", fix=fix
        ) from error
