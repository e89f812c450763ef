"""Pretraining in the one loop: same bytes after any stop, batches that grow, spikes left out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from metier.errors import MetierError
from metier.models.architectures import build
from metier.models.sequences import SequenceModel
from metier.models.shapes import Shape
from metier.training import distributed
from metier.training.loop import Progress, Schedule, train
from metier.training.memory import Footprint, available_bytes, refuse_if_too_large
from metier.training.sequences import BatchSizes, Sequences
from metier.training.spikes import SpikeRule

SHAPE = Shape.usual("bloom", layers=2, hidden=32, heads=4, vocabulary=61)
BATCH = BatchSizes(then=4, first=2, until=3)
SCHEDULE = Schedule(learning_rate=0.01, warmup=2, floor=0.001, weight_decay=0.1, betas=(0.9, 0.95), checkpoint_every=2)


class Numbered(NamedTuple):
    source: str
    tokens: np.ndarray


class Counting:
    """Sequences that count upwards, so that there is something to learn; notes which were read."""

    def __init__(self, wild: int | None = None) -> None:
        self.read: list[int] = []
        self.wild = wild

    def sequence(self, i: int) -> Numbered:
        self.read.append(i)
        tokens = (np.arange(25) * (1 + i % 3) + 7 * i) % 60
        if i == self.wild:
            tokens = np.random.default_rng(0).integers(0, 61, 25)
        return Numbered("odd" if i % 2 else "even", tokens)


def work(source: Counting | None = None, *, steps: int = 10, budget: int = 48) -> Sequences:
    model = SequenceModel(build(SHAPE, end=60, sequence_length=24, seed=3))
    return Sequences(model, source or Counting(), steps=steps, batch=BATCH, micro_batch_tokens=budget)


def run(made: Sequences, folder: Path, **options: object) -> Progress:
    schedule = options.pop("schedule", SCHEDULE)
    return train(made, schedule, folder=folder / "c", log=folder / "log.jsonl", key="k", **options)  # type: ignore[arg-type]


def entries(folder: Path, event: str = "train") -> list[dict[str, object]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def weights(made: Sequences) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in made.model.named_parameters()}


@pytest.mark.parametrize("stop_after", [1, 3, 5, 8])
def test_ten_steps_are_five_and_five(tmp_path: Path, stop_after: int) -> None:
    whole = work()
    run(whole, tmp_path / "a")

    def kill(progress: Progress, *_: object) -> None:
        if progress.step == stop_after:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(work(), tmp_path / "b", report=kill)
    source = Counting()
    resumed = work(source)
    run(resumed, tmp_path / "b")
    begun = (stop_after - 1) // 2 * 2  # the last checkpoint: it was killed before that of its own step
    assert source.read == list(range(BATCH.before(begun), BATCH.before(10)))
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())
    timeless = [{k: v for k, v in e.items() if k not in ("seconds", "examples_per_s")} for e in entries(tmp_path / "a")]
    again = [{k: v for k, v in e.items() if k not in ("seconds", "examples_per_s")} for e in entries(tmp_path / "b")]
    assert timeless == again
    last = [(tmp_path / x / "c" / "step-000010" / "state.safetensors").read_bytes() for x in "ab"]
    assert last[0] == last[1]


def test_it_learns_and_says_where_in_the_data_it_is(tmp_path: Path) -> None:
    progress = run(work(steps=40), tmp_path)
    found = entries(tmp_path)
    assert float(found[-1]["loss"]) < 0.8 * float(found[0]["loss"])
    assert [e["sequences"] for e in found[:5]] == [2, 4, 6, 10, 14]
    assert found[3]["sources"] == {"even": 2, "odd": 2}
    assert (progress.examples, progress.tokens) == (154, 154 * 24)


def test_the_rate_ends_at_its_floor(tmp_path: Path) -> None:
    run(work(), tmp_path)
    rates = [float(e["lr"]) for e in entries(tmp_path)]
    assert rates[0] == pytest.approx(0.005)
    assert max(rates) == pytest.approx(0.01)
    assert 0.001 < rates[-1] < 0.002


def test_batches_grow() -> None:
    batch = BatchSizes(then=2048, first=1024, until=7200)
    assert (batch.at(7199), batch.at(7200)) == (1024, 2048)
    assert batch.before(139_200) * 2048 == 568_747_622_400  # BloombergGPT's 568.75B tokens
    assert batch.steps_for(batch.before(139_200)) == 139_200
    for sequences in range(30):
        steps = BATCH.steps_for(sequences)
        assert BATCH.before(steps) <= sequences < BATCH.before(steps + 1)


def test_cutting_a_batch_changes_no_gradient() -> None:
    found = []
    for budget in (24, 10_000):
        made = work(budget=budget)
        loss = made.accumulate(5).loss
        found.append((loss, torch.cat([p.grad.flatten() for p in made.model.parameters() if p.grad is not None])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-6, rtol=1e-4)


def test_norms_and_biases_do_not_decay(tmp_path: Path) -> None:
    from metier.training.optimizer import MasterAdamW

    made = work()
    optimizer = MasterAdamW(made.model.named_parameters(), decay=0.5, betas=(0.9, 0.95))
    groups = {g["weight_decay"]: {p.ndim for p in g["params"]} for g in optimizer.inner.param_groups}
    assert groups == {0.5: {2}, 0.0: {1}}


RULE = SpikeRule(loss=1.3, norm=1e9, window=10, patience=3)


def test_a_spike_leaves_the_weights_as_they_are_and_is_logged(tmp_path: Path) -> None:
    schedule = Schedule(learning_rate=0.01, checkpoint_every=1, spikes=RULE)
    made = work(Counting(wild=BATCH.before(30)), steps=32)
    made.batch = BatchSizes(then=1)
    made.source = Counting(wild=30)
    seen: list[dict[str, torch.Tensor]] = []
    progress = run(made, tmp_path, schedule=schedule, report=lambda *_: seen.append(weights(made)))
    (spike,) = entries(tmp_path, "spike")
    assert spike["step"] == 31
    assert "times the median" in str(spike["why"])
    assert (progress.skipped, progress.step, progress.stopped) == (1, 32, "completed")
    assert all(torch.equal(value, seen[30][name]) for name, value in seen[29].items())
    name = next(iter(seen[30]))
    assert not torch.equal(seen[31][name], seen[30][name])


def test_a_spike_can_end_the_run(tmp_path: Path) -> None:
    made = work(steps=40)
    made.batch, made.source = BatchSizes(then=1), Counting(wild=30)
    rule = SpikeRule(action="stop", loss=1.3, norm=1e9, window=10)
    progress = run(made, tmp_path, schedule=Schedule(learning_rate=0.01, spikes=rule))
    assert (progress.stopped, progress.step) == ("spike", 31)
    assert (tmp_path / "c" / "step-000031").is_dir()


def test_nothing_is_a_spike_before_there_is_a_median() -> None:
    assert RULE.judge(100.0, 1.0, [1.0] * 9, [1.0] * 9) is None
    assert RULE.judge(100.0, 1.0, [1.0] * 10, [1.0] * 10) is not None
    assert RULE.judge(1.2, 1.0, [1.0] * 10, [1.0] * 10) is None


def test_a_gradient_that_is_not_finite_changes_no_weight(tmp_path: Path) -> None:
    made = work()
    before = weights(made)
    real = made.accumulate

    def overflow(step: int) -> object:
        batch = real(step)
        next(iter(made.model.parameters())).grad[0, 0] = float("inf")  # type: ignore[index]
        return batch

    made.accumulate = overflow  # type: ignore[method-assign,assignment]
    with pytest.raises(MetierError, match="gradient's norm is inf"):
        run(made, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in weights(made).items())


def footprint(tokens: int = 4096, checkpointed: bool = False, processes: int = 1) -> Footprint:
    with torch.device("meta"):
        causal = build(Shape.usual("bloom", layers=6, hidden=384, heads=6, vocabulary=8192), end=0, sequence_length=512)
    return Footprint.of(
        causal, sequence_length=512, micro_batch_tokens=tokens, checkpointed=checkpointed, processes=processes
    )


def test_processes_share_what_stays_and_the_memory_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, two, many = footprint(), footprint(processes=2), footprint(processes=64)
    assert alone.state - two.state == alone.parameters * 16 // 2
    assert two.activations == alone.activations
    refuse_if_too_large(two, alone.peak - 1)  # what one is refused, two can do
    assert many.state > alone.parameters * 4  # each begins with all weights
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1000))
    assert available_bytes("cpu") == 250


def test_memory_that_would_not_suffice_is_refused_before_training() -> None:
    found = footprint()
    refuse_if_too_large(found, found.peak)
    with pytest.raises(MetierError, match="GB are free") as error:
        refuse_if_too_large(found, found.peak - 1)
    assert "set micro_batch_tokens: 2048" in str(error.value)
    with pytest.raises(MetierError, match="checkpoint_activations: true"):
        refuse_if_too_large(footprint(512), footprint(512, checkpointed=True).peak)
    with pytest.raises(MetierError, match="a smaller model"):
        refuse_if_too_large(found, found.state)


def test_memory_falls_with_smaller_runs_and_with_checkpoints() -> None:
    assert footprint(512).peak < footprint(4096).peak
    assert footprint(4096, checkpointed=True).peak < footprint(4096).peak
