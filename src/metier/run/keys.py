"""What a stage reads, as plain values: a stage that reads the same things is not repeated."""

from __future__ import annotations

from typing import Any

from metier.files import sha256_json
from metier.models.bases import Base
from metier.models.device import Device
from metier.recipe import Recipe
from metier.run.data import Data
from metier.run.mixture import Mixture
from metier.run.stages import versions
from metier.tasks.records import content_id


def data_key(data: Data) -> list[Any]:
    """The examples of every part, and the task they belong to; what language they are said to be in changes nothing."""
    task = data.task.model_dump(mode="json", exclude={"sources", "variants"})
    key = [data.to_json()["hash"], {**task, "language": "en"}]
    rows = [e for part in data.split.parts.values() for e in part]
    # the hash folds case and punctuation, which an id made from the content does not
    named = [e for e in rows if not e.id.startswith(content_id(e.inputs, e.choices, e.group, e.split))]
    return [*key, sha256_json([[e.id, e.inputs] for e in named])] if named else key


def model_key(recipe: Recipe, base: Base, device: Device) -> list[Any]:
    """The base, and how it computes."""
    return [base.sha256, device.dtype, device.device, recipe.max_tokens]


def training_key(recipe: Recipe, data: Data, mixture: Mixture | None, base: Base, device: Device) -> list[Any]:
    """Everything that trained weights depend on."""
    library = versions()
    adapt = recipe.adapt.model_dump(mode="json", exclude={"checkpoint_every"})
    key = [data_key(data), model_key(recipe, base, device), adapt, recipe.seed, library["torch"], library["peft"]]
    if recipe.adapt.soft_labels:
        key.append([e.agreement for e in (mixture.train if mixture else data.part("train"))])
    train = mixture.train if mixture else data.part("train")
    if any(e.weight for e in train):
        key.append([e.weight for e in train])
    if mixture:
        key += [[e.id for e in mixture.train], [other.to_json()["hash"] for other in mixture.others]]
    return key
