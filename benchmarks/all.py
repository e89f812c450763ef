"""Run every benchmark and write ``benchmarks/results.md``: one JSON line each, with machine, versions and date."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = ("packing", "finetune", "lowest_layer", "score", "serve", "pretrain", "curate", "overlap")


def main() -> None:
    lines, results = [], []
    for name in SCRIPTS:
        print(f"running {name} …", file=sys.stderr)
        done = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py"), "--json"], stdout=subprocess.PIPE, text=True, check=True
        )
        lines.append(done.stdout.strip().splitlines()[-1])
        results.append(json.loads(lines[-1]))
    machine = next(r["machine"] for r in results if "machine" in r)
    versions = next(r["versions"] for r in results if "versions" in r)
    text = ["# Benchmark results", "", f"Written by `make bench` on {results[-1]['date']}.", ""]
    text += [
        f"Machine: {machine['cpu']}, {machine['threads']} threads, {machine['memory_gb']} GB, {machine['why']}.",
        "",
    ]
    text += ["Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".", ""]
    for result in results:
        text += [f"## {result['benchmark']}", "", "| figure | value |", "|---|---|"]
        text += [f"| {key} | {_cell(value)} |" for key, value in result.items() if key not in ("machine", "versions")]
        text.append("")
    text += ["## As JSON lines", "", "```", *lines, "```", ""]
    (HERE / "results.md").write_text("\n".join(text), encoding="utf-8")
    print(HERE / "results.md")


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_cell(part)}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    main()
