"""Toy specialists of every kind, made without training, and a server in this process that answers for one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from metier import Specialist
from metier.evaluation.conformal import calibrate
from metier.inference.bundle import write_bundle
from metier.models.bases import resolve
from metier.models.encode import Encoder
from metier.models.load import load_tokenizer
from metier.serving.app import create_app
from metier.serving.gate import LOOPBACK
from metier.serving.gathering import Gatherer
from metier.serving.server import address, bind, http_server
from metier.serving.wire import Limits
from metier.tasks import Task, Template
from tests.toy import LABELS

TASKS = {
    "labels": {"kind": "classification", "labels": list(LABELS), "template": Template(instruction="Good or bad?")},
    "fields": {
        "kind": "classification", "labels": list(LABELS), "template": Template(input="{question}\n{passage}"),
    },
    "choice": {
        "kind": "multiple_choice", "option_count": 3,
        "template": Template(input="{question}\n{options}", options="lettered"),
    },
    "writes": {"kind": "generation", "template": Template(instruction="In which year?")},
}  # fmt: skip


def make(folder: Path, base: Path, kind: str, *, threshold: float | None = None) -> Path:
    """A specialist for medicine that is its base; with ``threshold`` it abstains as if a recipe had demanded it."""
    found = resolve(str(base), offline=True)
    task = Task(name="toy", version=1, title="Toy", domain="medicine", **TASKS[kind])  # type: ignore[arg-type]
    encoder = Encoder(load_tokenizer(found.path), task, 256)
    run = folder / kind
    room = 6 if kind == "writes" else None
    write_bundle(run / "specialist", None, encoder, found, "float32", method="none", answer_tokens=room)
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    about: dict[str, Any] = {"temperature": 1.3, "conformal": calibrate(list(rows), rows.argmax(1)).to_json()}
    if threshold is not None:
        counts = {"n": 100, "answered": 50, "right": 48, "reason": None}
        about["selective"] = {"accuracy": 0.9, "confidence": 0.95, "by": "probability", "threshold": threshold} | counts
    if kind != "writes":
        (run / "specialist" / "calibration.json").write_text(json.dumps(about))
    return run


@contextmanager
def served(
    specialist: Specialist, limits: Limits | None = None, *, abstain_below: float | None = None
) -> Iterator[httpx.Client]:
    """A client of a real server on a free port."""
    limits = limits or Limits()
    gatherer = Gatherer(specialist, waiting=limits.waiting)
    app = create_app(specialist, gatherer, limits=limits, hosts=LOOPBACK, abstain_below=abstain_below)
    server, taken = http_server(app, limits), bind("127.0.0.1", 0)
    taken.listen()  # connections wait until the thread below takes them
    thread = threading.Thread(target=server.run, args=([taken],), daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=address("127.0.0.1", taken), timeout=20, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
