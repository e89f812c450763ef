"""Several processes, one model: FSDP2 shards weights, gradients and optimizer state (``torchrun``).

Without ``torchrun`` everything here is the identity: the loop is the same.
"""

from __future__ import annotations

import datetime
import os
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from metier.models.layers import decoder_layers

T = TypeVar("T")
PATIENCE = datetime.timedelta(hours=12)  # the others wait while the first process measures


def start() -> None:
    """Join the processes that ``torchrun`` has started; nothing outside of it."""
    if "RANK" in os.environ and not dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def processes_here() -> int:
    """The number of processes on this machine, as ``torchrun`` tells it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier()


def sum_over_ranks(value: float) -> float:
    """The sum of a number over all processes."""
    if not dist.is_initialized():
        return value
    total = torch.tensor(value, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(total)
    return float(total)


def any_rank(flag: bool) -> bool:
    """Whether it is set in any process: all must stop at the same step."""
    return sum_over_ranks(float(flag)) > 0


def from_first(value: T) -> T:
    """The first process's value, in every process."""
    if not dist.is_initialized():
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def shard(model: Any) -> Any:
    """Shard a :class:`~metier.models.sequences.SequenceModel` over all processes, layer by layer."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cuda" if dist.get_backend() == "nccl" else "cpu", (world_size(),))
    for layer in decoder_layers(model.causal):
        fully_shard(layer, mesh=mesh)
    # between steps only shards are there: what is read or loaded is never a stale copy
    return fully_shard(model, mesh=mesh, reshard_after_forward=True)


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """All weights of a model by name, tied ones once, gathered from all processes; every process must call it."""
    tied = dict(model.named_parameters(remove_duplicate=False)).keys() - dict(model.named_parameters()).keys()
    return {name: whole(tensor).detach() for name, tensor in model.state_dict().items() if name not in tied}


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the parts that other processes hold."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
