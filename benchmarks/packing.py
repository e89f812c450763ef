"""Training on prompts packed behind their shared prefix against the same prompts padded, in one process.

    python benchmarks/packing.py --json

Same base, adapters, examples, batches and losses; only the layout differs. The two are run in turn, three times.
Prints one JSON line with examples a second of both (medians) and their ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from machine import facts

from metier.models.adapters import attach_lora
from metier.models.bases import resolve
from metier.models.device import choose_device, prepare_process
from metier.models.encode import Encoder, split_prefix
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.tasks import load_task
from metier.training.order import epoch_batches
from metier.training.prompts import accumulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--base", default="smollm2-135m-instruct")
    options = parser.parse_args()
    device = choose_device()
    prepare_process(device.device)
    base = resolve(options.base)
    loaded = load_task("finance-starter")
    encoder = Encoder(load_tokenizer(base.path), loaded.task)
    items = [encoder.training_item(e.inputs, e.target) for e in loaded.examples]
    batches = epoch_batches([i.tokens for i in items], batch_size=32, seed=0, epoch=0)[: options.batches]
    model = load_model(base.path, dtype=device.torch_dtype, device=device.device)
    model = attach_lora(model, rank=8, alpha=16, dropout=0.0, targets="all", seed=0)
    rates: dict[bool, list[float]] = {True: [], False: []}
    losses: dict[bool, float] = {}
    for turn in range(4):
        for packing in (True, False):
            runner = Runner(model, packing=packing)
            start = time.perf_counter()
            total = 0.0
            for batch in batches:
                prefix, bare = split_prefix([items[i] for i in batch])
                total += accumulate(runner, prefix, bare, 4096)
                model.zero_grad()
            if turn:  # the first turn warms up
                rates[packing].append(sum(map(len, batches)) / (time.perf_counter() - start))
            losses[packing] = total / len(batches)
    packed, padded = statistics.median(rates[True]), statistics.median(rates[False])
    result = {
        "benchmark": "packing",
        "examples_per_s": round(packed, 2),
        "padded_examples_per_s": round(padded, 2),
        "ratio_padded": round(packed / padded, 2),
        "loss_packed": round(losses[True], 4),
        "loss_padded": round(losses[False], 4),
        "examples": sum(map(len, batches)),
        **facts(),
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
