"""LoRA fine-tuning: metier against TRL's SFTTrainer, on one base, the same examples, adapters and number of examples.

    pip install -e '.[bench]'
    python benchmarks/finetune.py --json

Systems, each in a process of its own, in turn:

- ``metier``: the loop as a recipe runs it (``lowest_layer: 0``).
- ``metier-frozen``: the same with ``lowest_layer: auto`` over two epochs, the frozen half computed once; its time is
  counted.
- ``trl-default``: ``SFTTrainer`` as it comes (batches of 8). Its default is bf16 autocast; where this processor has no
  bf16 instructions that would be slower by orders of magnitude, so it runs in float32 there (``trl_bf16`` says which).
- ``trl-tuned``: bf16 weights where the probe says they pay, our allocator thresholds, no gradient checkpointing, and
  metier's own batches of 32, near in length, in the same order at the same learning rates.
- ``llama-factory``: its trainer as it comes (batches of 8; bf16 as for ``trl-default``), from an environment of its own
  (``peer.py``); without one the result says that it was not run.

Each takes the first ``--examples``; above 32, a whole number of batches. ``loss_*`` are mean losses of a system's first
and last quarter of steps, in nats a token that carries loss. ``loss_gap`` is metier's over the last quarter against
that of ``trl-tuned``, over the latter, in nats an example: TRL also learns the line end that the chat template writes
behind the end token, which costs nothing and lowers its mean. Their batches are the same, the random start of the
adapters is not.

All learn the same conversations with loss on the answer alone. ``matmul_peak_share`` is 2 passes (forward, and backward
to the activations) × 2 FLOP × weights of the linear layers × tokens that were run, over the peak that the same process
measured for a matmul of that format.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import facts, in_turn, linear_weights, matmul_share, median, parser_for, peak_rss_mb
from peer import NOT_RUN, peer_versions, train_there

from metier.models.adapters import attach_lora
from metier.models.bases import resolve
from metier.models.device import _gflops as rate_of
from metier.models.device import choose_device, prepare_process
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.layers import lowest_layer
from metier.models.load import load_model, load_tokenizer
from metier.tasks import Loaded, load_task, messages
from metier.training.loop import Schedule, train
from metier.training.optimizer import learning_rate
from metier.training.order import epoch_batches
from metier.training.prompts import Prompts

SYSTEMS = ["metier", "metier-frozen", "trl-default", "trl-tuned", "llama-factory"]
RATE, RANK, BATCH = 5e-4, 8, 32


def examples(options: argparse.Namespace) -> Loaded:
    loaded = load_task(options.task, options.variant, data_root=options.data_root)
    count = min(options.examples, len(loaded.examples))
    whole = count if count < BATCH else count // BATCH * BATCH
    return Loaded(loaded.task, loaded.examples[:whole], loaded.where)


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
        work = Prompts(Runner(model), items, epochs=epochs, batch_size=BATCH, lowest_layer=lowest)
        done = train(work, schedule, folder=Path(folder) / "c", log=log, key="b")
        losses = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    # the probe before the work may have met another process: the higher of two is nearer to the peak
    device = replace(device, gflops=max(device.gflops, rate_of(device.torch_dtype)))
    return {
        "loss_tokens": done.loss_tokens / done.examples,
        "examples_per_s": done.examples / done.seconds,
        "tokens_per_s": done.tokens / done.seconds,
        # with a frozen half the two passes are not whole ones
        "matmul_peak_share": None if frozen else matmul_share(weights, done.tokens, 2, done.seconds, device),
        "peak_rss_mb": peak_rss_mb(),
        "losses": losses,
        "examples": len(items),
    }


def trl(options: argparse.Namespace, *, tuned: bool) -> dict[str, Any]:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    class SameRates(SFTTrainer):  # type: ignore[misc]
        """metier's learning rate at every step: the library's own warm-up begins with a step at rate 0."""

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            warmup = max(1, round(Schedule.warmup * num_training_steps))
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer,
                lambda step: learning_rate(step, peak=1.0, warmup=warmup, total=num_training_steps),
            )
            return self.lr_scheduler

    device = choose_device()
    if tuned:
        prepare_process(device.device)
        torch.use_deterministic_algorithms(False)
    bf16 = device.dtype == "bfloat16"
    base = resolve(options.base)
    loaded = examples(options)
    encoder = Encoder(load_tokenizer(base.path), loaded.task)
    lengths = [encoder.training_item(e.inputs, e.target).tokens for e in loaded.examples]
    rows = [
        {
            "prompt": messages(loaded.task, e.inputs),
            "completion": [{"role": "assistant", "content": e.target}],
        }
        for e in loaded.examples
    ]
    if tuned:
        rows = [rows[i] for batch in epoch_batches(lengths, batch_size=BATCH, seed=0, epoch=0) for i in batch]
    dtype = torch.bfloat16 if tuned and bf16 else torch.float32
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=dtype)
    own: dict[str, Any] = {"bf16": bf16}
    if tuned:
        own = {"bf16": False, "gradient_checkpointing": False, "per_device_train_batch_size": BATCH,
               "train_sampling_strategy": "sequential"}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder, num_train_epochs=1, learning_rate=RATE, logging_steps=1, save_strategy="no",
            report_to="none", disable_tqdm=True, use_cpu=True, seed=0, **own,
        )  # fmt: skip
        trainer = (SameRates if tuned else SFTTrainer)(
            model=model,
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=load_tokenizer(base.path),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    return {
        "loss_tokens": learnt_tokens(load_tokenizer(base.path), rows),
        "examples_per_s": len(rows) / seconds,
        "tokens_per_s": sum(lengths) / seconds,
        "peak_rss_mb": peak_rss_mb(),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "bf16": bf16,
    }


def learnt_tokens(tokenizer: Any, rows: list[dict[str, Any]]) -> float:
    """Tokens an example that carry loss in TRL: what the chat template writes behind the prompt, line end and all."""
    count = 0
    for row in rows:
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
        prompt = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        count += len(tokenizer.encode(whole.removeprefix(prompt), add_special_tokens=False))
    return count / len(rows)


def llama_factory(options: argparse.Namespace) -> dict[str, Any]:
    bf16 = choose_device().dtype == "bfloat16"
    base = resolve(options.base)
    loaded = examples(options)
    encoder = Encoder(load_tokenizer(base.path), loaded.task)
    answered = [[*messages(loaded.task, e.inputs), {"role": "assistant", "content": e.target}] for e in loaded.examples]
    done = train_there(options.peer_python, base.path, answered, rank=RANK, rate=RATE, bf16=bf16)
    tokens = sum(encoder.training_item(e.inputs, e.target).tokens for e in loaded.examples)
    return {
        "examples_per_s": len(answered) / done["seconds"],
        "tokens_per_s": tokens / done["seconds"],
        "peak_rss_mb": done["peak_rss_mb"],
        "losses": done["losses"],
        "bf16": bf16,
    }


def alone(options: argparse.Namespace) -> dict[str, Any]:
    if options.system == "llama-factory":
        return llama_factory(options)
    if options.system.startswith("metier"):
        return metier(options, frozen="frozen" in options.system)
    return trl(options, tuned=options.system == "trl-tuned")


def quarters(losses: list[float]) -> tuple[float, float]:
    """Mean loss of the first and of the last quarter of the steps."""
    size = max(1, len(losses) // 4)
    return sum(losses[:size]) / size, sum(losses[-size:]) / size


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The figures of all systems, and metier's speed over that of the others."""
    speed = {name: median(runs, "examples_per_s") for name, runs in found.items()}
    losses = {name: quarters(runs[0]["losses"]) for name, runs in found.items()}
    result: dict[str, Any] = {
        "examples_per_s": round(speed["metier"], 2),
        "tokens_per_s": round(median(found["metier"], "tokens_per_s"), 1),
        "matmul_peak_share": round(median(found["metier"], "matmul_peak_share"), 3),
        "peak_rss_mb": median(found["metier"], "peak_rss_mb"),
        "examples_per_s_frozen": round(speed["metier-frozen"], 2),
    }
    for other in [name for name in found if not name.startswith("metier")]:
        key = other.replace("-", "_")
        result[f"ratio_{key}"] = round(speed["metier"] / speed[other], 2)
        result[f"ratio_{key}_frozen"] = round(speed["metier-frozen"] / speed[other], 2)
    ours, theirs = losses["metier"][1], losses["trl-tuned"][1]
    ours, theirs = (mean * found[name][0]["loss_tokens"] for mean, name in ((ours, "metier"), (theirs, "trl-tuned")))
    result["loss_gap"] = round((ours - theirs) / theirs, 4)
    result["trl_bf16"] = found["trl-default"][0]["bf16"]
    for name, runs in found.items():
        key = name.replace("-", "_")
        result[f"examples_per_s_{key}"] = round(speed[name], 2)
        result[f"peak_rss_mb_{key}"] = median(runs, "peak_rss_mb")
        result[f"loss_{key}"] = [round(mean, 3) for mean in losses[name]]
    return result


def main() -> None:
    parser = parser_for(__doc__, SYSTEMS, examples=128, repeats=2)
    parser.add_argument("--task", default="finance-starter")
    parser.add_argument("--variant")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("METIER_DATA"))
    parser.add_argument("--peer-python", default=os.environ.get("METIER_PEER_PYTHON"), help="python with LLaMA-Factory")
    options = parser.parse_args()
    if options.system == "llama-factory" and not options.peer_python:
        parser.error(f"llama-factory is {NOT_RUN}")
    if options.system:
        print(json.dumps(alone(options)))
        return
    peer: Any = peer_versions(options.peer_python) if options.peer_python else NOT_RUN
    systems = SYSTEMS if options.peer_python else SYSTEMS[:-1]
    passed = ["--examples", options.examples, "--base", options.base, "--task", options.task]
    passed += ["--variant", options.variant] if options.variant else []
    passed += ["--data-root", options.data_root] if options.data_root else []
    passed += ["--peer-python", options.peer_python] if options.peer_python else []
    found = in_turn(__file__, systems, [str(value) for value in passed], options.repeats)
    result = {"benchmark": "finetune", **summary(found), "llama_factory": peer}
    result |= {"examples": found["metier"][0]["examples"], "repeats": options.repeats, **facts()}
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
