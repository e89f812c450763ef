"""Run every benchmark and write ``benchmarks/results.md``: one JSON line each, with machine, versions and date.

    python benchmarks/all.py                  # all of them
    python benchmarks/all.py score serve      # these; the lines of the others stay

The page keeps one line for each benchmark and kind of processor, and is written anew after every benchmark. One that
fails is named there, and the exit code is 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import facts

HERE = Path(__file__).parent
PAGE = HERE / "results.md"
SCRIPTS = ("packing", "finetune", "lowest_layer", "score", "serve", "sampling", "pretrain", "curate", "overlap")


def main() -> None:
    chosen = sys.argv[1:] or SCRIPTS
    if unknown := set(chosen) - set(SCRIPTS):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(SCRIPTS)}")
    found, here, failed = earlier(), facts(), list[str]()
    for name in chosen:
        print(f"running {name} …", file=sys.stderr)
        result = {**here, **run(name)}
        failed += [name] * ("failed" in result)
        found = [line for line in found if key(line) != key(result)] + [result]
        write(sorted(found, key=lambda line: SCRIPTS.index(line["benchmark"])))
    print(PAGE)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run(name: str) -> dict[str, Any]:
    """The figures of one benchmark; what it says on standard error passes through."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"benchmark": name, "failed": f"exit code {done.returncode}"}
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def earlier() -> list[dict[str, Any]]:
    """The lines that the page holds."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{")]


def key(line: dict[str, Any]) -> tuple[str, str]:
    """Benchmark and processor: the page holds one line of each."""
    return line["benchmark"], line["machine"]["cpu"]


def write(found: list[dict[str, Any]]) -> None:
    text = ["# Benchmark results", "", "Written by `benchmarks/all.py`: a line's date and machine are its own.", ""]
    for result in found:
        machine, about = result["machine"], ("machine", "versions", "date", "benchmark")
        versions = ", ".join(f"{library} {version}" for library, version in result["versions"].items())
        text += [
            f"## {result['benchmark']}, {machine['cpu']}",
            "",
            f"{result['date']}, {machine['threads']} threads, {machine['memory_gb']} GB; {machine['why']}. {versions}.",
            "",
            *("| figure | value |", "|---|---|"),
            *(f"| {name} | {_cell(value)} |" for name, value in result.items() if name not in about),
            "",
        ]
    text += ["## As JSON lines", "", "```", *(json.dumps(result) for result in found), "```", ""]
    temporary = PAGE.with_suffix(".part")
    temporary.write_text("\n".join(text), encoding="utf-8")
    temporary.replace(PAGE)


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_cell(part)}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    main()
