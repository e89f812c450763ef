"""What the benchmarks share: the machine, its matmul peak, children of their own process, the prompts."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from metier.models.bases import resolve
from metier.models.device import DTYPES, choose_device
from metier.models.encode import Encoder
from metier.models.layers import causal_model, decoder_layers
from metier.models.load import load_tokenizer
from metier.tasks import Example, load_task

PACKAGES = ("metier", "torch", "transformers", "peft", "accelerate", "trl", "lm_eval", "openvino")


def parser(about: str | None) -> argparse.ArgumentParser:
    """Options that every benchmark with peers has."""
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--json", action="store_true", help="print one JSON line")
    found.add_argument("--base", default="smollm2-135m-instruct", help="a base by name, hf:owner/name, or a folder")
    found.add_argument("--data", default="finance-starter", help="a classification task, such as financial-phrasebank")
    found.add_argument("--data-root", type=Path, default=os.environ.get("METIER_DATA"))
    found.add_argument("--repeats", type=int, default=3, help="turns of all systems; medians are printed")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--system", help=argparse.SUPPRESS)  # a child: run this system alone
    return found


def prompts(options: argparse.Namespace, count: int) -> tuple[Path, Encoder, list[Example]]:
    """The base's folder, an encoder, and ``count`` examples of the task, drawn by the seed."""
    root = Path(options.data_root).resolve() if options.data_root else None
    loaded = load_task(options.data, data_root=root)
    if len(loaded.examples) < count:
        sys.exit(f"{options.data} has {len(loaded.examples)} examples, fewer than the {count} asked for")
    path = resolve(options.base).path
    order = torch.randperm(len(loaded.examples), generator=torch.Generator().manual_seed(options.seed)).tolist()
    return path, Encoder(load_tokenizer(path), loaded.task), [loaded.examples[i] for i in order[:count]]


def child(script: str, arguments: Sequence[str], system: str) -> dict[str, Any]:
    """Run one system in a process of its own: neither its memory nor its allocator reaches the next one."""
    # TOKENIZERS_PARALLELISM: its threads would be forked; nothing here may ask the hub
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, script, *arguments, "--system", system]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{system} failed ({done.returncode}):\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def turns(script: str, systems: Sequence[str], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """All systems in turn, ``repeats`` times."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    found: dict[str, list[dict[str, Any]]] = {system: [] for system in systems}
    for turn in range(repeats):
        for system in systems:
            print(f"turn {turn + 1} of {repeats}: {system}", file=sys.stderr)
            found[system].append(child(script, arguments, system))
    return found


def median(runs: Sequence[dict[str, Any]], key: str) -> float:
    """Median over the turns."""
    return statistics.median(run[key] for run in runs)


def matmul_peak(dtype: str) -> float:
    """Best rate of a square and of a feed-forward matmul on this machine, in FLOP/s."""
    shapes = [(1024, 576, 1536), (4096, 576, 1536), (2048, 2048, 2048)]
    best = 0.0
    for rows, inner, columns in shapes:
        left, right = (torch.ones(size, dtype=DTYPES[dtype]) for size in ((rows, inner), (inner, columns)))
        for _ in range(8):
            start = time.perf_counter()
            for _ in range(4):
                left @ right
            best = max(best, 4 * 2 * rows * inner * columns / (time.perf_counter() - start))
    return best


def layer_weights(model: Any, lowest: int = 0) -> int:
    """Matmul weights of the blocks from ``lowest`` up: neither embeddings, nor head, nor adapters."""
    layers = decoder_layers(causal_model(model))[lowest:]
    return sum(p.numel() for name, p in layers.named_parameters() if p.ndim > 1 and "lora_" not in name)


def peak_rss_mb() -> float:
    """Peak resident memory of this process in MB (2^20 bytes)."""
    try:  # what getrusage says is inherited from the parent through fork
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def surroundings() -> dict[str, Any]:
    """Machine, versions, date."""
    device = choose_device("cpu")
    found: dict[str, str] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return {
        "machine": {"cpu": device.cpu, "threads": device.threads, "memory_gb": device.memory_gb, "dtype": device.dtype},
        "versions": found,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def emit(result: dict[str, Any], as_json: bool) -> None:
    """The result: one line, or laid out for reading."""
    print(json.dumps(result) if as_json else json.dumps(result, indent=2))
