"""The rubric page over plain HTTP, used by two raters, and what it refuses."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import pytest

from metier.errors import MetierError
from metier.run.rubric import Workbench
from metier.run.rubric_report import report_record
from metier.serving.rubric_server import MAX_BYTES, rubric_server
from tests.rubrics import key, new_bench


class Browser:
    """What a browser does without a script: follows redirects, sends forms."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        connection.request(method, path, body, {**kind, **{k.replace("_", "-"): v for k, v in headers.items()}})
        reply = connection.getresponse()
        text, told = reply.read().decode(), {name.lower(): value for name, value in reply.getheaders()}
        connection.close()
        return reply.status, text, told

    def get(self, path: str) -> str:
        status, text, _ = self.ask("GET", path)
        assert status == 200, text
        return text

    def send(self, page: str, values: dict[str, str], **headers: str) -> tuple[int, str, dict[str, str]]:
        hidden = {n: unescape(v) for n, v in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)}
        return self.ask("POST", "/rate", urlencode(hidden | {f"axis.{n}": v for n, v in values.items()}), **headers)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return new_bench(tmp_path, "lay-pairwise", raters="Änna B,ben", systems="xy")


@pytest.fixture
def browser(bench: Workbench) -> Iterator[Browser]:
    server = rubric_server(bench, bench.token())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Browser(server.server_port)
    server.shutdown()
    server.server_close()
    thread.join(5)


def answers(page: str) -> list[str]:
    return re.findall(r'<div class="text">(.*?)</div>', page, re.DOTALL)


def links(page: str) -> list[str]:
    return [unescape(to) for to in re.findall(r'<li><a href="([^"]+)"', page)]


def rate_all(browser: Browser, start: str, stop_after: int = 99) -> int:
    """Prefers the answer of x wherever it stands; returns how many items were judged."""
    path, judged = start, 0
    while "All judged" not in (page := browser.get(path)) and judged < stop_after:
        assert "sys-" not in page
        side = "A" if answers(page)[0].endswith("x") else "B"
        status, _, told = browser.send(page, {"intent": side, "helpfulness": side})
        assert status == 303
        path, judged = told["location"], judged + 1
    return judged


def test_two_raters_each_goes_on_where_they_stopped(bench: Workbench, browser: Browser) -> None:
    home = browser.get("/")
    assert "0 of 12 judged" in home
    first, second = links(home)
    assert rate_all(browser, first, stop_after=5) == 5
    assert rate_all(browser, second, stop_after=3) == 3
    assert "5 of 12 judged" in browser.get("/")
    assert rate_all(browser, first) == 7
    assert rate_all(browser, second) == 9
    assert browser.get("/").count("all 12 judged") == 2
    assert Workbench(bench.folder).done("Änna B") == 12  # on the disk, not in the server's memory alone
    axis = report_record(Workbench(bench.folder))["groups"]["people"]["axes"]["intent"]
    assert axis["pairs"][0]["wins"]["count"] == 24
    assert axis["side_a"]["value"] == 0.5
    [again, *_] = links(browser.get(first))  # a choice can be changed
    assert browser.send(browser.get(again), {"intent": "tie", "helpfulness": "tie"})[0] == 303
    item = again.partition("item=")[2]
    assert bench.said("ben")[item] == {"intent": "tie", "helpfulness": "tie"}


def test_choices_are_kept_one_by_one_and_shown_again(bench: Workbench, browser: Browser) -> None:
    start = links(browser.get("/"))[0]
    status, text, _ = browser.send(browser.get(start), {"intent": "tie"}, Accept="application/json")
    assert (status, json.loads(text)) == (200, {"complete": False, "done": 0})
    page = browser.get(start)
    assert re.search(r'name="axis.intent" value="tie" checked', page)
    status, text, _ = browser.send(page, {})
    assert status == 422
    assert "1 of 2 has no choice yet" in text
    assert text.count('class="missing"') == 1
    lines = (bench.folder / "ratings" / "ben.jsonl").read_text().splitlines()
    assert [json.loads(line)["values"] for line in lines] == [{"intent": "tie"}]


def test_what_a_user_wrote_is_shown_and_never_run(tmp_path: Path, browser: Browser, bench: Workbench) -> None:
    path = bench.folder / "items.jsonl"
    path.write_text(path.read_text().replace("Because of", "<script>alert(1)</script> & of"))
    server = rubric_server(Workbench(bench.folder), bench.token())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    status, page, told = Browser(server.server_port).ask("GET", "/rate?rater=ben")
    server.shutdown()
    server.server_close()
    assert status == 200
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; of" in page
    assert page.count("<script") == 1  # its own
    nonce = re.search(r'<script nonce="([^"]+)"', page)
    assert nonce
    assert f"script-src 'nonce-{nonce[1]}'" in told["content-security-policy"]
    assert key(bench)  # the key is beside, and no page has it


def test_other_sites_are_refused(bench: Workbench, browser: Browser) -> None:
    page = browser.get("/rate?rater=ben")
    good = {"intent": "tie", "helpfulness": "tie"}
    assert browser.ask("GET", "/", Host="evil.example")[0] == 421
    assert browser.ask("GET", "/", Host=f"evil.example:{browser.port}")[0] == 421
    assert browser.ask("GET", "/", Host=f"localhost:{browser.port}")[0] == 200
    assert browser.send(page, good, Origin="http://evil.example")[0] == 403
    assert browser.send(page, good, Origin="null")[0] == 403
    assert browser.send(page, good, Sec_Fetch_Site="cross-site")[0] == 403
    assert browser.send(page.replace(bench.token(), "guess"), good)[0] == 403
    assert bench.said("ben") == {}
    own = f"http://127.0.0.1:{browser.port}"
    assert browser.send(page, good, Origin=own, Sec_Fetch_Site="same-origin")[0] == 303


def test_nonsense_is_refused(bench: Workbench, browser: Browser) -> None:
    page = browser.get("/rate?rater=ben")
    assert browser.send(page, {"intent": "C"})[0] == 400
    assert browser.send(page, {"intnt": "A"})[0] == 400
    assert browser.ask("GET", "/rate?rater=carl")[0] == 404
    assert browser.ask("GET", "/rate?rater=ben&item=i99999")[0] == 404
    assert browser.ask("GET", "/rate?rater=ben&item=../key.json")[0] == 404
    assert browser.ask("GET", "/key.json")[0] == 404
    assert browser.ask("POST", "/rate", "x" * (MAX_BYTES + 1))[0] == 413
    assert browser.ask("POST", "/rate", None, Content_Length="-5")[0] == 411
    assert browser.ask("POST", "/rate", "&".join(f"a{i}=1" for i in range(1000)))[0] == 400
    assert browser.ask("PUT", "/rate", "x=1")[0] == 501
    assert bench.said("ben") == {}
    with pytest.raises(MetierError, match="is taken"):
        rubric_server(bench, bench.token(), browser.port)


def test_browsers_leave_port_80_out(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pretended:
        def __init__(self, address: tuple[str, int], handler: type) -> None:
            self.server_port, self.handler = address[1], handler

    monkeypatch.setattr("metier.serving.rubric_server._Server", Pretended)
    allowed = rubric_server(bench, bench.token(), 80).handler.origins  # type: ignore[attr-defined]
    assert {"http://localhost", "http://127.0.0.1", "http://localhost:80"} <= allowed


def test_a_room_of_raters_may_come_at_once(bench: Workbench) -> None:
    server = rubric_server(bench, bench.token())  # nobody takes the connections yet
    try:
        waiting = [socket.create_connection(("127.0.0.1", server.server_port), timeout=0.5) for _ in range(60)]
        for one in waiting:
            one.close()
    finally:
        server.server_close()


def test_a_page_that_was_closed_too_soon_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = rubric_server(new_bench(tmp_path), "token")
    for fault, told in ((BrokenPipeError(), False), (ValueError("a fault"), True)):
        try:
            raise fault
        except Exception:
            server.handle_error(None, ("127.0.0.1", 1))
        assert ("a fault" in capsys.readouterr().err) is told
    server.server_close()
