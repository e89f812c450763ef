"""Checkpoints: whole or not at all, safetensors and JSON only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from metier.files import write_dir


def save(folder: Path, name: str, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Write ``folder/name`` under a temporary name, then rename it."""
    target = folder / name
    with write_dir(target) as temporary:
        save_file({key: value.contiguous() for key, value in tensors.items()}, temporary / "state.safetensors")
        (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    return target


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint."""
    return load_file(path / "state.safetensors"), json.loads((path / "state.json").read_text(encoding="utf-8"))


def newest(folder: Path, key: str) -> Path | None:
    """The newest whole checkpoint of the run identified by ``key``; damaged or foreign ones are passed over."""
    return next((path for path in sorted(folder.glob("step-*"), reverse=True) if is_whole(path, key)), None)


def is_whole(path: Path, key: str) -> bool:
    """Whether ``path`` is a checkpoint of the run identified by ``key`` that can be read."""
    try:
        return bool(load(path)[1].get("key") == key)
    except (OSError, ValueError, SafetensorError):
        return False


def clear(folder: Path) -> None:
    """Remove all checkpoints."""
    keep_newest(folder, 0)
    shutil.rmtree(folder / "best", ignore_errors=True)


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest ``count`` step checkpoints."""
    for path in sorted(folder.glob("step-*"), reverse=True)[count:]:
        shutil.rmtree(path, ignore_errors=True)
