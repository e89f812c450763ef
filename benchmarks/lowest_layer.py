"""What adapting only the upper layers costs and buys: speed and validation accuracy for a few lowest layers.

    METIER_DATA=FOLDER python benchmarks/lowest_layer.py --json

The same base, examples, order, adapters a layer and number of optimizer steps for every K; only the layers from K up
adapt, and those below are computed once. Trained on ``--examples`` of Financial PhraseBank's train part and scored on
its validation part, which the test part never meets; ``difference`` is paired with K = 0 on the same examples
(bootstrap, 95 %): a K whose interval holds 0 ties.

``examples_per_s`` counts everything, the frozen layers' one pass too; ``examples_per_s_later`` is the speed of the
epochs alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import facts, in_turn, parser_for, peak_rss_mb
from sklearn.metrics import f1_score

from metier.models.adapters import attach_lora
from metier.models.bases import resolve
from metier.models.device import choose_device, prepare_process
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.recipe import Recipe
from metier.run.answers import answer_labels
from metier.run.data import prepare_data
from metier.training.loop import Schedule, train
from metier.training.prompts import Prompts

RATE, RANK, BATCH = 1e-3, 8, 16


def one(options: argparse.Namespace, lowest: int) -> dict[str, Any]:
    device = choose_device()
    prepare_process(device.device)
    recipe = Recipe.model_validate(
        {"name": "lowest-layer", "task": {"name": options.task, "variant": options.variant},
         "split": {"train": 0.72, "validation": 0.08, "test": 0.2, "most_train": options.examples}}
    )  # fmt: skip
    data = prepare_data(recipe, data_root=options.data_root, lock=None, offline=False)
    base = resolve(options.base)
    encoder = Encoder(load_tokenizer(base.path), data.task)
    model = load_model(base.path, dtype=device.torch_dtype, device=device.device)
    model = attach_lora(model, rank=RANK, alpha=2 * RANK, dropout=0.0, targets="all", seed=0, lowest=lowest)
    runner = Runner(model)
    items = [encoder.training_item(e.inputs, e.target) for e in data.part("train")]
    work = Prompts(runner, items, epochs=options.epochs, batch_size=BATCH, lowest_layer=lowest)
    schedule = Schedule(learning_rate=RATE, checkpoint_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        done = train(work, schedule, folder=Path(folder) / "c", log=log, key="b")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    answers = answer_labels(runner, encoder, data.part("validation"), "validation")
    first = lines[0]
    return {
        "examples_per_s": done.examples / done.seconds,
        "examples_per_s_later": (done.examples - BATCH) / max(done.seconds - first["seconds"], 1e-9),
        "seconds": done.seconds,
        "weighted_f1": f1_score([p.gold for p in answers], [p.answer for p in answers], average="weighted"),
        "golds": [p.gold for p in answers],
        "answers": [p.answer for p in answers],
        "peak_rss_mb": peak_rss_mb(),
    }


def difference(run: dict[str, Any], whole: dict[str, Any], resamples: int = 2000) -> list[float]:
    """Weighted F1 of ``run`` less that of ``whole`` on the same examples: value and 95 % bootstrap interval."""
    golds, ours, theirs = (np.array(x) for x in (run["golds"], run["answers"], whole["answers"]))
    draw = np.random.default_rng(0)
    gaps = []
    for _ in range(resamples):
        rows = draw.integers(0, len(golds), len(golds))
        pair = [f1_score(golds[rows], x[rows], average="weighted", zero_division=0) for x in (ours, theirs)]
        gaps.append(pair[0] - pair[1])
    low, high = np.quantile(gaps, [0.025, 0.975])
    return [round(float(x), 4) for x in (run["weighted_f1"] - whole["weighted_f1"], low, high)]


def main() -> None:
    parser = parser_for(__doc__, [], examples=600)
    parser.add_argument("--layers", default="0,10,15,20,25", help="lowest layers, 0 first")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--task", default="financial-phrasebank")
    parser.add_argument("--variant", default="50agree")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("METIER_DATA"))
    parser.set_defaults(repeats=1)
    options = parser.parse_args()
    if options.system:
        print(json.dumps(one(options, int(options.system))))
        return
    names = ("examples", "epochs", "base", "task", "variant", "data_root")
    given = {name.replace("_", "-"): getattr(options, name) for name in names}
    passed = [f"--{name}={value}" for name, value in given.items() if value is not None]
    found = {name: runs[0] for name, runs in in_turn(__file__, options.layers.split(","), passed, 1).items()}
    whole = found[options.layers.split(",")[0]]
    result: dict[str, Any] = {"benchmark": "lowest_layer", "examples": options.examples, "epochs": options.epochs}
    result["validation_examples"] = len(whole["golds"])
    for name, run in found.items():
        result[f"K={name}"] = {
            **{key: round(run[key], 3) for key in ("examples_per_s", "examples_per_s_later", "weighted_f1", "seconds")},
            "difference": difference(run, whole),
        }
    result |= facts()
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
