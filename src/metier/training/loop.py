"""The one training loop. Adaptations differ in which parameters train, which batches arrive and what carries loss."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from metier.errors import MetierError
from metier.models.device import give_back_memory
from metier.training import checkpoint, distributed, log
from metier.training.optimizer import MasterAdamW, learning_rate
from metier.training.spikes import SpikeRule


@dataclass(frozen=True)
class Schedule:
    """How weights move, and when a run is looked at and saved. Sizes in optimizer steps.

    Attributes:
        warmup: of the learning rate: a share of the steps below 1, a number of steps from 1 on.
        floor: the learning rate at the end of the cosine.
        validate_every: 0 looks at the end only.
        patience: looks without a rise after which training ends; 0 never.
        spikes: None takes every step.
        field: the recipe's part that says this, for messages.
    """

    learning_rate: float = 1e-3
    warmup: float = 0.06
    floor: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    validate_every: int = 0
    patience: int = 0
    checkpoint_every: int = 20
    seed: int = 0
    spikes: SpikeRule | None = None
    field: str = "adapt"

    def rate(self, step: int, total: int) -> float:
        """Learning rate of ``step`` (from 0) of ``total``."""
        warmup = max(1, round(self.warmup * total if self.warmup < 1 else self.warmup))
        return learning_rate(step, peak=self.learning_rate, warmup=warmup, total=total, floor=self.floor)


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint.

    ``best_*`` is the look whose weights are kept, ``highest`` the highest metric of any look.
    """

    key: str
    looks: str = ""
    step: int = 0
    best_step: int = 0
    best_metric: float = -math.inf
    highest: float = -math.inf
    waited: int = 0
    seconds: float = 0.0
    examples: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    stopped: str = "completed"


class Batch(NamedTuple):
    """What one step has added to the gradients: mean loss in nats over the tokens that carry it, and the counts."""

    loss: float
    examples: int
    tokens: int
    loss_tokens: int
    shown: dict[str, Any]


class Work(Protocol):
    """What is learnt: its model, its number of steps, and what a step adds to the gradients.

    A step depends on its number alone, so that a resumed run repeats it.
    """

    steps: int

    @property
    def model(self) -> nn.Module:
        """Whose trainable parameters move."""

    def prepare(self, folder: Path) -> None:
        """Compute what all steps share; counted as training time."""

    def accumulate(self, step: int) -> Batch:
        """Run the batch of ``step`` forwards and backwards."""


Validate = Callable[[], dict[str, float]]
Report = Callable[[Progress, int, float, float], None]
Say = Callable[[str], None]


def train(
    work: Work,
    schedule: Schedule,
    *,
    folder: Path,
    log: Path,
    key: str,
    looks: str = "",
    validate: Validate | None = None,
    report: Report | None = None,
    say: Say = lambda _: None,
) -> Progress:
    """Take the steps of ``work``, or stop when validation no longer rises; leaves the best weights in place.

    A checkpoint that carries the same ``key`` is continued: the same bytes come out as from an undisturbed run. Those
    of another training are removed, and ``say`` tells it before.

    Args:
        looks: what ``validate`` measures on. A continued training that is measured on something else keeps its steps;
            its best weights are those of looks from there on.

    Errors: :class:`MetierError` when loss or gradient is no longer finite (the last good checkpoint is kept);
    :class:`KeyboardInterrupt` after a checkpoint when the user stops the run.
    """
    run = _Run(work, schedule, folder, log, key, say)
    progress, steps = run.progress, work.steps
    started = time.perf_counter()
    work.prepare(folder)
    progress.seconds += time.perf_counter() - started
    if validate:
        run.look_anew(looks, validate)
    with _stop_gently() as asked:
        while progress.step < steps and progress.stopped == "completed":
            loss, rate = run.step()
            if report:
                report(progress, steps, loss, rate)
            last = progress.step == steps
            if validate and (last or (schedule.validate_every and progress.step % schedule.validate_every == 0)):
                run.validate(validate)
            stopping = distributed.any_rank(asked.is_set())
            if last or stopping or progress.step % schedule.checkpoint_every == 0 or progress.stopped != "completed":
                run.save()
            if stopping and not last:
                raise KeyboardInterrupt
    if progress.best_step:
        run.optimizer.load(checkpoint.load(folder / "best", run.optimizer.blank)[0])
    work.model.eval()
    return progress


class _Run:
    """What the steps of one training share."""

    def __init__(self, work: Work, schedule: Schedule, folder: Path, log_file: Path, key: str, say: Say) -> None:
        self.work, self.schedule, self.folder, self.log_file = work, schedule, folder, log_file
        named = work.model.named_parameters()
        self.optimizer = MasterAdamW(named, decay=schedule.weight_decay, betas=schedule.betas)
        self.progress = self._resume(key, say)
        if distributed.is_first():
            log.cut_back(log_file, self.progress.step)

    def step(self) -> tuple[float, float]:
        """One optimizer step, counted and logged; returns loss and learning rate."""
        progress, started = self.progress, time.perf_counter()
        self.work.model.train()
        torch.manual_seed(self.schedule.seed * 1_000_003 + progress.step)  # dropout, the same after a resume
        batch = self.work.accumulate(progress.step)
        rate, norm = self.schedule.rate(progress.step, self.work.steps), self.optimizer.gather()
        self._refuse_non_finite(batch.loss, norm)
        spike = self._spike(batch.loss, norm)
        if spike:
            self.optimizer.drop()
        else:
            self.optimizer.step(rate, norm, self.schedule.clip)
        progress.step += 1
        progress.seconds += time.perf_counter() - started
        progress.examples += batch.examples
        progress.tokens += batch.tokens
        progress.loss_tokens += batch.loss_tokens
        self._log(
            event="train",
            step=progress.step,
            **batch.shown,
            loss=batch.loss,
            lr=rate,
            grad_norm=norm,
            examples_per_s=progress.examples / progress.seconds,
            seconds=progress.seconds,
        )
        if spike:
            self._log(event="spike", step=progress.step, why=spike, then=progress.stopped)
        return batch.loss, rate

    def validate(self, look: Validate) -> None:
        """Measure, keep the best weights, and stop when they have not risen for ``patience`` looks.

        Of looks within one standard error of the highest (Breiman et al. 1984, CART, section 3.4.3) the last is kept:
        its learning rate is the lowest, and a lead of less is more likely chance.
        """
        progress = self.progress
        self.work.model.eval()
        with torch.no_grad():
            found = look()
        self._log(event="validation", step=progress.step, **found)
        risen = found["metric"] > progress.highest
        progress.highest = max(progress.highest, found["metric"])
        if found["metric"] >= progress.highest - found.get("standard_error", 0.0):
            progress.best_metric, progress.best_step = found["metric"], progress.step
            masters = {name: t for name, t in self.optimizer.state().items() if name.startswith("master.")}
            checkpoint.save(self.folder, "best", masters, {"key": progress.key, "step": progress.step})
        progress.waited = 0 if risen else progress.waited + 1
        if self.schedule.patience and progress.waited >= self.schedule.patience:
            progress.stopped = "early"

    def look_anew(self, looks: str, look: Validate) -> None:
        """Forget a best that was measured otherwise: the two cannot be compared."""
        progress = self.progress
        changed = progress.looks not in ("", looks)
        progress.looks = looks
        if changed:
            progress.best_metric = progress.highest = -math.inf
            progress.best_step = progress.waited = 0
            self.validate(look)
            self.save()

    def save(self) -> None:
        """A checkpoint of this step; the one before it is kept too."""
        name = f"step-{self.progress.step:06d}"
        checkpoint.save(self.folder, name, self.optimizer.state(), asdict(self.progress))
        checkpoint.keep_newest(self.folder, 2)
        give_back_memory()

    def _resume(self, key: str, say: Say) -> Progress:
        found = checkpoint.newest(self.folder, key)
        if found is not None:
            tensors, state = checkpoint.load(found, self.optimizer.blank)
            progress = Progress(**state)
            if not progress.best_step or checkpoint.is_whole(self.folder / "best", key):
                self.optimizer.load(tensors)
                return progress
        if last := checkpoint.last(self.folder):
            why = "of another recipe, data, number format or version of torch, or damaged"
            why = "without their best weights" if found else why
            say(f"the checkpoints up to {last} are {why}: they are removed, and training begins anew")
        checkpoint.clear(self.folder)  # they would pass for newer
        return Progress(key)

    def _spike(self, loss: float, norm: float) -> str | None:
        """Why this step is not taken, if it is not; the medians are over the steps that were."""
        rule, progress = self.schedule.spikes, self.progress
        if rule is None:
            return None
        why = rule.judge(loss, norm, progress.losses, progress.norms)
        if why is None:
            progress.losses = [*progress.losses, loss][-rule.window :]
            progress.norms = [*progress.norms, norm][-rule.window :]
            progress.skipped_in_a_row = 0
            return None
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        if rule.action == "stop" or progress.skipped_in_a_row >= rule.patience:
            progress.stopped = "spike"
        return why

    def _refuse_non_finite(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        raise MetierError(
            f"{what} at step {self.progress.step + 1}: training has diverged",
            where=f"{self.folder} (last good checkpoint: {checkpoint.last(self.folder) or 'none yet'})",
            fix=f"lower {self.schedule.field}.learning_rate (a third of it is a good first try) and run the same "
            "command again",
        )

    def _log(self, **entry: Any) -> None:
        if distributed.is_first():
            log.append(self.log_file, **entry)


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
