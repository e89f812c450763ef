"""LoRA fine-tuning: metier against TRL's SFTTrainer, on one base, the same examples, adapters and number of examples.

    pip install -e '.[bench]'
    python benchmarks/finetune.py --json

Systems, each in a process of its own, in turn:

- ``metier``: the loop as a recipe runs it (``lowest_layer: 0``).
- ``metier-frozen``: the same with ``lowest_layer: auto`` over two epochs, the frozen half computed once; its time is
  counted.
- ``trl-default``: ``SFTTrainer`` as it comes (batches of 8). Its default is bf16 autocast; where this processor has no
  bf16 instructions that would be slower by orders of magnitude, so it runs in float32 there (``trl_bf16`` says which).
- ``trl-tuned``: bf16 weights where the probe says they pay, our allocator thresholds, batches of 32 sorted by length,
  no gradient checkpointing.

All learn the same conversations with loss on the answer alone. ``matmul_peak_share`` is 2 passes (forward, and backward
to the activations) × 2 FLOP × weights of the linear layers × tokens that were run, over the peak that the same process
measured for a matmul of that format.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import facts, in_turn, linear_weights, matmul_share, median, parser_for, peak_rss_mb

from metier.models.adapters import attach_lora
from metier.models.bases import resolve
from metier.models.device import choose_device, prepare_process
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.layers import lowest_layer
from metier.models.load import load_model, load_tokenizer
from metier.tasks import Loaded, load_task, messages
from metier.training.loop import Schedule, train
from metier.training.prompts import Prompts

SYSTEMS = ["metier", "metier-frozen", "trl-default", "trl-tuned"]
RATE, RANK = 5e-4, 8


def examples(options: argparse.Namespace) -> Loaded:
    loaded = load_task(options.task, options.variant, data_root=options.data_root)
    return Loaded(loaded.task, loaded.examples[: options.examples], loaded.where)


def metier(options: argparse.Namespace, *, frozen: bool) -> dict[str, Any]:
    device = choose_device()
    prepare_process(device.device)
    base = resolve(options.base)
    loaded = examples(options)
    encoder = Encoder(load_tokenizer(base.path), loaded.task)
    model = load_model(base.path, dtype=device.torch_dtype, device=device.device)
    lowest = lowest_layer("auto" if frozen else 0, model)
    weights = linear_weights(model)
    model = attach_lora(model, rank=RANK, alpha=2 * RANK, dropout=0.0, targets="all", seed=0, lowest=lowest)
    items = [encoder.training_item(e.inputs, e.target) for e in loaded.examples]
    epochs = 2 if frozen else 1
    schedule = Schedule(learning_rate=RATE, checkpoint_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        work = Prompts(Runner(model), items, epochs=epochs, batch_size=32, lowest_layer=lowest)
        done = train(work, schedule, folder=Path(folder) / "c", log=log, key="b")
        losses = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    return {
        "examples_per_s": done.examples / done.seconds,
        "tokens_per_s": done.tokens / done.seconds,
        # with a frozen half the two passes are not whole ones
        "matmul_peak_share": None if frozen else matmul_share(weights, done.tokens, 2, done.seconds, device),
        "peak_rss_mb": peak_rss_mb(),
        "losses": losses,
    }


def trl(options: argparse.Namespace, *, tuned: bool) -> dict[str, Any]:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    device = choose_device()
    if tuned:
        prepare_process(device.device)
        torch.use_deterministic_algorithms(False)
    bf16 = device.dtype == "bfloat16"
    base = resolve(options.base)
    loaded = examples(options)
    rows = [
        {
            "prompt": messages(loaded.task, e.inputs),
            "completion": [{"role": "assistant", "content": e.target}],
        }
        for e in loaded.examples
    ]
    dtype = torch.bfloat16 if tuned and bf16 else torch.float32
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=dtype)
    own: dict[str, Any] = {"bf16": bf16}
    if tuned:
        own = {"bf16": False, "gradient_checkpointing": False, "per_device_train_batch_size": 32,
               "train_sampling_strategy": "group_by_length"}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder, num_train_epochs=1, learning_rate=RATE, logging_steps=1, save_strategy="no",
            report_to="none", disable_tqdm=True, use_cpu=True, seed=0, **own,
        )  # fmt: skip
        trainer = SFTTrainer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=load_tokenizer(base.path),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    encoder = Encoder(load_tokenizer(base.path), loaded.task)
    tokens = sum(encoder.training_item(e.inputs, e.target).tokens for e in loaded.examples)
    return {
        "examples_per_s": len(rows) / seconds,
        "tokens_per_s": tokens / seconds,
        "peak_rss_mb": peak_rss_mb(),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "bf16": bf16,
    }


def alone(options: argparse.Namespace) -> None:
    found = (
        metier(options, frozen="frozen" in options.system)
        if options.system.startswith("metier")
        else trl(options, tuned=options.system == "trl-tuned")
    )
    print(json.dumps(found))


def main() -> None:
    parser = parser_for(__doc__, SYSTEMS, examples=256)
    parser.add_argument("--task", default="finance-starter")
    parser.add_argument("--variant")
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    if options.system:
        alone(options)
        return
    passed = ["--examples", options.examples, "--base", options.base, "--task", options.task]
    passed += ["--variant", options.variant] if options.variant else []
    passed += ["--data-root", options.data_root] if options.data_root else []
    found = in_turn(__file__, SYSTEMS, [str(value) for value in passed], options.repeats)
    speed = {name: median(runs, "examples_per_s") for name, runs in found.items()}
    result: dict[str, Any] = {
        "benchmark": "finetune",
        "examples_per_s": round(speed["metier"], 2),
        "tokens_per_s": round(median(found["metier"], "tokens_per_s"), 1),
        "matmul_peak_share": round(median(found["metier"], "matmul_peak_share"), 3),
        "peak_rss_mb": median(found["metier"], "peak_rss_mb"),
        "ratio_trl_default": round(speed["metier"] / speed["trl-default"], 2),
        "ratio_trl_tuned": round(speed["metier"] / speed["trl-tuned"], 2),
        "examples_per_s_frozen": round(speed["metier-frozen"], 2),
        "ratio_trl_default_frozen": round(speed["metier-frozen"] / speed["trl-default"], 2),
        "ratio_trl_tuned_frozen": round(speed["metier-frozen"] / speed["trl-tuned"], 2),
        "trl_bf16": found["trl-default"][0]["bf16"],
        "examples": options.examples,
        "repeats": options.repeats,
    }
    for name, runs in found.items():
        key = name.replace("-", "_")
        losses = runs[0]["losses"]
        quarter = max(1, len(losses) // 4)
        result[f"examples_per_s_{key}"] = round(speed[name], 2)
        result[f"peak_rss_mb_{key}"] = median(runs, "peak_rss_mb")
        result[f"loss_{key}"] = [round(sum(part) / len(part), 3) for part in (losses[:quarter], losses[-quarter:])]
    result |= facts()
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
