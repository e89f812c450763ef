"""What the manifest says of a run: everything it was made from, and how its training went."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metier.models.bases import Base
from metier.models.device import Device
from metier.models.encode import Encoder, split_prefix
from metier.recipe import Recipe
from metier.run.choices import answer_tokens
from metier.run.data import Data
from metier.run.stages import versions
from metier.tasks.choices import asked
from metier.training.loop import Progress

WATTS = 65.0  # a laptop or server core pair under load; the report says that it is an assumption


def describe(
    recipe: Recipe, data: Data, base: Base, device: Device, encoder: Encoder, before: dict[str, Any]
) -> dict[str, Any]:
    """What the manifest says about a run before anything is done.

    Args:
        before: the device as an earlier run of the same directory recorded it; kept where the same was asked for and
            found.
    """
    task, shown = data.task, asked(data.task, data.shown()[:200])
    example = shown[0]
    if task.kind == "multiple_choice":
        ids = answer_tokens(encoder, shown)
    else:
        answers = [example.target] if task.written else task.labels
        ids = dict(zip(answers, encoder.choices(answers), strict=True))  # as they are scored
    prefix, _ = split_prefix([encoder.training_item(e.inputs, e.target) for e in shown])
    prompt = encoder.prompt(example.inputs)
    wanted = [recipe.device, recipe.dtype]
    now = {**device.to_json(), "asked": wanted}
    recorded = before if all(before.get(name) == now[name] for name in ("asked", "device", "dtype")) else now
    return {
        "name": recipe.name,
        "recipe": recipe.model_dump(mode="json"),
        "folder": str(Path.cwd()),  # from which the recipe's relative files are found again
        "task": {
            **task.model_dump(mode="json", exclude={"sources", "variants"}),
            "where": data.loaded.where,
            "variant": recipe.needed_task().variant,
            "protocol": data.protocol,
        },
        "base": base.to_json(),
        "prompt": {
            "rendered": encoder.render(example.inputs),
            "inputs": dict(example.inputs),
            "tokens": len(prompt),
            "shared_prefix_tokens": len(prefix),
            "answer_tokens": {answer: len(tokens) for answer, tokens in ids.items()},
            "answer_ids": {answer: list(tokens) for answer, tokens in ids.items()},
            "loss_on": "the answer's tokens and its end token",
            "answer": example.target,
            "end": encoder.tokenizer.decode([encoder.end]),
        },
        "device": recorded,
        "versions": versions(),
        "seed": recipe.seed,
    }


def training_summary(
    result: Progress, method: str, trainable: int, everything: int, epochs: float, examples: int
) -> dict[str, Any]:
    """What the manifest says about a training that is done."""
    seconds = max(result.seconds, 1e-9)
    return {
        "method": method,
        "trainable_parameters": trainable,
        "total_parameters": everything,
        "steps": result.step,
        "epochs": round(epochs, 2),
        "examples": examples,
        "examples_seen": result.examples,
        "examples_per_s": round(result.examples / seconds, 2),
        "tokens_per_s": round(result.tokens / seconds, 1),
        "seconds": round(result.seconds, 1),
        "tokens": result.tokens,
        "loss_tokens": result.loss_tokens,
        "best_step": result.best_step,
        "best_validation": result.best_metric,
        "stopped": result.stopped,
    }


def energy(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the manifest says of the energy that its ``stages`` took."""
    seconds = sum(stage["seconds"] for stage in stages.values())
    return {"watt_hours": round(seconds * WATTS / 3600, 2), "seconds": round(seconds, 1),
            "assumption": f"{WATTS:g} W for the whole machine while it works; not measured"}  # fmt: skip
