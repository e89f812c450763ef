"""A machine as a rater, asked over the loopback: good, slow, down and full of nonsense."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from metier.errors import MetierError
from metier.evaluation.rubric_axes import load_rubric
from metier.inference.endpoint import Endpoint, chat
from metier.run.rubric import Workbench
from metier.run.rubric_judge import judge, prompt_for, read_choices
from metier.run.rubric_report import report_record
from tests.rubrics import new_bench
from tests.servers import LoopbackServer

Run = Callable[..., tuple[int, str, str]]
GOOD = "intent: directly addresses the intent\nhelpfulness: somewhat helpful"


class Model:
    """``replies`` are used up one by one, the last one stays: a text, a status with headers, or raw bytes."""

    def __init__(self) -> None:
        self.replies: list[Any] = [GOOD]
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.seconds = 0.0
        self.url = ""


@pytest.fixture
def model() -> Iterator[Model]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
            reply = found.replies.pop(0) if len(found.replies) > 1 else found.replies[0]
            time.sleep(found.seconds)
            status, headers, data = 200, {}, reply
            if isinstance(reply, tuple):
                status, headers = reply
                data = b"an error"
            if isinstance(reply, str):
                data = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    found = Model()
    server = LoopbackServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()


def test_a_machine_is_marked_and_its_parse_rate_told(
    tmp_path: Path, model: Model, command: Run, monkeypatch: Any
) -> None:
    bench = new_bench(tmp_path, systems="xy")
    item = next(iter(bench.raters["anna"].items))
    bench.record("anna", item, {"intent": "directly addresses the intent", "helpfulness": "helpful"})
    model.replies = ["I cannot judge this.", "intent: directly addresses the intent", GOOD]
    monkeypatch.setenv("JUDGE_KEY", "secret")
    ask = ["rubric", "judge", bench.folder, "--url", model.url, "--model", "m", "--key-from", "JUDGE_KEY"]
    code, out, err = command(*ask)
    assert code == 0, err
    assert "24 items judged now; 45 of 48 choices could be read (93.8%)" in out
    headers, body = model.asked[0]
    assert (headers["authorization"], body["model"], body["temperature"]) == ("Bearer secret", "m", 0)
    assert "sys-" not in json.dumps(body)
    assert "secret" not in "".join(path.read_text() for path in bench.folder.rglob("*") if path.is_file())
    assert "warning: 3 choices (6.2%) could not be read" in err
    record = report_record(Workbench(bench.folder))
    machine = record["groups"]["machine: judge"]
    assert (machine["ratings"], record["groups"]["people"]["ratings"]) == (45, 2)
    assert record["groups"]["people"]["raters"] == ["anna"]
    assert record["between"]["intent"][0]["raters"] == ["anna", "judge"]
    code, out, _ = command("rubric", "report", bench.folder)
    page = (bench.folder / "report.html").read_text()
    assert "judge (machine): 22 of 24 items" in out
    assert "45 of 48 choices asked for could be read" in page
    assert command("rubric", "judge", bench.folder, "--url", model.url, "--model", "other")[0] == 2
    assert "a person" in command("rubric", "judge", *ask[2:], "--name", "Anna")[2]
    assert command("rubric", "export", bench.folder, "--rater", "judge")[0] == 0
    assert "no rater 'judge'" in command("rubric", "import", bench.folder, bench.folder / "sheets" / "judge.csv")[2]


def test_what_could_not_be_read_is_asked_again(tmp_path: Path, model: Model, command: Run) -> None:
    bench = new_bench(tmp_path, systems="xy")
    ask = ["rubric", "judge", bench.folder, "--url", model.url, "--model", "m"]
    model.replies = ["banana\nbanana " + "x" * 900]
    code, _, err = command(*ask)
    assert code == 2
    assert "nothing that the judge wrote about 24 items could be read; first it wrote: 'banana banana x" in err
    assert "--max-tokens" in err
    assert len(err) < 700
    model.replies = ["intent: directly addresses the intent", "helpfulness: helpful", GOOD]
    assert "46 of 48" in command(*ask[:-1], "better")[1]  # a name under which nothing was read is free
    model.replies = ["banana", "intent: does not address the intent\nhelpfulness: not helpful"]
    assert "2 items judged now; 47 of 48" in command(*ask[:-1], "better")[1]
    assert "1 items judged now; 48 of 48" in command(*ask[:-1], "better")[1]
    assert command(*ask[:-1], "better")[1].startswith("judge (machine): 0 items judged now")  # nothing is asked twice
    assert len(model.asked) == 24 + 24 + 2 + 1
    assert command(*ask[:-1], "better", "--name", "Judge")[0] == 0  # letter case does not tell raters apart
    said = Workbench(bench.folder).said("judge").values()
    assert {"intent": "directly addresses the intent", "helpfulness": "not helpful"} in said  # what was read stays


def test_a_judge_that_thinks_aloud_is_read_whole_and_kept_in_part(tmp_path: Path, model: Model) -> None:
    bench = new_bench(tmp_path, systems="xy")
    model.replies = ["First. " + "I think about it. " * 400 + "\n" + GOOD]
    found = judge(bench, Endpoint(model.url, "m"), name="judge")
    assert (found.asked, found.read) == (48, 48)
    lines = [json.loads(line) for line in (bench.folder / "ratings" / "judge.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["output"].startswith("First. I think")
        assert line["output"].endswith(GOOD)
        assert len(line["output"]) < 4_100


def test_a_text_in_parts_is_one_text(model: Model) -> None:
    parts = [{"type": "text", "text": GOOD[:9]}, {"type": "text", "text": GOOD[9:]}, {"type": "image"}, 7]
    model.replies = [json.dumps({"choices": [{"message": {"content": parts}}]}).encode()]
    assert chat(Endpoint(model.url, "m"), "?") == GOOD


def test_faults_that_pass_are_waited_for(model: Model) -> None:
    waits: list[float] = []
    model.replies = [(503, {}), (429, {"Retry-After": "7"}), b"<html>not JSON", GOOD]
    assert chat(Endpoint(model.url, "m"), "?", sleep=waits.append) == GOOD
    assert waits == [1, 7, 4]


@pytest.mark.parametrize(
    ("reply", "asked", "told"),
    [
        ((401, {}), 1, "check the key"),
        ((404, {}), 1, "check the address"),
        ((302, {"Location": "http://127.0.0.1:9/"}), 1, "status 302"),
        ((500, {}), 3, "failed 3 times; at last: it answers with status 500"),
        (b"{}", 3, "no choices"),
        (b"[1]", 3, "no choices"),
        (b"nonsense", 3, "not JSON"),
        (b"[" * 100_000, 3, "not JSON"),
    ],
)
def test_faults_that_stay_are_told(model: Model, reply: Any, asked: int, told: str) -> None:
    model.replies = [reply]
    with pytest.raises(MetierError) as caught:
        chat(Endpoint(model.url, "m", attempts=3), "?", sleep=lambda seconds: None)
    assert told in str(caught.value)
    assert model.url in str(caught.value)
    assert len(model.asked) == asked


def test_slow_and_down(model: Model) -> None:
    model.seconds = 1.0
    with pytest.raises(MetierError, match=r"no answer within 0\.1 seconds"):
        chat(Endpoint(model.url, "m", attempts=2, timeout_seconds=0.1), "?", sleep=lambda seconds: None)
    with pytest.raises(MetierError, match="cannot be reached"):
        chat(Endpoint("http://127.0.0.1:9/v1", "m", attempts=2), "?", sleep=lambda seconds: None)
    with pytest.raises(MetierError, match="failed once: it cannot be reached"):
        chat(Endpoint("http://127.0.0.1:9/v1", "m", attempts=1), "?")
    for url in ("127.0.0.1:80", "ftp://x/v1", "http://", "http://x:y/"):
        with pytest.raises(MetierError, match="not a web address"):
            Endpoint(url, "m")
    with pytest.raises(MetierError, match="unprotected"):
        Endpoint("http://example.org/v1", "m", key="secret")
    for key in ("secret\r", "secret\nmore", "gehéim"):  # a header takes none of these, and http.client would print it
        with pytest.raises(MetierError, match="another character that no key has") as error:
            Endpoint("https://example.org/v1", "m", key=key)
        assert "secret" not in str(error.value)


def test_a_head_that_drips_is_not_waited_for() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            for letter in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200:
                self.wfile.write(bytes([letter]))
                time.sleep(0.05)

        def log_message(self, *args: object) -> None:
            pass

    server = LoopbackServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    begin = time.monotonic()
    with pytest.raises(MetierError, match=r"no answer within 0\.3 seconds"):
        chat(Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "m", attempts=1, timeout_seconds=0.3), "?")
    assert time.monotonic() - begin < 5
    server.shutdown()
    server.server_close()


def test_a_judge_that_breaks_off_goes_on_where_it_stopped(tmp_path: Path, model: Model) -> None:
    bench = new_bench(tmp_path, systems="xy")
    model.replies = [(404, {})]
    with pytest.raises(MetierError, match="status 404"):  # a wrong address takes no name
        judge(bench, Endpoint(model.url + "/x", "m"), name="judge")
    model.replies = [GOOD] * 5 + [(400, {})]
    with pytest.raises(MetierError, match="status 400"):
        judge(bench, Endpoint(model.url, "m"), name="judge")
    assert Workbench(bench.folder).done("judge") == 5
    model.replies = [GOOD]
    found = judge(Workbench(bench.folder), Endpoint(model.url, "m"), name="judge", at_once=4)
    assert (found.now, found.asked, found.read) == (19, 48, 48)
    prompts = [re.findall(r"<answer>\n(.*)\n</answer>", body["messages"][0]["content"])[0] for _, body in model.asked]
    assert len(set(prompts)) == 24


def test_a_judge_that_is_stopped_does_not_try_again(tmp_path: Path, model: Model) -> None:
    bench = new_bench(tmp_path, systems="xy")
    model.replies = [(400, {}), (503, {"Retry-After": "20"})]
    begin = time.monotonic()
    with pytest.raises(MetierError, match="status 400"):
        judge(bench, Endpoint(model.url, "m"), name="judge", at_once=4)
    assert time.monotonic() - begin < 10


def test_what_a_judge_writes_is_read_or_not() -> None:
    lay, pair = load_rubric("lay"), load_rubric("lay-pairwise")
    both = {"intent": "directly addresses the intent", "helpfulness": "not helpful"}
    for text in (
        "intent: directly addresses the intent\nhelpfulness: not helpful",
        "Sure!\n- **intent**: Directly addresses the intent.\n* helpfulness: *Not helpful*, since it rambles",
        '```json\n{"intent": "directly addresses the intent", "Helpfulness": "not helpful"}\n```',
        "1. intent: directly addresses the intent\n2) **helpfulness**: not helpful",
        "Answers the intent: directly addresses the intent\nHelpfulness: not helpful",
        '{"ratings": {"intent": "directly addresses the intent", "helpfulness": "not helpful"}}',
        '{"intent": "directly addresses the intent"}\n{"helpfulness": "not helpful"}',
        '[{"axis": "intent", "option": "directly addresses the intent"}, {"name": "helpfulness", "is": "not helpful"}]',
        '<think>{maybe}\nintent: does not address it</think> {"intent": "directly addresses the intent", '
        '"helpfulness": "not helpful"}',
        "<think>" + "It rambles. " * 900 + "</think>\nintent: directly addresses the intent\nhelpfulness: not helpful",
        "intent: let me see\nintent: directly addresses the intent\nhelpfulness: not helpful",
    ):
        assert read_choices(lay, text) == both
    nothing = dict.fromkeys(both)
    for text in (
        "",
        "helpful",
        "intent: perhaps",
        "intent directly addresses the intent",
        '{"intent": {}}',
        '{"a":' * 5000,
        "<think>intent: directly addresses the intent\nhelpfulness: not helpful",
        "\ud83d: x",
    ):
        assert read_choices(lay, text) == nothing
    assert read_choices(lay, "intent: directly addresses the intent\nintent: does not address the intent") == nothing
    assert read_choices(pair, "intent: B\nhelpfulness: TIE") == {"intent": "B", "helpfulness": "tie"}
    prompt = prompt_for(pair, new_item("Why?", "a1", "b1"))
    assert prompt.index("<answer A>\na1") < prompt.index("<answer B>\nb1")
    assert "Options: A | B | tie" in prompt


def new_item(question: str, *answers: str) -> Any:
    from metier.run.rubric import Item

    return Item("i00001", question, answers)
