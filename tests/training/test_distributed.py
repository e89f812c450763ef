"""Two processes with sharded weights: the losses of one, and checkpoints that any number can read."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metier.training import checkpoint, distributed
from metier.training.loop import train
from metier.training.optimizer import MasterAdamW
from tests.training.test_sequences import SCHEDULE, work

# two processes: ten steps; and the same once more, ended after five
SCRIPT = """
import sys
from pathlib import Path
import torch
from metier.training import distributed
from metier.training.loop import train
from tests.training.test_sequences import SCHEDULE, work

distributed.start()
for name, stop_after in (("whole", 0), ("moved", 5)):
    folder = Path(sys.argv[1]) / name
    made = work()
    distributed.shard(made._model)

    def end(progress, *_):
        if progress.step == stop_after:
            raise KeyError

    try:
        train(made, SCHEDULE, folder=folder / "c", log=folder / "log.jsonl", key="k", report=end)
    except KeyError:
        continue
    state = distributed.whole_state(made.model)
    if distributed.is_first():
        torch.save(state, folder / "weights.pt")
torch.distributed.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def two_processes(folder: Path) -> None:
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
              "PYTHONPATH": os.pathsep.join([".", *sys.path])}  # fmt: skip
    children = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for child in children:
        _, err = child.communicate(timeout=300)
        assert child.returncode == 0, err[-3000:]


def losses(folder: Path) -> list[float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if entry["event"] == "train"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    made = work()
    train(made, SCHEDULE, folder=folder / "c", log=folder / "log.jsonl", key="k")
    torch.save(distributed.whole_state(made.model), folder / "weights.pt")
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    two_processes(folder)
    return folder / "whole"


def test_two_processes_have_the_losses_of_one(alone: Path, together: Path) -> None:
    assert len(losses(together)) == 10
    assert losses(together) == pytest.approx(losses(alone), abs=1e-4)
    one, two = (torch.load(folder / "weights.pt", weights_only=True) for folder in (alone, together))
    assert one.keys() == two.keys()
    for name, value in one.items():
        # a bias of the keys has no gradient but rounding, of which Adam makes steps
        if value.ndim > 1:
            assert (value - two[name]).norm() < 1e-3 * value.norm(), name


@pytest.mark.filterwarnings("error:torch.distributed is disabled")
def test_a_checkpoint_saved_by_two_loads_in_one(together: Path) -> None:
    path = checkpoint.newest(together / "c", "k")
    assert path is not None
    assert len(list(path.glob("*.safetensors"))) == 2
    assert not [file for file in path.iterdir() if file.suffix not in (".safetensors", ".json")]  # no pickle
    made = work()
    optimizer = MasterAdamW(made.model.named_parameters(), decay=0.1, betas=(0.9, 0.95))
    tensors, state = checkpoint.load(path, optimizer.blank)
    optimizer.load(tensors)
    assert state["step"] == 10
    weights = torch.load(together / "weights.pt", weights_only=True)
    for name, parameter in made.model.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    assert any(optimizer.inner.state[p]["exp_avg"].any() for p in made.model.parameters())


def test_what_two_began_one_finishes(alone: Path, together: Path) -> None:
    moved = together.with_name("moved")
    assert sorted(path.name for path in (moved / "c").iterdir()) == ["step-000002", "step-000004"]
    made = work()
    train(made, SCHEDULE, folder=moved / "c", log=moved / "log.jsonl", key="k")
    assert losses(moved) == pytest.approx(losses(alone), abs=1e-4)
