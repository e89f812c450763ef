"""What a pretraining that is continued keeps of its first start: it is the same training, whatever else changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from metier.models.device import Device, choose_device
from metier.recipe.pretrain import Pretrain
from metier.run.stages import RunDirectory
from metier.training import distributed

LOOKS = {"evaluate_every", "evaluate_tokens"}  # fields that look at a training and do not move its weights


def device_of(directory: RunDirectory | None, device: str, dtype: str) -> Device:
    """Where to compute, the same in all processes; ``auto`` is the number format that the run began with.

    A probe would not do: on a busy machine it may choose the other format, and with it another training.
    """
    chosen = choose_device(device, dtype)
    before = _recorded(directory, "device")
    if dtype == "auto" and before.get("device") == chosen.device and before["dtype"] != chosen.dtype:
        why = f"{before['dtype']}, the format of the run's first start"
        chosen = replace(choose_device(device, before["dtype"]), why=why)
    return distributed.from_first(chosen)


def first_looks(directory: RunDirectory | None, choice: Pretrain) -> dict[str, Any]:
    """The fields that only look, as they were at the run's first start: so they stand in the training's key."""
    given = choice.model_dump(mode="json", include=LOOKS)
    before = _recorded(directory, "first_looks") or _recorded(directory, "pretrain")
    return distributed.from_first({name: before.get(name, value) for name, value in given.items()})


def _recorded(directory: RunDirectory | None, part: str) -> dict[str, Any]:
    found: dict[str, Any] = {} if directory is None else directory.manifest.get(part, {})
    return found
