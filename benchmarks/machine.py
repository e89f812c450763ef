"""What all benchmarks share: facts of the machine, and systems run one at a time in processes of their own."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import resource
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it imports torch, which is memory that some systems do not need
    from metier.models.device import Device


def parser_for(doc: str | None, systems: list[str], *, examples: int, repeats: int = 3) -> argparse.ArgumentParser:
    """The options that all comparisons have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument("--examples", type=int, default=examples)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--base", default="smollm2-135m-instruct")
    parser.add_argument("--system", choices=systems or None, help="run one system alone, in this process")
    return parser


def facts() -> dict[str, Any]:
    """Machine, versions and date, for every JSON line."""
    from metier.models.device import choose_device

    packages = ("torch", "transformers", "peft", "trl", "lm_eval", "openvino", "metier")
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"machine": choose_device().to_json(), "versions": versions, "date": datetime.date.today().isoformat()}


def peak_rss_mb(who: int = resource.RUSAGE_SELF) -> float:
    """Largest resident memory of this process, or of its children that ended, so far, in MB (10^6 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024  # of getrusage
    return round(resource.getrusage(who).ru_maxrss * unit / 1e6, 1)


def matmul_share(weights: int, tokens: float, passes: float, seconds: float, device: Device) -> float:
    """Achieved over measured peak: ``passes`` × 2 FLOP a weight and token, without adapters, attention and logits."""
    return passes * 2 * weights * tokens / seconds / 1e9 / device.gflops


def linear_weights(model: Any) -> int:
    """Weights of the blocks' linear layers: all that a token meets but for embeddings and head."""
    from metier.models.layers import decoder_layers

    return sum(p.numel() for p in decoder_layers(model).parameters() if p.ndim == 2)


def in_turn(script: str, systems: list[str], arguments: list[str], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Run each system ``repeats`` times, in turn, each time in a fresh process that prints one JSON line."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    for turn in range(repeats):
        for name in systems:
            command = [sys.executable, script, "--system", name, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
            found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(f"{name} {turn + 1}/{repeats}: {found[name][-1]}", file=sys.stderr)
    return found


def median(runs: list[dict[str, Any]], field: str) -> float:
    """Median of a field over the runs of one system."""
    return statistics.median(float(run[field]) for run in runs)
