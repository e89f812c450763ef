"""``metier validate``: everything resolves, nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metier.errors import MetierError
from metier.models.bases import Base, resolve
from metier.models.device import Device, choose_device
from metier.models.encode import Encoder, split_prefix
from metier.models.layers import lowest_of
from metier.models.load import fitting, load_config, load_tokenizer
from metier.recipe import Recipe, load_recipe
from metier.run import lengths as lengths_of
from metier.run.again import check_sizes
from metier.run.data import Data, prepare_data, thin_labels
from metier.run.mixture import mix_tasks
from metier.run.retention import retention_data
from metier.run.selective import check_demand
from metier.run.strategies import check_strategies
from metier.sources import Lock
from metier.tasks.choices import asked
from metier.tasks.near import near_duplicates

SHARE = 0.45  # of the measured matmul rate; a training step reaches 0.15 to 0.56, by processor (benchmarks/README.md)

PROCESS_GB = 0.5  # Python, torch and the task's text


@dataclass(frozen=True)
class Preflight:
    """What a run would do and cost."""

    recipe: Recipe
    data: Data
    base: Base
    device: Device
    prompt: str
    limit: int
    lengths: np.ndarray
    parameters: int
    train_seconds: float | None
    memory_gb: float
    notes: list[str]

    def balance(self) -> dict[str, dict[str, int]]:
        """Examples a part and label, in the task's order; of all where answers are written out."""
        counts: dict[str, dict[str, int]] = self.data.to_json()["counts"]
        return counts


def preflight(path: Path, *, data_root: Path | None, offline: bool) -> Preflight:
    """Resolve everything a recipe names, render the first example and estimate cost.

    The time is ``4 · weights · tokens`` FLOPs (a forward pass and the gradient of activations; 6 where every weight
    trains) of the layers that adapt and ``2 · weights · tokens``, once, of those below; tables of words and the shared
    prefix are not counted; at ``SHARE`` of this machine's measured matmul rate.
    """
    recipe = load_recipe(path)
    recipe.needed_task(path)
    lock = Lock()
    data = prepare_data(recipe, data_root=data_root, lock=lock, offline=offline)
    base = resolve(recipe.base, lock=lock, offline=offline, where="recipe, base")
    notes = [*data.loaded.warnings, *thin_labels(data), *check_demand(recipe, data)]
    check_strategies(recipe, data, data_root=data_root, offline=offline)
    if recipe.curve and recipe.curve.sizes:
        check_sizes(recipe.curve.sizes, len(data.part("train")))
    learnt = data.shown()
    if recipe.mix:
        mixture = mix_tasks(recipe, data, data_root=data_root, lock=lock, offline=offline)
        learnt = mixture.train
        drawn = ", ".join(f"{counts['an_epoch']} of {name}" for name, counts in mixture.drawn.items())
        notes += [*mixture.warnings(), f"an epoch draws {drawn}"]
    if recipe.retention and recipe.adapt.method != "none":
        _, absent = retention_data(recipe.retention, recipe.seed, data_root=data_root, lock=lock, offline=offline)
        notes += [f"forgetting cannot be measured on {name}: {reason}" for name, reason in absent.items()]
    notes += _alike(data)
    device = choose_device(recipe.device, recipe.dtype)
    limit = fitting(base.path, recipe.max_tokens, taken=recipe.adapt.soft_tokens, answers=data.answers)
    encoder = Encoder(load_tokenizer(base.path), data.task, limit)
    train = asked(data.task, learnt)
    if told := lengths_of.told_of(lengths_of.cut_texts(encoder, data), recipe.max_tokens):
        notes.append(told)
    prefix, bare = split_prefix([encoder.training_item(e.inputs, e.target) for e in train])
    lengths = np.array([item.tokens for item in bare]) + len(prefix)
    size, body, config = _weights(base.path)
    below = lowest_of(recipe.adapt.lowest_layer, config.num_hidden_layers) / config.num_hidden_layers
    per_token = {"none": 0, "full": 6}.get(recipe.adapt.method, 4) * (1 - below) * recipe.adapt.passes(len(train))
    flops = body * (per_token + 2 * below) * float((lengths - len(prefix)).sum())
    if recipe.search:
        for trial in recipe.search.trials:
            resolve(trial.base or recipe.base, lock=lock, offline=offline)
        examples = min(recipe.search.examples or len(train), len(train))
        notes.append(f"{len(recipe.search.trials)} settings are tried first, on {examples} examples: not in the time")
    learns = recipe.adapt.method != "none"
    if recipe.seeds:
        notes.append(f"the same is trained with {len(recipe.seeds)} seeds: that is in the time")
    seconds = flops * len(recipe.seeds or [0]) / (device.gflops * 1e9 * SHARE) if device.gflops and learns else None
    batch = len(prefix) + recipe.adapt.batch_size * float(lengths.mean() - len(prefix))
    memory = _memory(recipe, device, size, config, tokens=min(batch, recipe.adapt.micro_batch_tokens), below=below)
    prompt = encoder.render(train[0].inputs)
    return Preflight(recipe, data, base, device, prompt, limit, lengths, size, seconds, memory, notes)


def _alike(data: Data) -> list[str]:
    """A note of test texts that nearly repeat a training text, if there are any."""
    near = near_duplicates(data.part("train"), data.part("test"))
    if not near["pairs"]:
        return []
    twin, grouped = near["samples"][0], any(example.group for example in data.part("train"))
    fix = "another column than this one" if grouped else "the column that says so"
    return [
        f"{near['test_examples']} test texts nearly repeat a training text, such as {twin['test'][:80]!r} and "
        f"{twin['train'][:80]!r}: if they belong together, name {fix} as group"
    ]


def _weights(path: Path) -> tuple[int, int, Any]:
    """Weights without building them, all and those outside the tables of words, and the base's config: from the
    headers of the safetensors files.
    """
    from safetensors import SafetensorError, safe_open

    config, total, body = load_config(path).get_text_config(), 0, 0
    for file in path.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt") as tensors:
                shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
        except SafetensorError as error:
            raise MetierError(f"the weights cannot be read: {error}", where=str(file), fix="fetch it again") from error
        total += sum(int(np.prod(shape)) for shape in shapes)
        body += sum(int(np.prod(shape)) for shape in shapes if config.vocab_size not in shape)
    return total, body, config


def _memory(recipe: Recipe, device: Device, size: int, config: Any, *, tokens: float, below: float) -> float:
    """GB at the peak: weights, what trains (master, two moments, gradient), activations of one run of ``tokens`` in the
    layers that adapt (all but the share ``below``), and the process itself.
    """
    width = 4 if device.dtype == "float32" else 2
    low_rank = recipe.adapt.rank * 2 * 7 * config.hidden_size * config.num_hidden_layers
    others = {"none": 0, "full": size, "prompt": recipe.adapt.length * config.hidden_size}
    trained = others.get(recipe.adapt.method, low_rank)
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    a_token = config.num_hidden_layers * (1 - below) * (10 * config.hidden_size + 4 * inner) * width
    logits = 512 * config.vocab_size * 4 * 3
    return float(size * width + trained * 16 + tokens * a_token + logits) / 1e9 + PROCESS_GB
