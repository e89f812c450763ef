"""A specialist over HTTP: ``metier serve`` in a process of its own, against ``Specialist.predict`` in this one.

    make demo
    python benchmarks/serve.py --json --run runs/finance-starter

One client first: each sentence is asked over HTTP, on a connection that stays open, and of ``predict`` here, in turn.
``p50_ms`` and ``p95_ms`` are of the former; ``overhead_ms`` is the median of the differences. Then eight clients, each
asking again as soon as it has its answer: ``requests_per_s_8``, and ``texts_a_batch`` is how many went together.
``in_process_per_s`` is ``predict`` with one sentence after the other. Both use the engine that is named, and their
labels must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from machine import facts, parser_for

from metier import Specialist
from metier.inference.answers import Answer
from metier.tasks import load_task

CLIENTS = 8


def sentences(count: int) -> list[str]:
    found = [e.inputs["text"] for e in load_task("finance-starter").examples]
    return found[:: max(1, len(found) // count)][:count]


def one_client(client: httpx.Client, specialist: Specialist, texts: list[str]) -> tuple[list[float], list[float]]:
    """Milliseconds of each sentence over HTTP and in this process, in turn."""
    served: list[float] = []
    here: list[float] = []
    for text in texts:
        begin = time.perf_counter()
        label = ask(client, text)
        middle = time.perf_counter()
        answer = specialist.predict([text])[0]
        here.append(1000 * (time.perf_counter() - middle))
        served.append(1000 * (middle - begin))
        assert isinstance(answer, Answer)
        if answer.label != label:
            raise SystemExit(f"over HTTP {label}, here {answer.label}: {text}")
    return served, here


def many_clients(client: httpx.Client, address: str, texts: list[str]) -> tuple[float, float]:
    """Requests a second of all clients, and texts of a batch."""
    before = client.get("/health").json()
    begin = time.perf_counter()
    threads = [threading.Thread(target=one_of_many, args=(address, texts[n::CLIENTS])) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    after = client.get("/health").json()
    done = after["answered"] - before["answered"]
    if done != len(texts):
        raise SystemExit(f"{len(texts)} sentences were sent, {done} answered")
    return done / seconds, done / (after["batches"] - before["batches"])


def one_of_many(address: str, texts: list[str]) -> None:
    with httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
        for text in texts:
            ask(client, text)


def ask(client: httpx.Client, text: str) -> str:
    reply = client.post("/predict", json={"texts": [text]}).raise_for_status()
    return str(reply.json()["answers"][0]["label"])


@contextmanager
def server(options: argparse.Namespace) -> Iterator[str]:
    """The command that a user starts, on a free port; its address."""
    command = [sys.executable, "-m", "metier.cli", "serve", str(options.run), "--port", "0", "--offline"]
    process = subprocess.Popen(
        [*command, "--engine", options.engine], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout
    try:
        if not (line := process.stdout.readline()):
            raise SystemExit("the server did not start: run `metier serve` to see why")
        yield line.split()[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def main() -> None:
    parser = parser_for(__doc__, [], examples=80, repeats=1)
    parser.add_argument("--run", type=Path, default=Path("runs/finance-starter"))
    parser.add_argument("--engine", choices=["torch", "openvino"], default="torch", help="of both")
    options = parser.parse_args()
    if not options.run.exists():
        raise SystemExit(f"there is no run at {options.run}: `make demo` makes runs/finance-starter")
    texts = sentences(options.examples)
    specialist = Specialist.load(options.run, offline=True, engine=options.engine)
    specialist.predict(texts[:1])
    served: list[float] = []
    here: list[float] = []
    rates: list[float] = []
    batches: list[float] = []
    with server(options) as address, httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
        for _ in range(options.repeats):
            for found, more in zip((served, here), one_client(client, specialist, texts), strict=True):
                found += more
            for found, one in zip((rates, batches), many_clients(client, address, texts), strict=True):
                found.append(one)
    print(json.dumps(summary(options, served, here, rates, batches), indent=None if options.json else 2))


def summary(
    options: argparse.Namespace, served: list[float], here: list[float], rates: list[float], batches: list[float]
) -> dict[str, Any]:
    together, alone = statistics.median(rates), 1000 * len(here) / sum(here)
    return {
        "benchmark": "serve",
        "engine": options.engine,
        "p50_ms": round(statistics.median(served), 2),
        "p95_ms": round(sorted(served)[int(0.95 * (len(served) - 1))], 2),
        "requests_per_s_8": round(together, 2),
        "overhead_ms": round(statistics.median(s - h for s, h in zip(served, here, strict=True)), 2),
        "texts_a_batch": round(statistics.median(batches), 2),
        "in_process_p50_ms": round(statistics.median(here), 2),
        "in_process_per_s": round(alone, 2),
        "ratio_8": round(together / alone, 2),
        "examples": options.examples,
        "repeats": options.repeats,
        **facts(),
    }


if __name__ == "__main__":
    main()
