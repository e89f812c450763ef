"""A specialist over HTTP: the same answers as in Python, what is refused, and the page."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metier import Specialist
from metier.inference.answers import Answer, TextAnswer
from metier.inference.choices import ChoiceAnswer
from metier.serving.wire import Limits
from tests.serving.specialists import TASKS, make, served
from tests.toy import sentences

TEXTS = [text for text, _ in sentences(12, seed=5)]
FLAGGED = "I want to kill myself"
QUESTION = {"question": "Which news is good?", "options": ["profit rose", "profit fell", "costs rose"]}


@pytest.fixture(scope="module")
def specialists(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Specialist]:
    folder = tmp_path_factory.mktemp("served")
    return {kind: Specialist.load(make(folder, toy_base, kind)) for kind in TASKS}


@pytest.fixture(scope="module")
def client(specialists: dict[str, Specialist]) -> Iterator[httpx.Client]:
    with served(specialists["labels"], Limits(body_bytes=20_000, texts=16, characters=2_000)) as found:
        yield found


def post(client: httpx.Client, body: Any) -> tuple[int, dict[str, Any]]:
    reply = client.post("/predict", json=body)
    return reply.status_code, reply.json()


def as_sent(answer: Answer | TextAnswer) -> dict[str, Any]:
    """What must arrive of an answer, to the last digit."""
    found = asdict(answer)
    if isinstance(answer, Answer):
        del found["logprobs"]
        found["answer"] = found.pop("text") if isinstance(answer, ChoiceAnswer) else None
        found["set"] = None if answer.set is None else list(answer.set)
    return found


@pytest.mark.parametrize("options", [{}, {"abstain_below": 0.4}, {"sets": 0.9}, {"sets": 0.8, "sets_by": "aps"}])
def test_answers_are_those_of_predict(
    specialists: dict[str, Specialist], client: httpx.Client, options: dict[str, Any]
) -> None:
    status, found = post(client, {"texts": [*TEXTS, FLAGGED], **options})
    assert status == 200, found
    expected = specialists["labels"].predict([*TEXTS, FLAGGED], **options)
    assert found["answers"] == [as_sent(answer) for answer in expected]
    assert found["model"] == "labels"
    assert found["engine"] == "torch"
    assert "no other engine" in found["engine_reason"]
    assert "not medical advice" in found["notice"]
    assert [bool(answer["referral"]) for answer in found["answers"]] == [False] * 12 + [True]
    named = post(client, {"inputs": [{"text": text} for text in [*TEXTS, FLAGGED]], **options})[1]
    assert named == found


@pytest.mark.parametrize("kind", ["fields", "choice", "writes"])
def test_every_kind_of_specialist_answers(specialists: dict[str, Specialist], kind: str) -> None:
    inputs: list[Any] = {
        "fields": [{"question": "Is it good?", "passage": text} for text in TEXTS],
        "choice": [QUESTION, {**QUESTION, "options": ["orders grew", "orders shrank", "the office is in Turku"]}],
        "writes": [{"text": TEXTS[0]}, {"text": FLAGGED}],
    }[kind]
    with served(specialists[kind]) as client:
        status, found = post(client, {"inputs": inputs})
        assert status == 200, found
        assert found["answers"] == [as_sent(answer) for answer in specialists[kind].predict(inputs)]
        about = client.get("/card").json()
        assert about["options"] is (kind == "choice")
        assert ('id="options"' in client.get("/").text) is (kind == "choice")
        assert post(client, about["example"])[0] == 200
        if kind == "writes":
            assert found["answers"][1]["answer"].startswith(found["answers"][1]["referral"])
            assert "carry no probability" in about["abstains"]
            for wrong in ({"sets": 0.9}, {"abstain_below": 0.5}):
                status, refused = post(client, {"texts": TEXTS[:1], **wrong})
                assert status == 422
                assert "written out" in refused["error"]["what"]
        elif kind == "choice":
            assert found["answers"][0]["answer"] in QUESTION["options"]
        else:
            assert "question, passage" in post(client, {"texts": ["one"]})[1]["error"]["what"]


def test_it_abstains_as_its_recipe_demanded_and_as_it_is_told(toy_base: Path, tmp_path: Path) -> None:
    free = Specialist.load(make(tmp_path / "free", toy_base, "labels")).predict(TEXTS)
    middle = sorted(answer.probability for answer in free if isinstance(answer, Answer))[6]
    specialist = Specialist.load(make(tmp_path / "bound", toy_base, "labels", threshold=middle))
    with served(specialist) as client:
        found = post(client, {"texts": TEXTS})[1]["answers"]
        assert [answer["abstained"] for answer in found] == [answer["probability"] < middle for answer in found]
        assert sum(answer["abstained"] for answer in found) == 6
        assert not any(a["abstained"] for a in post(client, {"texts": TEXTS, "abstain_below": 0})[1]["answers"])
        about = client.get("/card").json()
        assert about["demand"]["accuracy"] == 0.9
        assert "demanded an accuracy of 0.9" in about["abstains"]
    with served(specialist, abstain_below=1.0) as client:
        assert all(answer["abstained"] for answer in post(client, {"texts": TEXTS})[1]["answers"])
        assert not any(a["abstained"] for a in post(client, {"texts": TEXTS, "abstain_below": 0})[1]["answers"])
        assert "its server was started so" in client.get("/card").json()["abstains"]


class Slow:
    """Holds a specialist's answers back until it is let."""

    def __init__(self, specialist: Specialist, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let, self.begun, self.sizes = threading.Event(), threading.Event(), list[int]()
        predict = specialist.predict

        def slowly(texts: Any, **options: Any) -> Any:
            self.sizes.append(len(texts))
            self.begun.set()
            assert self.let.wait(20)
            return predict(texts, **options)

        monkeypatch.setattr(specialist, "predict", slowly)


def until_waiting(client: httpx.Client, count: int) -> None:
    for _ in range(2_000):
        if client.get("/health").json()["waiting"] == count:
            return
        time.sleep(0.01)
    pytest.fail(f"{count} texts never waited")


def test_requests_at_once_share_batches_and_get_their_own_answers(
    specialists: dict[str, Specialist], monkeypatch: pytest.MonkeyPatch
) -> None:
    specialist = specialists["labels"]
    alone = [as_sent(specialist.predict([text])[0]) for text in TEXTS]
    slow = Slow(specialist, monkeypatch)
    with served(specialist) as client, ThreadPoolExecutor(12) as pool:
        replies = [pool.submit(post, client, {"texts": TEXTS[:1]})]
        assert slow.begun.wait(20)
        replies += [pool.submit(post, client, {"texts": [text]}) for text in TEXTS[1:]]
        until_waiting(client, 11)
        slow.let.set()
        answers = [reply.result(20)[1]["answers"][0] for reply in replies]
        counts = client.get("/health").json()
        assert counts.pop("running") in (0, 11)  # the thread may not have come round again
        assert counts == {"status": "ok", "model": "labels", "waiting": 0, "answered": 12, "batches": 2}
    assert slow.sizes == [1, 11]
    assert answers[0] == alone[0]
    for answer, expected in zip(answers, alone, strict=True):
        assert answer["label"] == expected["label"]
        assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)


def test_too_many_and_too_slow_are_told_to_come_again(
    specialists: dict[str, Specialist], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(specialists["labels"], monkeypatch)
    with served(specialists["labels"], Limits(waiting=2, seconds=3)) as client, ThreadPoolExecutor(2) as pool:
        late = [pool.submit(client.post, "/predict", json={"texts": TEXTS[:1]})]
        assert slow.begun.wait(20)
        late.append(pool.submit(client.post, "/predict", json={"texts": TEXTS[:1]}))
        until_waiting(client, 1)
        reply = client.post("/predict", json={"texts": TEXTS[:2]})
        assert (reply.status_code, reply.json()["error"]["what"]) == (503, "too many texts wait already")
        assert int(reply.headers["retry-after"]) >= 1
        for reply in [one.result(20) for one in late]:
            assert reply.status_code == 503
            assert "too long" in reply.json()["error"]["what"]
            assert reply.headers["retry-after"]
        slow.let.set()
        assert post(client, {"texts": TEXTS[:1]})[0] == 200
    assert slow.sizes == [1, 1]  # what nobody waited for any more was not computed


def half_sent(client: httpx.Client, count: int) -> list[socket.socket]:
    """Connections with the beginning of a request's head."""
    url = client.base_url
    found = [socket.create_connection((url.host, url.port), timeout=20) for _ in range(count)]
    for one in found:
        one.sendall(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    return found


def test_half_sent_requests_keep_nobody_out_and_are_not_waited_for(specialists: dict[str, Specialist]) -> None:
    with served(specialists["labels"], Limits(head_seconds=0.6)) as client:
        assert post(client, {"texts": TEXTS[:1]})[0] == 200  # and its connection is kept
        many = half_sent(client, 210)
        assert post(client, {"texts": TEXTS[:1]})[0] == 200
        [late] = half_sent(client, 1)  # the first ones' time may be over on a busy machine
        late.settimeout(0.2)
        with pytest.raises(TimeoutError):  # not at once
            late.recv(1)
        late.close()
        many[1].sendall(b"X: drip\r\n")
        assert [one.recv(1) for one in many] == [b""] * 210
        for one in many:
            one.close()


def test_what_takes_longer_than_a_head_is_not_cut_off(
    specialists: dict[str, Specialist], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(specialists["labels"], monkeypatch)
    with served(specialists["labels"], Limits(head_seconds=0.3)) as client, ThreadPoolExecutor(1) as pool:
        reply = pool.submit(post, client, {"texts": TEXTS[:1]})
        assert slow.begun.wait(20)
        time.sleep(0.6)
        slow.let.set()
        assert reply.result(20)[0] == 200


def test_too_many_requests_at_once_are_told_to_come_again(
    specialists: dict[str, Specialist], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(specialists["labels"], monkeypatch)
    with served(specialists["labels"], Limits(requests=1)) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client, {"texts": TEXTS[:1]})
        assert slow.begun.wait(20)
        reply = client.post("/predict", json={"texts": TEXTS[:1]})
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
        assert reply.json()["error"]["what"] == "more than 1 requests are under way"
        slow.let.set()
        assert first.result(20)[0] == 200
        assert post(client, {"texts": TEXTS[:1]})[0] == 200


def test_one_blank_field_beside_a_filled_one_is_answered_as_by_predict(specialists: dict[str, Specialist]) -> None:
    inputs: list[Any] = [{"question": " ", "passage": TEXTS[0]}, {"question": "Is it good?", "passage": ""}]
    with served(specialists["fields"]) as client:
        status, found = post(client, {"inputs": inputs})
        assert status == 200, found
        assert found["answers"] == [as_sent(answer) for answer in specialists["fields"].predict(inputs)]
        status, found = post(client, {"inputs": [*inputs, {"question": "", "passage": " "}]})
        assert (status, found["error"]["what"], found["error"]["where"]) == (422, "the text is empty", "inputs[2]")
        assert "required" not in client.get("/").text


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("", 422, "is a JSON object"),
        ("{", 400, "not JSON"),
        ("[" * 19_000, 400, "JSON"),
        ("\xff", 400, "JSON"),
        ("[]", 422, "is a JSON object"),
        ("{}", 422, "texts or inputs"),
        ('{"texts": ["a"], "inputs": [{"text": "a"}]}', 422, "one of them"),
        ('{"texts": []}', 422, "no text"),
        ('{"texts": "a"}', 422, "valid list"),
        ('{"texts": ["a", 1]}', 422, "texts[1]"),
        ('{"texts": [null]}', 422, "texts[0]"),
        ('{"texts": ["a", " "]}', 422, "is empty"),
        ('{"texts": ["\\ud800"]}', 422, "half a character"),
        ('{"\\ud800": ["a"]}', 422, "is a JSON object"),
        ('{"text": ["a"]}', 422, "did you mean 'texts'"),
        ('{"inputs": [{"txt": "a"}]}', 422, "did you mean 'text'"),
        ('{"inputs": [{}]}', 422, "'text' is missing"),
        ('{"inputs": [{"text": ["a"]}]}', 422, "not a list"),
        ('{"inputs": [{"text": "a", "options": ["b", "c"]}]}', 422, "no field 'options'"),
        ('{"texts": ["a"], "abstain_below": NaN}', 422, "finite"),
        ('{"texts": ["a"], "abstain_below": 1e999}', 422, "finite"),
        ('{"texts": ["a"], "abstain_below": 1.5}', 422, "abstain_below"),
        ('{"texts": ["a"], "abstain_below": "0.5"}', 422, "abstain_below"),
        ('{"texts": ["a"], "sets": Infinity}', 422, "finite"),
        ('{"texts": ["a"], "sets": 0.123}', 422, "0.123"),
        ('{"texts": ["a"], "sets": 0.9, "sets_by": "best"}', 422, "sets_by"),
        (json.dumps({"texts": ["a"] * 17}), 413, "16 texts"),
        (json.dumps({"texts": ["a" * 2_001]}), 413, "2,000 characters"),
        (json.dumps({"texts": ["a" * 20_000]}), 413, "20,000 bytes"),
        ("x" * 1_900_000, 413, "20,000 bytes, this has 1,900,000"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_bad_requests_are_refused_in_words(client: httpx.Client, body: str, status: int, words: str) -> None:
    content = body.encode("latin-1")
    reply = client.post("/predict", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == status, reply.text
    assert set(reply.json()) == {"error"}
    assert words in " ".join(reply.json()["error"].values())
    assert "Traceback" not in reply.text
    assert len(reply.text) < 2_000


def test_who_asks_before_sending_too_much_is_answered_at_once(client: httpx.Client) -> None:
    url = client.base_url
    with socket.create_connection((url.host, url.port), timeout=10) as asked:
        head = f"Host: {url.host}:{url.port}\r\nContent-Type: application/json\r\nContent-Length: 900000000"
        asked.sendall(f"POST /predict HTTP/1.1\r\n{head}\r\nExpect: 100-continue\r\n\r\n".encode())
        with asked.makefile("rb") as file:
            reply = file.read().decode()
    assert reply.startswith("HTTP/1.1 413")
    assert "or several requests" in json.loads(reply.partition("\r\n\r\n")[2])["error"]["fix"]


def test_another_field_is_refused_with_those_that_are_read(specialists: dict[str, Specialist]) -> None:
    with served(specialists["choice"]) as client:
        status, found = post(client, {"inputs": [{"case": "Which?", "options": ["a", "b", "c"]}]})
    assert status == 422
    assert found["error"]["what"] == "there is no field 'case': this specialist reads question and options"
    assert '"options": ["option 1"' in found["error"]["fix"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (None, "'options' is missing"),
        ("a", "list of texts"),
        (["a", "a", "b"], "are the same"),
        (["a", " a ", "b"], "are the same"),
        (["a", "b"], "has 2 options"),
        (["a", "b", " "], "an option is empty"),
        ([], "0 options"),
    ],
)
def test_options_are_checked(specialists: dict[str, Specialist], options: Any, words: str) -> None:
    question: dict[str, Any] = {"question": "Which?"} | ({} if options is None else {"options": options})
    with served(specialists["choice"]) as client:
        status, found = post(client, {"inputs": [QUESTION, question]})
        assert status == 422
        assert words in found["error"]["what"]
        assert found["error"]["where"].startswith("inputs[1]")
        assert "row" not in found["error"].get("fix", "")  # a request is no table
        assert "options, not texts" in post(client, {"texts": ["Which?"]})[1]["error"]["what"]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from(["texts", "inputs", "abstain_below", "sets", "sets_by", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
            lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(["text", "y"]), part),
            max_leaves=6,
        ),
    )
)
def test_no_request_breaks_it(client: httpx.Client, body: dict[str, Any]) -> None:
    content = json.dumps(body)
    reply = client.post("/predict", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code in (200, 422), (content, reply.text)


def test_other_hosts_sites_and_ways_are_refused(client: httpx.Client) -> None:
    good = {"texts": TEXTS[:1]}
    for headers, status in (
        ({"Host": "evil.example"}, 421),
        ({"Host": f"evil.example:{client.base_url.port}"}, 421),
        ({"Host": "[::"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Host": f"localhost:{client.base_url.port}"}, 200),
        ({"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}, 200),
    ):
        reply = client.post("/predict", json=good, headers=headers)
        assert reply.status_code == status, headers
        assert not any(name.startswith("access-control") for name in reply.headers)
        assert reply.headers["cache-control"] == "no-store"
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert client.options("/predict", headers={"Origin": "http://evil.example"}).status_code == 405
    for path in ("/docs", "/redoc", "/nothing", "/../template.json"):
        assert client.get(path).status_code == 404
        assert client.get(path).json()["error"]["what"] == "there is no such page"
    assert client.get("/predict").status_code == 405


def test_a_failing_model_is_said_without_a_traceback(
    specialists: dict[str, Specialist], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(specialists["labels"].engine, "label_logprobs", lambda prompts: 1 / 0)
    with served(specialists["labels"]) as client:
        status, found = post(client, {"texts": TEXTS[:1]})
        assert (status, found["error"]["what"]) == (500, "the server failed at this request")
        monkeypatch.undo()
        assert post(client, {"texts": TEXTS[:1]})[0] == 200


def test_the_card_says_what_it_is_and_nothing_of_this_machine(
    specialists: dict[str, Specialist], client: httpx.Client
) -> None:
    reply = client.get("/card")
    about = reply.json()
    assert about["labels"] == specialists["labels"].labels
    assert about["fields"] == ["text"]
    assert about["base"]["name"] == specialists["labels"].bundle.base["name"]
    assert "no medical device" in about["intended_use"].replace("\n", " ")
    assert about["abstains"].startswith("never")
    assert about["limits"]["texts"] == 16
    assert post(client, about["example"])[0] == 200
    assert str(specialists["labels"].bundle.base["path"]) not in reply.text.replace(about["base"]["ref"], "")
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/card", "/health"}
    assert set(described["components"]["schemas"]) >= {"Ask", "Reply", "LabelAnswer", "WrittenAnswer"}


def test_the_page_is_whole_and_asks_no_other_server(client: httpx.Client) -> None:
    reply = client.get("/")
    page, policy = reply.text, reply.headers["content-security-policy"]
    nonce = re.search(r'<script nonce="([^"]+)"', page)
    assert nonce
    assert f"script-src 'nonce-{nonce[1]}'" in policy
    assert nonce[1] not in client.get("/").text
    assert "connect-src 'self'" in policy
    assert re.search(r"<textarea[^>]* required>", page)
    assert "not medical advice" in page
    assert "no medical" in page
    assert f"curl {client.base_url}predict" in page
    assert not re.search(r"\s(on\w+|style)=", page)
    assert "innerHTML" not in page
    assert not re.findall(r'(?:src|href)="(?!/card|/openapi.json|data:)', page)
