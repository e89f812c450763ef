"""LoRA fine-tuning: metier against TRL's SFTTrainer, with its defaults and tuned.

    python benchmarks/finetune.py --json

The same base, examples, token ids, LoRA shape (rank 8, all linear layers, no dropout), optimizer (AdamW, constant
rate, gradients clipped at 1), number of optimizer steps and batch size for all. Each system runs in a process of its
own, in turn. Time runs from the first batch to the end of the last optimizer step; loading and tokenizing are left out.

    trl_default  SFTTrainer as it comes: prompt and completion as strings, its own order of examples
    trl_tuned    weights in the number format that the probe chooses, no gradient checkpointing, our allocator
                 setting, our batches of like lengths; loss at the completion only
    metier       metier.training.loop.accumulate and MasterAdamW

`..._frozen` are the same with adapters on the upper half of the layers (lowest_layer: auto); metier's time then
includes computing the frozen layers' states once.

matmul_peak_share = FLOP/s / peak, where peak is the best measured matmul rate in the format of the matmuls, and
    FLOP = 2 W N (forward: W matmul weights of the blocks, N real tokens run, padding not counted)
         + 2 W_adapted N (backward through the activations of the adapted layers; adapters, attention scores, the
           head and recomputation in gradient checkpointing are not counted).
Where frozen layers are computed once, their forward counts once. For metier N counts the shared prefix as often as it
is run, not once an example.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import emit, layer_weights, matmul_peak, median, parser, peak_rss_mb, prompts, surroundings, turns
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

from metier.models.adapters import attach_lora
from metier.models.batching import sorted_runs
from metier.models.device import choose_device, prepare_process
from metier.models.encode import Encoder, split_prefix
from metier.models.forward import Runner
from metier.models.layers import lowest_layer
from metier.models.load import load_config, load_model
from metier.models.packed import Item
from metier.models.trunk import compute_trunk
from metier.training.loop import accumulate
from metier.training.optimizer import MasterAdamW
from metier.tasks import Example
from metier.training.order import epoch_batches

SYSTEMS = ("metier", "trl_default", "trl_tuned")
BUDGET = 4096


def ordered(options: argparse.Namespace, items: list[Item]) -> list[list[int]]:
    """Batches of example indices for all epochs."""
    lengths = [item.tokens for item in items]
    return [
        batch
        for epoch in range(options.epochs)
        for batch in epoch_batches(lengths, batch_size=options.batch_size, seed=options.seed, epoch=epoch)
    ]


def run_metier(options: argparse.Namespace, frozen: bool) -> dict[str, Any]:
    device = choose_device("cpu")
    prepare_process("cpu")
    path, encoder, examples = prompts(options, options.examples)
    items = [encoder.training_item(e.inputs, e.target) for e in examples]
    model = load_model(path, dtype=device.torch_dtype, device="cpu")
    lowest = lowest_layer("auto" if frozen else 0, model)
    model = attach_lora(model, rank=8, alpha=16, dropout=0.0, targets="all", seed=options.seed, lowest=lowest)
    runner = Runner(model)
    batches = ordered(options, items)
    prefix, bare = split_prefix(items)
    optimizer = MasterAdamW(model.named_parameters(), decay=0.0, betas=(0.9, 0.999))
    losses, upper = [], 0
    start = time.perf_counter()
    trunk = compute_trunk(runner, lowest, prefix, bare, spill=options.scratch / "trunk")
    model.train()
    for number in batches:
        batch = [bare[i] for i in number]
        losses.append(accumulate(runner, prefix, batch, BUDGET, trunk))
        optimizer.step(options.learning_rate, 1.0)
        upper += run_tokens(prefix, batch)
    seconds = time.perf_counter() - start
    once = run_tokens(prefix, list(dict.fromkeys(bare))) if trunk else upper
    below, above = layer_weights(model) - layer_weights(model, lowest), layer_weights(model, lowest)
    return {
        **measured(items, batches, seconds, losses),
        "run_tokens": upper,
        "flop": 2 * below * once + 4 * above * upper,
        "dtype": device.dtype,
        "packing": runner.why,
    }


def run_tokens(prefix: tuple[int, ...], items: list[Item]) -> int:
    """Tokens that go through the model for ``items``: the prefix once a run."""
    return sum(item.tokens for item in items) + len(prefix) * len(sorted_runs(items, BUDGET, prefix=len(prefix)))


class Clock(TrainerCallback):
    """Seconds of training and the loss of every step."""

    def __init__(self) -> None:
        self.start = self.seconds = 0.0
        self.losses: list[float] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self.start

    def on_log(self, *args: Any, logs: dict[str, float], **kwargs: Any) -> None:
        self.losses += [float(logs["loss"])] if "loss" in logs else []


def sft_config(options: argparse.Namespace, tuned: bool, dtype: str) -> SFTConfig:
    ours: dict[str, Any] = {
        "bf16": dtype == "bfloat16",
        "gradient_checkpointing": False,
        "completion_only_loss": True,
        "num_train_epochs": 1,  # the data set holds all epochs in our order
        "train_sampling_strategy": "sequential",
        "dataloader_pin_memory": False,
    }
    return SFTConfig(
        output_dir=str(options.scratch),
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=options.seed,
        **(ours if tuned else {"num_train_epochs": options.epochs}),
    )


def dataset(encoder: Encoder, examples: list[Example], order: list[int]) -> Dataset:
    """Prompts and completions as strings: TRL's own format, for which it puts the loss on the completion."""
    lead = "" if encoder.tokenizer.chat_template else " "
    end = encoder.tokenizer.decode([encoder.end])
    return Dataset.from_list(
        [
            {"prompt": encoder.render(e.inputs), "completion": lead + e.target + end}
            for e in (examples[i] for i in order)
        ]
    )


def check_ids(trainer: SFTTrainer, items: list[Item]) -> None:
    """TRL must train on the very tokens that we train on."""
    for row, item in zip(trainer.train_dataset, items, strict=True):
        if tuple(row["input_ids"]) != (*item.trunk, *item.answers[0]):
            sys.exit(f"TRL tokenized an example otherwise: {row['input_ids']} instead of {item}")


def run_trl(options: argparse.Namespace, tuned: bool, frozen: bool) -> dict[str, Any]:
    device = choose_device("cpu")
    if tuned:
        prepare_process("cpu")
    path, encoder, examples = prompts(options, options.examples)
    items = [encoder.training_item(e.inputs, e.target) for e in examples]
    batches = ordered(options, items)
    order = [i for batch in batches for i in batch] if tuned else list(range(len(examples)))
    depth = int(load_config(path).get_text_config().num_hidden_layers)
    lowest = depth // 2 if frozen else 0
    clock = Clock()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(path, dtype=device.torch_dtype) if tuned else str(path),
        args=sft_config(options, tuned, device.dtype),
        train_dataset=dataset(encoder, examples, order),
        processing_class=encoder.tokenizer,
        peft_config=LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", bias="none",
                               task_type="CAUSAL_LM", layers_to_transform=list(range(lowest, depth)) if frozen else None),
        callbacks=[clock],
    )  # fmt: skip
    check_ids(trainer, [items[i] for i in order])
    trainer.train()
    tokens = sum(items[i].tokens for batch in batches for i in batch)
    above = layer_weights(trainer.model, lowest)
    used = next(p for n, p in trainer.model.named_parameters() if "lora_" not in n).dtype
    return {
        **measured(items, batches, clock.seconds, clock.losses),
        "run_tokens": tokens,
        "flop": 2 * layer_weights(trainer.model) * tokens + 2 * above * tokens,
        "dtype": "bfloat16" if trainer.args.bf16 else str(used).removeprefix("torch."),
        "weights": str(used).removeprefix("torch."),
    }


def measured(items: list[Item], batches: list[list[int]], seconds: float, losses: list[float]) -> dict[str, Any]:
    if len(losses) != len(batches):
        sys.exit(f"{len(losses)} losses for {len(batches)} steps")
    quarter = max(1, len(losses) // 4)
    return {
        "seconds": seconds,
        "examples": sum(map(len, batches)),
        "tokens": sum(items[i].tokens for batch in batches for i in batch),
        "loss_mean": statistics.mean(losses),
        "loss_start": losses[0],
        "loss_end": statistics.mean(losses[-quarter:]),
        "peak_rss_mb": peak_rss_mb(),
    }


def summary(runs: list[dict[str, Any]], peaks: dict[str, float]) -> dict[str, Any]:
    """Medians of one system's turns; ``tokens_per_s`` counts the examples' tokens, ``run_...`` those really run."""
    seconds, first = median(runs, "seconds"), runs[0]
    peak = peaks.setdefault(first["dtype"], matmul_peak(first["dtype"]))
    return {
        "examples_per_s": round(first["examples"] / seconds, 2),
        "tokens_per_s": round(first["tokens"] / seconds, 1),
        "run_tokens_per_s": round(first["run_tokens"] / seconds, 1),
        "matmul_peak_share": round(first["flop"] / seconds / peak, 3),
        "peak_rss_mb": round(median(runs, "peak_rss_mb")),
        "loss_mean": round(median(runs, "loss_mean"), 4),
        "loss_start": round(median(runs, "loss_start"), 4),
        "loss_end": round(median(runs, "loss_end"), 4),
        "seconds": [round(run["seconds"], 2) for run in runs],
        "dtype": first["dtype"],
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--examples", type=int, default=128)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--batch-size", type=int, default=32)
    arguments.add_argument("--learning-rate", type=float, default=1e-3)
    options = arguments.parse_args()
    if options.examples % options.batch_size:
        arguments.error("--examples must be a multiple of --batch-size: all systems take the same whole batches")
    if options.system:
        name, frozen = options.system.removesuffix("_frozen"), options.system.endswith("_frozen")
        with tempfile.TemporaryDirectory() as scratch:
            options.scratch = Path(scratch)
            found = run_metier(options, frozen) if name == "metier" else run_trl(options, name == "trl_tuned", frozen)
        emit(found, as_json=True)
        return
    peaks: dict[str, float] = {}
    systems = [f"{name}{ending}" for ending in ("", "_frozen") for name in SYSTEMS]
    runs = turns(__file__, systems, options.repeats)
    found = {system: summary(runs[system], peaks) for system in systems}
    result: dict[str, Any] = {"benchmark": "finetune"}
    for ending in ("", "_frozen"):
        ours = found[f"metier{ending}"]
        keys = ("examples_per_s", "tokens_per_s", "matmul_peak_share", "peak_rss_mb")
        result |= {f"{key}{ending}": ours[key] for key in keys}
        for peer in SYSTEMS[1:]:
            ratio = ours["examples_per_s"] / found[f"{peer}{ending}"]["examples_per_s"]
            result[f"ratio_{peer}{ending}"] = round(ratio, 2)
    asked = ("base", "data", "examples", "epochs", "batch_size", "learning_rate", "repeats", "seed")
    result |= {"systems": found, "matmul_peak_gflops": {k: round(v / 1e9, 1) for k, v in peaks.items()}}
    emit({**result, "settings": {key: getattr(options, key) for key in asked}, **surroundings()}, options.json)


if __name__ == "__main__":
    main()
