"""Pretraining: metier against Hugging Face's Trainer and a plain PyTorch loop, one BLOOM configuration, one batch.

    pip install -e '.[bench]'
    python benchmarks/pretrain.py --json

Systems, each in a process of its own, in turn, all with the first weights of the same seed, the same random tokens,
AdamW, clipping at 1 and the same tokens an optimizer step:

- ``metier``: the loop as a recipe runs it, in micro-batches.
- ``trainer``: ``transformers.Trainer`` on ``BloomForCausalLM``, its defaults but for batch size, rate and reporting.
- ``plain``: a loop in the manner of nanoGPT: fused attention by ``scaled_dot_product_attention`` (ALiBi as its mask),
  one matmul for the head, ``cross_entropy`` over all positions, one batch at once.
- ``plain_tuned``: the same loop with our allocator thresholds, and with autocast to bfloat16 where metier's is in it.

metier is in bfloat16 with float32 masters, softmax and logits where the probe says that bfloat16 pays; ``trainer`` and
``plain`` are in float32, as both come on a processor. ``ratio_best_peer`` is against the faster of these two,
``ratio_plain_tuned`` against a peer that was given metier's easy wins. ``matmul_peak_share`` is model FLOPs,
6 × (linear weights + head) a token and 6 × layers × sequence × hidden for the causal half of attention (Chowdhery et
al. 2022, appendix B, halved), over the seconds and the matmul rate that the same process measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from machine import facts, in_turn, linear_weights, median, peak_rss_mb
from torch import Tensor, nn

from metier.models.alibi import slopes
from metier.models.architectures import build
from metier.models.device import _gflops as rate_of
from metier.models.device import choose_device, prepare_process
from metier.models.sequences import SequenceModel
from metier.models.shapes import Shape
from metier.training.loop import Schedule, train
from metier.training.memory import Footprint
from metier.training.sequences import BatchSizes, Sequences

SYSTEMS = ["metier", "trainer", "plain", "plain_tuned"]
RATE = 1e-3


class Row(NamedTuple):
    source: str
    tokens: np.ndarray


class RandomTokens:
    """Sequences of random tokens by number: the cost does not depend on what they say."""

    def __init__(self, vocabulary: int, length: int) -> None:
        self.vocabulary, self.length = vocabulary, length

    def sequence(self, i: int) -> Row:
        tokens = np.random.default_rng([7, i]).integers(0, self.vocabulary, self.length + 1)
        return Row("random", tokens)


def shape_of(options: argparse.Namespace) -> Shape:
    sizes = {name: getattr(options, name) for name in ("layers", "hidden", "heads", "vocabulary")}
    return Shape.usual("bloom", **sizes)


def fresh(options: argparse.Namespace) -> Any:
    return build(shape_of(options), end=0, sequence_length=options.sequence_length)


def flops(options: argparse.Namespace, model: nn.Module) -> float:
    """Model FLOPs of one optimizer step."""
    tokens = options.batch * options.sequence_length
    weights = linear_weights(model) + options.vocabulary * options.hidden
    return float(tokens * (6 * weights + 6 * options.layers * options.sequence_length * options.hidden))


def figures(options: argparse.Namespace, model: nn.Module, seconds: list[float], losses: list[float]) -> dict[str, Any]:
    """The first step, which warms up, is left out."""
    each = sum(seconds[1:]) / len(seconds[1:])
    # before and after: other work on the machine must not make the peak look low
    peak = max(choose_device().gflops, rate_of(choose_device().torch_dtype))
    return {
        "tokens_per_s": options.batch * options.sequence_length / each,
        "matmul_peak_share": flops(options, model) / each / 1e9 / peak,
        "gflops": peak,
        "peak_rss_mb": peak_rss_mb(),
        "losses": losses,
    }


def metier(options: argparse.Namespace) -> dict[str, Any]:
    prepare_process(choose_device().device)
    causal = fresh(options)
    # what the process holds before training belongs to the libraries
    before = peak_rss_mb()
    causal = causal.to(choose_device().torch_dtype)
    reckoned = Footprint.of(
        causal,
        sequence_length=options.sequence_length,
        micro_batch_tokens=options.micro_batch_tokens,
        checkpointed=False,
    )
    work = Sequences(
        SequenceModel(causal),
        RandomTokens(options.vocabulary, options.sequence_length),
        steps=options.steps + 1,
        batch=BatchSizes(options.batch),
        micro_batch_tokens=options.micro_batch_tokens,
    )
    marks = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as folder:
        schedule = Schedule(learning_rate=RATE, warmup=1, floor=RATE, weight_decay=0.1, checkpoint_every=10**9)
        log = Path(folder) / "log.jsonl"
        train(work, schedule, folder=Path(folder) / "c", log=log, key="b",
              report=lambda *_: marks.append(time.perf_counter()))  # fmt: skip
        losses = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    found = figures(options, causal, np.diff(marks).tolist(), losses)
    return {**found, "reckoned_mb": round(reckoned.peak / 1e6, 1), "rss_before_mb": before}


def trainer(options: argparse.Namespace) -> dict[str, Any]:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    model = fresh(options)
    source = RandomTokens(options.vocabulary, options.sequence_length)
    # the same number of targets: the shift inside transformers takes the last input off
    rows = [source.sequence(i).tokens for i in range(options.batch * (options.steps + 1))]
    data = [{"input_ids": row, "labels": row} for row in rows]
    marks: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            if not marks:
                marks.append(time.perf_counter())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=options.batch, num_train_epochs=1, learning_rate=RATE,
            lr_scheduler_type="constant", weight_decay=0.1, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, use_cpu=True, seed=0, train_sampling_strategy="sequential",
        )  # fmt: skip
        running = Trainer(model=model, args=settings, train_dataset=data, callbacks=[Clock()])
        running.train()
    losses = [entry["loss"] for entry in running.state.log_history if "loss" in entry]
    return figures(options, model, np.diff(marks).tolist(), losses)


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, time_, width = x.shape
        q, k, v = self.qkv(self.before(x)).view(batch, time_, self.heads, 3, -1).permute(3, 0, 2, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time_, width))
        fed: Tensor = self.down(F.gelu(self.up(self.between(x)), approximate="tanh"))
        return x + fed


class Plain(nn.Module):
    """The same network and weights as the BLOOM, as one would write it in a page."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        shape = shape_of(options)
        self.embed, self.first = nn.Embedding(shape.vocabulary, shape.hidden), nn.LayerNorm(shape.hidden)
        self.blocks = nn.ModuleList(PlainBlock(shape.hidden, shape.heads) for _ in range(shape.layers))
        self.last = nn.LayerNorm(shape.hidden)
        places = torch.arange(options.sequence_length)
        bias = slopes(shape.heads)[:, None, None] * (places[None, :] - places[:, None])
        self.register_buffer("bias", bias.masked_fill(places[None, :] > places[:, None], -torch.inf)[None])
        with torch.no_grad():
            for mine, its in zip(self.parameters(), _in_order(fresh(options)), strict=True):
                mine.copy_(its)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.first(self.embed(ids))
        for block in self.blocks:
            x = block(x, self.bias)
        logits = F.linear(self.last(x), self.embed.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _in_order(bloom: Any) -> list[Tensor]:
    trunk, found = bloom.transformer, []
    found += [trunk.word_embeddings.weight, *trunk.word_embeddings_layernorm.parameters()]
    for block in trunk.h:
        for module in (block.input_layernorm, block.post_attention_layernorm, block.self_attention.query_key_value,
                       block.self_attention.dense, block.mlp.dense_h_to_4h, block.mlp.dense_4h_to_h):  # fmt: skip
            found += [module.weight, module.bias]
    return [*found, *trunk.ln_f.parameters()]


def plain(options: argparse.Namespace, half: bool = False) -> dict[str, Any]:
    model = Plain(options)
    source = RandomTokens(options.vocabulary, options.sequence_length)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    marks, losses = [time.perf_counter()], []
    for step in range(options.steps + 1):
        rows = [source.sequence(i).tokens for i in range(step * options.batch, (step + 1) * options.batch)]
        tokens = torch.from_numpy(np.stack(rows))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model(tokens[:, :-1], tokens[:, 1:].contiguous())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        marks.append(time.perf_counter())
    return figures(options, fresh(options), np.diff(marks).tolist(), losses)


def plain_tuned(options: argparse.Namespace) -> dict[str, Any]:
    prepare_process("cpu")
    torch.use_deterministic_algorithms(False)
    return plain(options, half=choose_device().torch_dtype == torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    sizes = {"layers": 6, "hidden": 384, "heads": 6, "vocabulary": 16384, "sequence-length": 512, "batch": 8,
             "micro-batch-tokens": 2048, "steps": 3, "repeats": 3}  # fmt: skip
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--system", choices=SYSTEMS, help="run one system alone, in this process")
    options = parser.parse_args()
    if options.system:
        systems = {"metier": metier, "trainer": trainer, "plain": plain, "plain_tuned": plain_tuned}
        print(json.dumps(systems[options.system](options)))
        return
    passed = [part for name in sizes if name != "repeats" for part in
              (f"--{name}", str(getattr(options, name.replace("-", "_"))))]  # fmt: skip
    found = in_turn(__file__, SYSTEMS, passed, options.repeats)
    speed = {name: median(runs, "tokens_per_s") for name, runs in found.items()}
    parameters = sum(p.numel() for p in {id(p): p for p in fresh(options).parameters()}.values())
    result: dict[str, Any] = {
        "benchmark": "pretrain",
        "tokens_per_s": round(speed["metier"], 1),
        "matmul_peak_share": round(median(found["metier"], "matmul_peak_share"), 3),
        "ratio_best_peer": round(speed["metier"] / max(speed["trainer"], speed["plain"]), 2),
        "ratio_trainer": round(speed["metier"] / speed["trainer"], 2),
        "ratio_plain": round(speed["metier"] / speed["plain"], 2),
        "ratio_plain_tuned": round(speed["metier"] / speed["plain_tuned"], 2),
        "parameters": parameters,
        "shape": {name: getattr(options, name.replace("-", "_")) for name in sizes},
        "reckoned_mb": found["metier"][0]["reckoned_mb"],
        "rss_before_mb": found["metier"][0]["rss_before_mb"],
    }
    for name, runs in found.items():
        result[f"tokens_per_s_{name}"] = round(speed[name], 1)
        result[f"matmul_peak_share_{name}"] = round(median(runs, "matmul_peak_share"), 3)
        result[f"peak_rss_mb_{name}"] = median(runs, "peak_rss_mb")
        result[f"losses_{name}"] = [round(loss, 4) for loss in runs[0]["losses"]]
    result |= facts()
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
