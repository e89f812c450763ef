"""``metier serve`` as a user meets it: started, asked, stopped; and what it cannot start with."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from metier.errors import MetierError
from metier.serving.server import bind, is_loopback
from tests.serving.specialists import make
from tests.toy import sentences

Run = Callable[..., tuple[int, str, str]]
TEXTS = [text for text, _ in sentences(12, seed=5)]


@pytest.fixture(scope="module")
def run(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("command"), toy_base, "labels")


def test_it_starts_says_what_it_is_answers_and_ends_in_order(run: Path) -> None:
    command = [sys.executable, "-m", "metier.cli", "serve", str(run), "--port", "0", "--offline"]
    process = subprocess.Popen(
        [*command, "--engine", "torch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout
    try:
        line = process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+/) answers; Ctrl-C stops", line)
        assert found, line + (process.stderr.read() if process.stderr else "")
        with httpx.Client(base_url=found[1], timeout=20, trust_env=False) as client:
            assert client.get("/health").json()["status"] == "ok"
            replies: list[httpx.Response] = []
            taken = threading.Thread(target=lambda: replies.append(client.post("/predict", json={"texts": TEXTS * 5})))
            taken.start()
            while (told := client.get("/health").json())["running"] == 0 and told["answered"] == 1:
                time.sleep(0.001)
            process.send_signal(signal.SIGINT)  # with an answer under way
            taken.join(20)
            assert [reply.status_code for reply in replies] == [200]
            assert len(replies[0].json()["answers"]) == 60
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "engine torch: asked for" in err
    assert "not medical advice" in err
    assert "stopped; texts answered: 60" in err
    assert out == ""


def test_what_it_cannot_start_with(run: Path, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, err = command("serve", run, "--port", port)
        assert code == 2
        assert f"port {port} is taken" in err
    code, _, err = command("serve", tmp_path, "--port", 0)
    assert code == 2
    assert "no finished specialist" in err
    code, _, err = command("serve", run, "--host", "192.0.2.1", "--port", 0)
    assert code == 2
    assert "no address of this machine" in err
    code, _, err = command("serve", run, "--engine", "tensor", "--port", 0)
    assert code == 2
    assert "unknown engine" in err
    assert command("serve", run, "--port", 70_000)[0] == 2
    assert command("serve", run, "--abstain-below", "nan", "--port", 0)[0] == 2
    for missing in ("uvicorn", "fastapi"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            patch.delitem(sys.modules, "metier.serving.app", raising=False)
            code, _, err = command("serve", run)
        assert code == 2
        assert "metier[serve]" in err


def test_a_threshold_for_a_specialist_that_writes_is_refused_at_the_start(
    toy_base: Path, command: Run, tmp_path: Path
) -> None:
    code, _, err = command("serve", make(tmp_path, toy_base, "writes"), "--abstain-below", "0.5", "--port", 0)
    assert code == 2
    assert "cannot abstain" in err


def test_which_addresses_are_this_machines_alone() -> None:
    for host, local in (("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)):
        with bind(host, 0) as taken:
            assert is_loopback(taken) is local
    with pytest.raises(MetierError, match="no address"):
        bind("no such host", 0)


class Ended:
    """A server that a signal ends as soon as it runs."""

    def __init__(self, sent: signal.Signals) -> None:
        self.sent = sent

    def run(self, sockets: list[socket.socket]) -> None:
        signal.raise_signal(self.sent)  # as uvicorn does when it has ended in order
        pytest.fail("it goes on")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_another_address_is_warned_of(
    run: Path, command: Run, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    from metier.serving import server

    before = signal.getsignal(signal.SIGTERM)
    # as from a terminal: where a shell started the tests in the background, SIGINT is ignored
    held = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(server, "http_server", lambda *_: Ended(sent))
    try:
        code, out, err = command("serve", run, "--host", "0.0.0.0", "--port", 0)
        quiet = command("serve", run, "--port", 0)[2]
    finally:
        signal.signal(signal.SIGINT, held)
    assert code == 0
    assert "warning: whoever reaches http://0.0.0.0:" in err
    assert "no password" in err
    assert "answers; Ctrl-C stops" in out
    assert "stopped; texts answered: 0" in err
    assert "warning" not in quiet
    assert signal.getsignal(signal.SIGTERM) == before
