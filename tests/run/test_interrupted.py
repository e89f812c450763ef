"""Killed, stopped or run twice at once: nothing is lost, the same bytes come out."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metier.run import run
from tests.toy import write_recipe

STARTED: list[subprocess.Popen[str]] = []
Command = Callable[..., tuple[int, str, str]]
TRAINING = "adapt: {epochs: 6, batch_size: 8, learning_rate: 0.01, checkpoint_every: 2}\n"


def start(folder: Path, cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "METIER_CACHE": str(cache), "PYTHONPATH": "."}
    command = [sys.executable, "-m", "metier.cli", "run", str(folder / "recipe.yaml"), "--out", str(folder / "out")]
    child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    STARTED.append(child)
    return child


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    """A test that fails leaves no training behind, which would slow down all others."""
    yield
    while STARTED:
        child = STARTED.pop()
        child.kill()
        child.communicate()


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Until training has logged ``step``."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        log = folder / "out" / "log.jsonl"
        if log.exists() and f'"step": {step},' in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.02)
    raise AssertionError("training did not get that far")


def prepare(folder: Path, base: Path) -> Path:
    folder.mkdir()
    recipe = write_recipe(folder, base)
    text = recipe.read_text().replace(
        "adapt: {epochs: 3, batch_size: 16, learning_rate: 0.01, checkpoint_every: 3}\n", ""
    )
    recipe.write_text(text + TRAINING + "measure: {systems: [majority, base]}\n")
    return folder


@pytest.fixture(scope="module")
def undisturbed(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepare(tmp_path_factory.mktemp("runs") / "whole", toy_base)
    return run(folder / "recipe.yaml", out=folder / "out", offline=True)


def carry_on(folder: Path, command: Command) -> None:
    """The same command again, in this process: what a process starts with is no part of the check."""
    code, out, err = command("run", folder / "recipe.yaml", "--out", folder / "out")
    assert code == 0, err + out


def same_specialist(one: Path, other: Path) -> None:
    names = sorted(path.name for path in (one / "specialist").iterdir())
    assert names == sorted(path.name for path in (other / "specialist").iterdir())
    assert "adapter_model.safetensors" in names
    for name in names:
        if name != "README.md":  # the card names seconds and the folder
            assert (one / "specialist" / name).read_bytes() == (other / "specialist" / name).read_bytes(), name


def same_scores(one: Path, other: Path) -> None:
    files = sorted((one / "evidence" / "predictions").glob("*.parquet"))
    assert len(files) > 1
    for file in [one / "evidence" / "scores.json", *files]:
        assert file.read_bytes() == (other / file.relative_to(one)).read_bytes(), file.name


def test_kill_minus_nine_then_the_same_command_gives_the_same_bytes(
    toy_base: Path, tmp_path: Path, undisturbed: Path, command: Command
) -> None:
    folder = prepare(tmp_path / "killed", toy_base)
    for step in (7, 60):
        process = start(folder, tmp_path / "cache")
        wait_for_step(folder, step, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (folder / "out" / "specialist" / "template.json").exists()
    carry_on(folder, command)
    same_specialist(undisturbed, folder / "out")
    same_scores(undisturbed, folder / "out")
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["stages"]["adapt"]["seconds"] >= manifest["training"]["seconds"]  # of all three attempts


def test_ctrl_c_says_how_to_continue_and_loses_nothing(
    toy_base: Path, tmp_path: Path, undisturbed: Path, command: Command
) -> None:
    folder = prepare(tmp_path / "stopped", toy_base)
    process = start(folder, tmp_path / "cache")
    wait_for_step(folder, 9, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "same command" in err
    assert "Traceback" not in err
    carry_on(folder, command)
    same_specialist(undisturbed, folder / "out")


def test_two_runs_in_one_directory(toy_base: Path, tmp_path: Path, command: Command) -> None:
    folder = prepare(tmp_path / "shared", toy_base)
    first = start(folder, tmp_path / "cache")
    wait_for_step(folder, 1, first)
    first.send_signal(signal.SIGSTOP)  # or it might be done before the second has begun
    code, _, err = command("run", folder / "recipe.yaml", "--out", folder / "out")
    first.kill()
    first.wait()
    assert code == 2
    assert str(first.pid) in err
    assert "Traceback" not in err


@pytest.mark.kills
@pytest.mark.parametrize("lowest", [0, 1])
def test_ten_kills_at_random_points_change_no_byte(toy_base: Path, tmp_path: Path, lowest: int) -> None:
    """Five for each depth: at any step, in the middle of a checkpoint or of scoring, sometimes twice at one place."""

    def folder(name: str) -> Path:
        made = prepare(tmp_path / name, toy_base)
        text = (made / "recipe.yaml").read_text().replace("adapt: {", f"adapt: {{lowest_layer: {lowest}, ")
        (made / "recipe.yaml").write_text(text)
        return made

    def carry(where: Path) -> None:
        run(where / "recipe.yaml", out=where / "out", offline=True)

    whole, killed = folder("whole"), folder("killed")
    begun = time.monotonic()
    carry(whole)
    seconds = time.monotonic() - begun
    generator = random.Random(lowest)
    deaths = 0
    while deaths < 5:
        child = multiprocessing.get_context("fork").Process(target=carry, args=(killed,))
        child.start()
        child.join(generator.uniform(0.05, 0.6) * seconds)
        deaths += child.is_alive()
        finished = not child.is_alive()
        child.kill()
        child.join()
        if finished:
            same_specialist(whole / "out", killed / "out")
            shutil.rmtree(killed / "out")
    carry(killed)
    same_specialist(whole / "out", killed / "out")
    same_scores(whole / "out", killed / "out")
