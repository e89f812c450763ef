"""The one training loop: LoRA and full fine-tuning differ only in which parameters train."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from metier.errors import MetierError
from metier.files import explain_os_errors, write_text
from metier.models.batching import sorted_runs
from metier.models.encode import split_prefix
from metier.models.forward import Runner
from metier.models.packed import Item
from metier.models.trunk import Trunk, compute_trunk
from metier.training import checkpoint
from metier.training.optimizer import MasterAdamW, learning_rate
from metier.training.order import epoch_batches


@dataclass(frozen=True)
class Schedule:
    """How to train. Sizes in examples and optimizer steps, ``micro_batch_tokens`` in tokens run at once."""

    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: float = 0.06
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    validate_every: int = 0
    patience: int = 0
    checkpoint_every: int = 20
    micro_batch_tokens: int = 4096
    seed: int = 0


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    key: str
    step: int = 0
    best_step: int = 0
    best_metric: float = -math.inf
    waited: int = 0
    seconds: float = 0.0
    examples: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    stopped: str = "completed"


Validate = Callable[[], dict[str, float]]
Report = Callable[[Progress, int, float, float], None]


def train(
    runner: Runner,
    items: Sequence[Item],
    schedule: Schedule,
    *,
    folder: Path,
    log: Path,
    key: str,
    lowest_layer: int = 0,
    validate: Validate | None = None,
    report: Report | None = None,
) -> Progress:
    """Train on ``items`` until the epochs are done or validation stops rising; leaves the best weights in place.

    Below ``lowest_layer`` nothing trains; what those layers give is computed once and kept.

    A checkpoint that carries the same ``key`` is continued: the same bytes come out as from an undisturbed run.

    Errors: :class:`MetierError` when the loss is no longer finite (the last good checkpoint is kept);
    :class:`KeyboardInterrupt` after a checkpoint when the user stops the run.
    """
    optimizer = MasterAdamW(runner.model.named_parameters(), decay=schedule.weight_decay, betas=schedule.betas)
    progress = _resume(folder, key, optimizer)
    prefix, bare = split_prefix(items)
    batches = list(_batches([item.tokens for item in bare], schedule))
    every = schedule.validate_every or max(1, math.ceil(len(batches) / schedule.epochs / 2))
    _truncate_log(log, progress.step)
    started = time.perf_counter()
    trunk = compute_trunk(runner, lowest_layer, prefix, bare, spill=folder / "trunk")
    progress.seconds += time.perf_counter() - started
    torch.manual_seed(schedule.seed)
    with _stop_gently() as stopping:
        while progress.step < len(batches) and progress.stopped == "completed":
            batch = [bare[i] for i in batches[progress.step]]
            loss, rate = _step(runner, optimizer, prefix, batch, trunk, schedule, progress, len(batches), log, folder)
            if report:
                report(progress, len(batches), loss, rate)
            if validate and (progress.step % every == 0 or progress.step == len(batches)):
                _validate(runner, validate, progress, schedule, folder, optimizer, log)
            due = progress.step % schedule.checkpoint_every == 0 or progress.step == len(batches)
            if due or stopping.is_set() or progress.stopped != "completed":
                checkpoint.save(folder, f"step-{progress.step:06d}", optimizer.state(), asdict(progress))
                checkpoint.keep_newest(folder, 2)
            if stopping.is_set() and progress.step < len(batches):
                raise KeyboardInterrupt
    if progress.best_step:
        optimizer.load(checkpoint.load(folder / "best")[0])
    runner.model.eval()
    return progress


def _step(
    runner: Runner,
    optimizer: MasterAdamW,
    prefix: Sequence[int],
    batch: Sequence[Item],
    trunk: Trunk | None,
    schedule: Schedule,
    progress: Progress,
    total: int,
    log: Path,
    folder: Path,
) -> tuple[float, float]:
    """One optimizer step, counted and logged; returns loss and learning rate."""
    started = time.perf_counter()
    runner.model.train()
    torch.manual_seed(schedule.seed * 1_000_003 + progress.step)  # dropout, the same after a resume
    loss = accumulate(runner, prefix, batch, schedule.micro_batch_tokens, trunk)
    _refuse_non_finite(loss, progress.step, folder)
    warmup = max(1, round(schedule.warmup * total))
    rate = learning_rate(progress.step, peak=schedule.learning_rate, warmup=warmup, total=total)
    norm = optimizer.step(rate, schedule.clip)
    progress.step += 1
    progress.seconds += time.perf_counter() - started
    progress.examples += len(batch)
    progress.tokens += sum(item.tokens for item in batch) + len(prefix)
    progress.loss_tokens += sum(len(answer) for item in batch for answer in item.answers)
    _log(
        log,
        event="train",
        step=progress.step,
        epoch=round(progress.step * schedule.epochs / total, 3),
        loss=loss,
        lr=rate,
        grad_norm=norm,
        examples_per_s=progress.examples / progress.seconds,
        seconds=progress.seconds,
    )
    return loss, rate


def _batches(lengths: list[int], schedule: Schedule) -> Iterator[list[int]]:
    for epoch in range(schedule.epochs):
        yield from epoch_batches(lengths, batch_size=schedule.batch_size, seed=schedule.seed, epoch=epoch)


def accumulate(
    runner: Runner, prefix: Sequence[int], batch: Sequence[Item], budget: int, trunk: Trunk | None = None
) -> float:
    """Gradients of the mean loss over the batch's answer tokens, however it is cut into runs; returns the loss."""
    carried = sum(len(answer) for item in batch for answer in item.answers)
    total = 0.0
    for run in sorted_runs(batch, budget, prefix=len(prefix)):
        part = [batch[i] for i in run]
        values, _ = runner.logprobs(part, prefix, entry=trunk.entry(part) if trunk else None)
        loss: Tensor = -values.sum() / carried
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def _validate(
    runner: Runner,
    validate: Validate,
    progress: Progress,
    schedule: Schedule,
    folder: Path,
    optimizer: MasterAdamW,
    log: Path,
) -> None:
    """Measure, keep the best weights, and stop when they have not risen for ``patience`` looks."""
    runner.model.eval()
    with torch.inference_mode():
        found = validate()
    _log(log, event="validation", step=progress.step, **found)
    if found["metric"] > progress.best_metric:
        progress.best_metric, progress.best_step, progress.waited = found["metric"], progress.step, 0
        masters = {name: t for name, t in optimizer.state().items() if name.startswith("master.")}
        checkpoint.save(folder, "best", masters, {"key": progress.key, "step": progress.step})
        return
    progress.waited += 1
    if schedule.patience and progress.waited >= schedule.patience:
        progress.stopped = "early"


def _resume(folder: Path, key: str, optimizer: MasterAdamW) -> Progress:
    found = checkpoint.newest(folder, key)
    if found is not None:
        tensors, state = checkpoint.load(found)
        progress = Progress(**state)
        if not progress.best_step or checkpoint.is_whole(folder / "best", key):
            optimizer.load(tensors)
            return progress
    checkpoint.clear(folder)  # of another training, or without its best weights: they would pass for newer ones
    return Progress(key)


def _refuse_non_finite(loss: float, step: int, folder: Path) -> None:
    if math.isfinite(loss):
        return
    kept = sorted(path.name for path in folder.glob("step-*"))
    raise MetierError(
        f"the loss is {loss} at step {step + 1}: training has diverged",
        where=f"{folder} (last good checkpoint: {kept[-1] if kept else 'none yet'})",
        fix="lower adapt.learning_rate (a third of it is a good first try) and run the same command again",
    )


def _log(path: Path, **entry: Any) -> None:
    with explain_os_errors(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _truncate_log(path: Path, step: int) -> None:
    """Forget what was logged after the checkpoint that is continued."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the line that was being written when the run was killed
            continue
        if entry["event"] not in ("train", "validation") or entry["step"] <= step:
            kept.append(line)
    write_text(path, "".join(line + "\n" for line in kept))


@contextmanager
def _stop_gently() -> Iterator[threading.Event]:
    """The first Ctrl-C asks the loop to finish its step and save; the second stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
