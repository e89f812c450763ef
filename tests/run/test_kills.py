"""Ten kills at random points of one training: the last run ends with the bytes of an undisturbed one."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.run.test_interrupted import prepare, same_specialist, start, wait_for_step

STEPS = 240  # of the 252 that the toy training takes: no kill comes after its end


@pytest.mark.kills
@pytest.mark.parametrize("lowest_layer", [0, 1])
def test_ten_kills_leave_no_trace(toy_base: Path, tmp_path: Path, lowest_layer: int) -> None:
    whole, killed = (prepare(tmp_path / name, toy_base) for name in ("whole", "killed"))
    for folder in (whole, killed):
        recipe = folder / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("adapt: {", f"adapt: {{lowest_layer: {lowest_layer}, "))
    finish(whole, tmp_path / "cache")
    generator = random.Random(lowest_layer)
    for step in sorted(generator.sample(range(1, STEPS), 10)):
        process = start(killed, tmp_path / "cache")
        wait_for_step(killed, step, process)
        time.sleep(generator.uniform(0, 0.05))  # anywhere in a step, in a checkpoint, in a validation
        assert process.poll() is None, "the training ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (killed / "out" / "specialist" / "template.json").exists()
    finish(killed, tmp_path / "cache")
    same_specialist(whole / "out", killed / "out")
    scores = [(folder / "out" / "evidence" / "scores.json").read_bytes() for folder in (whole, killed)]
    assert scores[0] == scores[1]


def finish(folder: Path, cache: Path) -> None:
    process = start(folder, cache)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err + out
