"""Which settings: each is tried on a part of train and looked at on validation; the test part is never read."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.files import sha256_json, write_json
from metier.models.bases import Base, resolve
from metier.models.device import Device
from metier.models.encode import Encoder
from metier.models.load import fitting, load_model, load_tokenizer
from metier.recipe import Recipe
from metier.run.adapt import train_specialist
from metier.run.data import Data
from metier.run.keys import training_key
from metier.run.mixture import Mixture
from metier.run.progress import console
from metier.sources import Lock
from metier.tasks import fewer


class Trials:
    """The trials of a recipe's search, in its order; a finished one is kept in ``search/<key>/result.json``.

    Errors: :class:`MetierError` for a base that cannot be had, and for two trials that are the same.
    """

    def __init__(
        self, recipe: Recipe, data: Data, mixture: Mixture | None, device: Device, *, path: Path, lock: Lock,
        offline: bool,
    ) -> None:  # fmt: skip
        assert recipe.search is not None
        self.data, self.mixture = _smaller(data, mixture, recipe.search.examples, recipe.seed)
        self.device, self.folder = device, path / "search"
        self.recipes = [recipe.with_settings(trial) for trial in recipe.search.trials]
        self.changes = [trial.model_dump(mode="json", exclude_unset=True) for trial in recipe.search.trials]
        self.bases = [resolve(trial.base, lock=lock, offline=offline) for trial in self.recipes]
        self.keys = [
            sha256_json(training_key(trial, self.data, self.mixture, base, device))
            for trial, base in zip(self.recipes, self.bases, strict=True)
        ]
        _refuse_twins(self.keys)

    def run(self, target: Path) -> dict[str, Any]:
        """Carry out what is not done yet and write all of it to ``target``; returns what the stage records."""
        found = []
        for number, (recipe, base, key) in enumerate(zip(self.recipes, self.bases, self.keys, strict=True)):
            result = self.folder / key[:16] / "result.json"
            if not result.exists():
                console.print(f"[bold]trial {number + 1} of {len(self.keys)}[/]: {_in_words(self.changes[number])}")
                write_json(result, self._try(recipe, base, key, number))
            found.append({"changes": self.changes[number], **json.loads(result.read_text(encoding="utf-8"))})
        best = max(range(len(found)), key=lambda place: (found[place]["validation"], -place))
        seconds = round(sum(trial["seconds"] for trial in found), 1)
        about = {
            "task": self.data.name,
            "metric": "log_likelihood" if self.data.task.written else self.data.task.metric,
            "examples": len(self.mixture.train if self.mixture else self.data.part("train")),
            "validation_examples": len(self.data.part("validation")),
        }
        write_json(target, {**about, "trials": found, "chosen": best, "seconds": seconds})
        return {"seconds": seconds}

    def _try(self, recipe: Recipe, base: Base, key: str, number: int) -> dict[str, Any]:
        start, folder = time.perf_counter(), self.folder / key[:16]
        encoder = Encoder(
            load_tokenizer(base.path),
            self.data.task,
            fitting(base.path, recipe.max_tokens, taken=recipe.adapt.soft_tokens, answers=self.data.answers),
        )
        model = load_model(base.path, dtype=self.device.torch_dtype, device=self.device.device)
        try:
            _, summary, _ = train_specialist(
                recipe, self.data, self.mixture, encoder, model,
                packing=None, folder=folder / "checkpoints", log=folder / "log.jsonl", key=key,
            )  # fmt: skip
        except MetierError as error:
            where = f"search.trials, number {number + 1}" + (f"; {error.where}" if error.where else "")
            raise MetierError(error.what, where=where, fix=error.fix) from error
        shutil.rmtree(folder / "checkpoints")
        kept = ("steps", "best_step", "trainable_parameters", "examples_per_s", "stopped")
        return {
            "key": key,
            "base": base.name,
            "adapt": recipe.adapt.model_dump(mode="json"),
            "validation": summary["best_validation"],
            # a trial that was continued took the training seconds of before, too
            "seconds": round(max(time.perf_counter() - start, summary["seconds"]), 1),
            **{name: summary[name] for name in kept},
        }

    def chosen(self, target: Path) -> Recipe:
        """The recipe with the settings that did best on validation; the first of equals."""
        number: int = json.loads(target.read_text(encoding="utf-8"))["chosen"]
        console.print(f"  settings: {_in_words(self.changes[number])} (trial {number + 1} of {len(self.keys)})")
        return self.recipes[number]


def _smaller(data: Data, mixture: Mixture | None, count: int | None, seed: int) -> tuple[Data, Mixture | None]:
    """The parts with at most ``count`` examples to learn from, labels in proportion."""
    train = mixture.train if mixture else data.part("train")
    if count is None or count >= len(train):
        return data, mixture
    chosen = fewer(train, count, seed, written=data.task.written)
    if mixture:
        return data, replace(mixture, train=chosen)
    return replace(data, split=replace(data.split, parts={**data.split.parts, "train": chosen})), None


def _refuse_twins(keys: list[str]) -> None:
    for number, key in enumerate(keys):
        if key in keys[:number]:
            raise MetierError(
                f"trials {keys.index(key) + 1} and {number + 1} are the same",
                where="recipe, search.trials",
                fix="remove one, or change what it sets",
            )


def _in_words(changes: dict[str, Any]) -> str:
    found = [f"{name} {value}" for name, value in {**changes, **changes.get("adapt", {})}.items() if name != "adapt"]
    return ", ".join(found) or "as the recipe says"
