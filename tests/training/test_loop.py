"""The loop: learns, resumes to the same bytes, keeps the best, stops where it must."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from metier.errors import MetierError
from metier.models.adapters import attach_lora, train_everything
from metier.models.forward import Runner
from metier.models.load import load_model
from metier.models.packed import Item
from metier.training import prompts
from metier.training.loop import Batch, Progress, Schedule, train
from metier.training.optimizer import MasterAdamW, learning_rate
from metier.training.order import epoch_batches
from metier.training.prompts import Prompts
from metier.training.spikes import SpikeRule

ITEMS = [Item((1, 5, 6 + i % 3, 20 + i % 7), ((30 + i % 3, 2),)) for i in range(40)]
SCHEDULE = Schedule(learning_rate=0.02, checkpoint_every=2, seed=3)


def lora(base: Path, dtype: torch.dtype = torch.float32) -> Runner:
    model = load_model(base, dtype=dtype, device="cpu")
    return Runner(attach_lora(model, rank=4, alpha=8, dropout=0.1, targets="all", seed=1), packing=True)


def work(runner: Runner, epochs: int = 2) -> Prompts:
    return Prompts(runner, ITEMS, epochs=epochs, batch_size=8, seed=3)


def weights(runner: Runner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in runner.model.named_parameters() if p.requires_grad}


class Line:
    """One weight that is drawn down a slope, and a number drawn by chance in every step."""

    def __init__(self, *slopes: float) -> None:
        self.slopes = slopes or (1.0,) * 6
        self.model, self.steps = torch.nn.Linear(1, 1, bias=False), len(self.slopes)
        torch.nn.init.ones_(self.model.weight)
        self.chances: list[float] = []

    def prepare(self, folder: Path) -> None:
        pass

    def accumulate(self, step: int) -> Batch:
        self.chances.append(float(torch.rand(())))
        loss = self.slopes[step] * self.model.weight.sum()
        loss.backward()
        return Batch(float(loss.detach()), examples=1, tokens=1, loss_tokens=1, shown={})


def losses(log: Path) -> list[float]:
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return [entry["loss"] for entry in entries if entry["event"] == "train"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns(toy_base: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    runner = Runner(train_everything(load_model(toy_base, dtype=dtype, device="cpu")), packing=True)
    schedule = Schedule(learning_rate=0.01)
    train(work(runner, epochs=6), schedule, folder=tmp_path / "c", log=tmp_path / "log.jsonl", key="k")
    found = losses(tmp_path / "log.jsonl")
    assert sum(found[-3:]) < 0.6 * sum(found[:3])


@pytest.mark.parametrize("stop_after", [1, 2, 5, 7, 9])
def test_a_killed_run_ends_with_the_same_bytes(toy_base: Path, tmp_path: Path, stop_after: int) -> None:
    whole = lora(toy_base)
    train(work(whole), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "a.jsonl", key="k")

    def kill(progress: Progress, *_: object) -> None:
        if progress.step == stop_after:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(work(lora(toy_base)), SCHEDULE, folder=tmp_path / "b", log=tmp_path / "b.jsonl", key="k", report=kill)
    resumed = lora(toy_base)
    train(work(resumed), SCHEDULE, folder=tmp_path / "b", log=tmp_path / "b.jsonl", key="k")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert losses(tmp_path / "a.jsonl") == losses(tmp_path / "b.jsonl")


def test_a_damaged_checkpoint_is_passed_over(toy_base: Path, tmp_path: Path) -> None:
    whole = lora(toy_base)
    train(work(whole), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "a.jsonl", key="k")
    newest = sorted((tmp_path / "a").glob("step-*"))[-1]
    (newest / "state.safetensors").write_bytes(b"half")
    resumed = lora(toy_base)
    train(work(resumed), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "a.jsonl", key="k")
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_another_key_starts_anew(toy_base: Path, tmp_path: Path) -> None:
    train(work(lora(toy_base)), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "a.jsonl", key="one")
    progress = train(work(lora(toy_base)), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "a.jsonl", key="two")
    assert progress.step == 10
    assert len(losses(tmp_path / "a.jsonl")) == 10


def test_checkpoints_of_a_longer_training_do_not_displace_new_ones(toy_base: Path, tmp_path: Path) -> None:
    train(work(lora(toy_base)), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "a.jsonl", key="one")

    def kill(progress: Progress, *_: object) -> None:
        if progress.step == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(work(lora(toy_base)), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "a.jsonl", key="two", report=kill)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["step-000002", "step-000004"]


def test_without_its_best_weights_a_training_starts_anew(toy_base: Path, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        runner = lora(toy_base)
        train(
            work(runner), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "l", key="k", validate=lambda: {"metric": 1}
        )
        found.append(weights(runner))
        shutil.rmtree(tmp_path / "a" / "best")
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_the_best_weights_come_back_and_patience_ends_it(toy_base: Path, tmp_path: Path) -> None:
    runner, seen = lora(toy_base), []

    def validate() -> dict[str, float]:
        seen.append(weights(runner))
        return {"metric": [0.1, 0.9, 0.5, 0.4, 0.3][len(seen) - 1]}

    schedule = Schedule(learning_rate=0.02, validate_every=2, patience=2)
    progress = train(work(runner), schedule, folder=tmp_path / "c", log=tmp_path / "l", key="k", validate=validate)
    assert (progress.stopped, progress.best_step, len(seen)) == ("early", 4, 4)
    assert all(torch.equal(value, weights(runner)[name]) for name, value in seen[1].items())


@pytest.mark.parametrize(
    ("metrics", "error", "kept"),
    [
        ([0.5, 0.85, 0.7, 0.84, 0.82], 0.05, 10),  # the lead of the second look is chance
        ([0.5, 0.85, 0.7, 0.84, 0.7], 0.05, 8),
        ([0.90, 0.86, 0.82, 0.78, 0.74], 0.05, 4),  # near to the highest, not to the one kept before
        ([0.5, 0.85, 0.7, 0.84, 0.82], 0.0, 4),
    ],
)
def test_of_looks_within_a_standard_error_of_the_highest_the_last_is_kept(
    toy_base: Path, tmp_path: Path, metrics: list[float], error: float, kept: int
) -> None:
    runner, seen = lora(toy_base), []

    def validate() -> dict[str, float]:
        seen.append(weights(runner))
        return {"metric": metrics[len(seen) - 1], "standard_error": error}

    schedule = Schedule(learning_rate=0.02, validate_every=2)
    progress = train(work(runner), schedule, folder=tmp_path / "c", log=tmp_path / "l", key="k", validate=validate)
    assert (progress.best_step, progress.best_metric) == (kept, metrics[kept // 2 - 1])
    assert all(torch.equal(value, weights(runner)[name]) for name, value in seen[kept // 2 - 1].items())


def test_a_look_as_high_as_the_highest_is_no_rise(tmp_path: Path) -> None:
    schedule = Schedule(validate_every=1, patience=2)
    progress = train(
        Line(), schedule, folder=tmp_path / "c", log=tmp_path / "l", key="k", validate=lambda: {"metric": 0.5}
    )
    assert (progress.stopped, progress.step, progress.best_step) == ("early", 3, 3)


def test_a_look_is_without_dropout_and_gradients_and_so_is_what_comes_out(tmp_path: Path) -> None:
    line, ways = Line(), []

    def validate() -> dict[str, float]:
        ways.append((line.model.training, torch.is_grad_enabled()))
        return {"metric": 0.5}

    train(line, Schedule(validate_every=2), folder=tmp_path / "c", log=tmp_path / "l", key="k", validate=validate)
    assert ways == [(False, False)] * 3
    train(line, Schedule(), folder=tmp_path / "d", log=tmp_path / "l", key="k")
    assert not line.model.training


def test_chance_differs_from_step_to_step_and_from_seed_to_seed(tmp_path: Path) -> None:
    lines = [Line() for _ in range(2)]
    for seed, line in enumerate(lines):
        train(line, Schedule(seed=seed), folder=tmp_path / f"{seed}", log=tmp_path / "l", key="k")
    assert len({chance for line in lines for chance in line.chances}) == 12


@pytest.mark.parametrize("at", [3, 6])
def test_ctrl_c_stops_behind_a_checkpoint_unless_all_steps_are_done(tmp_path: Path, at: int) -> None:
    def press(progress: Progress, *_: object) -> None:
        if progress.step == at:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    stopped = False
    try:
        train(Line(), Schedule(), folder=tmp_path / "c", log=tmp_path / "l", key="k", report=press)
    except KeyboardInterrupt:
        stopped = True
    assert stopped == (at < 6)
    assert [path.name for path in (tmp_path / "c").iterdir()] == [f"step-{at:06d}"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_step_that_is_skipped_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    schedule = Schedule(learning_rate=0.01, spikes=SpikeRule(window=3, patience=2))
    slopes = [1.0, 1.0, 1.0, 100.0, 1.0, 100.0, 1.0]
    progress = train(Line(*slopes), schedule, folder=tmp_path / "c", log=tmp_path / "l", key="k")
    entries = [json.loads(line) for line in (tmp_path / "l").read_text().splitlines()]
    assert (progress.skipped, progress.stopped) == (2, "completed")  # not two in a row
    assert [entry["grad_norm"] for entry in entries if entry["event"] == "train"] == slopes


@pytest.mark.parametrize(("warmup", "steps"), [(0.5, 10), (1, 1), (4, 4), (0.0, 1)])
def test_the_warm_up_is_a_share_of_the_steps_or_a_number_of_them(warmup: float, steps: int) -> None:
    rates = [Schedule(learning_rate=1.0, warmup=warmup).rate(step, 20) for step in range(20)]
    assert rates[:steps] == pytest.approx([(step + 1) / steps for step in range(steps)])
    assert rates[steps] == 1.0
    assert rates[steps + 1] < 1.0


def test_a_loss_that_is_not_finite_stops_with_the_last_checkpoint(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = prompts.accumulate, []

    def diverge(*args: object) -> float:
        calls.append(1)
        return float("nan") if len(calls) == 6 else real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(prompts, "accumulate", diverge)
    with pytest.raises(MetierError, match="diverged") as error:
        train(work(lora(toy_base)), SCHEDULE, folder=tmp_path / "c", log=tmp_path / "l", key="k")
    assert "step-000004" in str(error.value)
    assert (tmp_path / "c" / "step-000004").is_dir()


def test_only_the_answer_and_its_end_carry_loss(toy_base: Path) -> None:
    runner = lora(toy_base)
    values, owner = runner.logprobs([Item((1, 5, 6), ((30, 2),)), Item((1, 7), ((31, 2),))])
    assert values.shape == (4,)
    assert owner.tolist() == [0, 0, 1, 1]


def test_cutting_a_batch_into_runs_changes_no_gradient(toy_base: Path) -> None:
    gradients = []
    for budget in (1 << 20, 12):
        runner = Runner(train_everything(load_model(toy_base, dtype=torch.float32, device="cpu")), packing=True)
        prompts.accumulate(runner, (1,), [Item(i.trunk[1:], i.answers) for i in ITEMS[:8]], budget)
        gradients.append(torch.cat([p.grad.flatten() for p in runner.model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


def test_every_epoch_sees_all_items_in_another_order_until_the_steps_are_done(toy_base: Path) -> None:
    runner = lora(toy_base)
    batches = work(runner).batches
    assert [sorted(i for batch in epoch for i in batch) for epoch in (batches[:5], batches[5:])] == [
        list(range(40))
    ] * 2
    assert batches[:5] != batches[5:]
    short = Prompts(runner, ITEMS, epochs=2, steps=7, batch_size=8, seed=3)
    assert (short.steps, short.batches) == (7, batches[:7])
    weighted = Prompts(runner, ITEMS, epochs=1, batch_size=8, seed=3, weights=[1.0] * 39 + [41.0])
    assert sum(batch.count(39) for batch in weighted.batches) in (20, 21)


def test_order_is_a_permutation_and_depends_on_the_epoch() -> None:
    lengths = [i % 13 for i in range(101)]
    first, again, second = (epoch_batches(lengths, batch_size=8, seed=1, epoch=e) for e in (0, 0, 1))
    assert first == again != second
    assert sorted(i for batch in first for i in batch) == list(range(101))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_longer_than_the_clip_is_cut_to_it_and_then_gone(dtype: torch.dtype) -> None:
    line = torch.nn.Linear(2, 1, bias=False, dtype=dtype)
    optimizer = MasterAdamW(line.named_parameters(), decay=0.0, betas=(0.5, 0.999))
    line.weight.grad = torch.tensor([[3.0, 4.0]], dtype=dtype)
    norm = optimizer.gather()
    optimizer.step(0.1, norm, clip=1.0)
    assert norm == 5.0
    torch.testing.assert_close(optimizer.state()["exp_avg.weight"], torch.tensor([[0.3, 0.4]]))
    assert line.weight.grad is None


def test_the_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, peak=1.0, warmup=10, total=100) for step in range(100)]
    assert rates[9] == rates[10] == 1.0
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_what_is_removed_is_told_before(toy_base: Path, tmp_path: Path) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        assert (tmp_path / "a" / "step-000010").is_dir()
        said.append(text)

    for key in ("one", "one", "two"):
        train(work(lora(toy_base)), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "l", key=key, say=say)
    [told] = said
    assert "up to step-000010" in told
    assert "begins anew" in told


@pytest.mark.parametrize("looks", ["few", "many"])
def test_looks_at_something_else_keep_the_steps_and_choose_anew(toy_base: Path, tmp_path: Path, looks: str) -> None:
    def look(metric: float) -> dict[str, float]:
        return {"metric": metric}

    def stop(progress: Progress, *_: object) -> None:
        if progress.step == 5:
            raise RuntimeError("stopped")

    whole, resumed, steps = lora(toy_base), lora(toy_base), []
    train(work(whole), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "a.jsonl", key="k")
    schedule = Schedule(learning_rate=0.02, checkpoint_every=2, seed=3, validate_every=2)
    with pytest.raises(RuntimeError, match="stopped"):
        train(work(lora(toy_base)), schedule, folder=tmp_path / "b", log=tmp_path / "b.jsonl", key="k", looks="few",
              validate=lambda: look(0.9), report=stop)  # fmt: skip
    progress = train(
        work(resumed), schedule, folder=tmp_path / "b", log=tmp_path / "b.jsonl", key="k", looks=looks,
        validate=lambda: look(0.1 + len(steps) / 100), report=lambda progress, *_: steps.append(progress.step),
    )  # fmt: skip
    assert steps == list(range(5, 11))
    assert losses(tmp_path / "a.jsonl") == losses(tmp_path / "b.jsonl")
    assert progress.best_step == (4 if looks == "few" else 10)  # 0.9 of few is nothing to 0.16 of many
    if looks == "many":
        assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_a_finished_training_that_is_measured_otherwise_is_measured_once_more(toy_base: Path, tmp_path: Path) -> None:
    looks: list[str] = []
    for what in ("few", "many", "many"):
        runner = lora(toy_base)
        progress = train(
            work(runner), SCHEDULE, folder=tmp_path / "a", log=tmp_path / "l", key="k", looks=what,
            validate=lambda what=what: looks.append(what) or {"metric": 0.5},  # type: ignore[misc, func-returns-value]
        )  # fmt: skip
        assert progress.best_step == 10
    assert looks == ["few", "many"]


def test_divergence_names_the_field_that_mends_it(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "accumulate", lambda *_: float("nan"))
    schedule = Schedule(field="pretrain")
    with pytest.raises(MetierError, match=r"lower pretrain\.learning_rate"):
        train(work(lora(toy_base)), schedule, folder=tmp_path / "c", log=tmp_path / "l", key="k")
