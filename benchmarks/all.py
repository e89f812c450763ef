"""Run every benchmark and write ``benchmarks/results.md``: one JSON line each, with machine, versions and date.

    python benchmarks/all.py                  # all of them
    python benchmarks/all.py score serve      # these; the lines of the others stay

The page is written anew after every benchmark. One that fails is named there, and the exit code is 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE / "results.md"
SCRIPTS = ("packing", "finetune", "lowest_layer", "score", "serve", "sampling", "pretrain", "curate", "overlap")


def main() -> None:
    chosen = sys.argv[1:] or SCRIPTS
    if unknown := set(chosen) - set(SCRIPTS):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(SCRIPTS)}")
    found = earlier() if sys.argv[1:] else {}
    for name in chosen:
        print(f"running {name} …", file=sys.stderr)
        found[name] = run(name)
        write({script: found[script] for script in SCRIPTS if script in found})
    print(PAGE)
    if failed := [name for name in chosen if "failed" in found[name]]:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run(name: str) -> dict[str, Any]:
    """The figures of one benchmark; what it says on standard error passes through."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"benchmark": name, "failed": f"exit code {done.returncode}"}
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def earlier() -> dict[str, dict[str, Any]]:
    """The figures that the page holds."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    results = [json.loads(line) for line in lines if line.startswith('{"benchmark"')]
    return {result["benchmark"]: result for result in results}


def write(results: dict[str, dict[str, Any]]) -> None:
    text = ["# Benchmark results", "", "Written by `benchmarks/all.py`: a line's date and machine are its own.", ""]
    for name, result in results.items():
        text += [f"## {name}", ""]
        if machine := result.get("machine"):
            versions = ", ".join(f"{library} {version}" for library, version in result["versions"].items())
            text += [
                f"{result['date']}, {machine['cpu']}, {machine['threads']} threads, {machine['memory_gb']} GB; "
                f"{machine['why']}. {versions}.",
                "",
            ]
        rest = {key: value for key, value in result.items() if key not in ("machine", "versions", "date", "benchmark")}
        text += ["| figure | value |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rest.items()), ""]
    text += ["## As JSON lines", "", "```", *(json.dumps(result) for result in results.values()), "```", ""]
    temporary = PAGE.with_suffix(".part")
    temporary.write_text("\n".join(text), encoding="utf-8")
    temporary.replace(PAGE)


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_cell(part)}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    main()
