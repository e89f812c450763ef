"""What a finished run says of the data it learnt from."""

from __future__ import annotations

import json
from pathlib import Path

from metier.errors import MetierError
from metier.recipe import Recipe
from metier.run.data import Data, prepare_data
from metier.sources import Lock


def run_record(run: Path) -> tuple[Recipe, str]:
    """The recipe that the run carried out, and the hash of its split."""
    try:
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        kept = json.loads((run / "data" / "splits.json").read_text(encoding="utf-8"))["hash"]
        return Recipe.model_validate(manifest["recipe"]), str(kept)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetierError(
            f"the record of the training data cannot be read: {error}",
            where=str(run),
            fix="give the whole run directory that `metier run` wrote; if it is damaged, run its recipe again",
        ) from error


def training_data(run: Path, recipe: Recipe, kept: str, data_root: Path | None, offline: bool) -> Data:
    """The run's parts, read again; refused if they are no longer those whose hash was ``kept``."""
    data = prepare_data(recipe, data_root=data_root, lock=Lock.load(run / "lock.json"), offline=offline)
    if data.to_json()["hash"] != kept:
        raise MetierError("the run's training data has changed since", where=str(run), fix="run the recipe again")
    return data
