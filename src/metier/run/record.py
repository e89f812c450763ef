"""What a finished run says of the data it learnt from."""

from __future__ import annotations

import json
from pathlib import Path

from metier.errors import MetierError
from metier.recipe import Recipe, beside
from metier.run.data import Data, prepare_data
from metier.run.mixture import mix_tasks
from metier.sources import Lock


def run_record(run: Path) -> tuple[Recipe, str]:
    """The recipe that the run carried out, its files found from where that was done, and the hash of its split."""
    try:
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        kept = json.loads((run / "data" / "splits.json").read_text(encoding="utf-8"))["hash"]
        recipe = Recipe.model_validate(manifest["recipe"])
        return beside(recipe, Path(manifest.get("folder", "."), "recipe.yaml")), str(kept)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(run, error) from error


def training_data(run: Path, recipe: Recipe, kept: str, data_root: Path | None, offline: bool) -> Data:
    """The run's parts, read again; refused if they are no longer those whose hash was ``kept``."""
    try:
        data = prepare_data(recipe, data_root=data_root, lock=Lock.load(run / "lock.json"), offline=offline)
    except MetierError as error:
        what = f"the run's training data cannot be read again: {error.what}"
        raise MetierError(what, where=f"{error.where} (in the recipe of {run})", fix=error.fix) from error
    _check_unchanged(run, data, kept)
    return data


def mixed_in(run: Path, recipe: Recipe, main: Data, data_root: Path | None, offline: bool) -> list[Data]:
    """The tasks that were learnt together with ``main``, read again; refused if they are no longer what they were."""
    if not recipe.mix:
        return []
    try:
        kept = json.loads((run / "data" / "mixture.json").read_text(encoding="utf-8"))["splits"]
        hashes = {name: str(split["hash"]) for name, split in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(run, error) from error
    lock = Lock.load(run / "lock.json")
    others = mix_tasks(recipe, main, data_root=data_root, lock=lock, offline=offline).others
    for data in others:
        _check_unchanged(run, data, hashes.get(data.name))
    return others


def _check_unchanged(run: Path, data: Data, kept: str | None) -> None:
    if data.to_json()["hash"] != kept:
        raise MetierError("the run's training data has changed since", where=str(run), fix="run the recipe again")


def _unreadable(run: Path, error: Exception) -> MetierError:
    return MetierError(
        f"the record of the training data cannot be read: {error}",
        where=str(run),
        fix="give the whole run directory that `metier run` wrote; if it is damaged, run its recipe again",
    )
