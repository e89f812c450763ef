"""Checkpoints: whole or not at all, safetensors and JSON only.

One process writes one file; several write each its own part, by ``torch.distributed.checkpoint`` in safetensors, and
any number of processes can read them again.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from metier.files import explain_os_errors, replace_dir, write_dir
from metier.training import distributed


def save(folder: Path, name: str, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Write ``folder/name`` under a temporary name, then rename it; every process must call it."""
    target = folder / name
    if distributed.world_size() > 1:
        _save_parts(target, tensors, state)
        return target
    with write_dir(target) as temporary:
        save_file({key: value.contiguous() for key, value in tensors.items()}, temporary / "state.safetensors")
        _write_state(temporary, state)
    return target


def _save_parts(target: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save as save_parts

    temporary = target.with_name(f".{target.name}.parts.tmp")  # all processes must know the name
    if distributed.is_first():
        shutil.rmtree(temporary, ignore_errors=True)
        with explain_os_errors(temporary):
            temporary.mkdir(parents=True)
    distributed.barrier()
    save_parts(tensors, storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True))
    if distributed.is_first():
        _write_state(temporary, state)
        replace_dir(temporary, target)
    distributed.barrier()


def _write_state(folder: Path, state: dict[str, Any]) -> None:
    (folder / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")


def load(path: Path, blank: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint.

    Args:
        blank: makes tensors by name, of the shapes and shards that are wanted; called where the checkpoint holds parts
            of tensors or this process wants parts.
    """
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if distributed.world_size() == 1 and (path / "state.safetensors").exists():
        return load_file(path / "state.safetensors"), state
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load as load_parts

    names = {name for file in path.glob("*.safetensors") for name in _names(file)}
    tensors: dict[str, Any] = {name: tensor for name, tensor in blank().items() if name in names}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is meant
        load_parts(tensors, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=distributed.world_size() == 1)
    return tensors, state


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def newest(folder: Path, key: str) -> Path | None:
    """The newest whole checkpoint of the run identified by ``key``; damaged or foreign ones are passed over."""
    return next((path for path in _newest_first(folder) if is_whole(path, key)), None)


def is_whole(path: Path, key: str) -> bool:
    """Whether ``path`` is a checkpoint of the run identified by ``key`` that can be read."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        files = sorted(path.glob("*.safetensors"))
        for file in files:
            load_file(file)
        return bool(files) and bool(state.get("key") == key)
    except (OSError, ValueError, AttributeError, SafetensorError):
        return False


def last(folder: Path) -> str | None:
    """The name of the newest checkpoint, whole or not, of any run."""
    return next((path.name for path in _newest_first(folder)), None)


def _newest_first(folder: Path) -> list[Path]:
    """Step checkpoints; from a million steps on their names are longer."""
    return sorted(folder.glob("step-*"), key=lambda path: (len(path.name), path.name), reverse=True)


def clear(folder: Path) -> None:
    """Remove all checkpoints."""
    keep_newest(folder, 0)
    if distributed.is_first():
        shutil.rmtree(folder / "best", ignore_errors=True)
    distributed.barrier()


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest ``count`` step checkpoints."""
    if distributed.is_first():
        for path in _newest_first(folder)[count:]:
            shutil.rmtree(path, ignore_errors=True)
