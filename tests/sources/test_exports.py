"""What platforms give their users of their own posts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.sources.document import Document, read_documents

TWEET = {
    "tweet": {
        "full_text": "$AAPL &amp; $MSFT up &lt;1%",
        "created_at": "Wed Oct 10 20:19:24 +0000 2018",
        "entities": {"user_mentions": [{"screen_name": "jane_doe"}]},
    }
}
OUTBOX = {
    "@context": "https://www.w3.org/ns/activitystreams",
    "type": "OrderedCollection",
    "orderedItems": [
        {"type": "Announce", "actor": "https://m/jane_doe", "object": "https://other/1"},
        {
            "type": "Create",
            "object": {"content": "<p>Rates &amp;amp; <b>up</b></p>", "published": "2023-02-01T10:00:00Z"},
        },
    ],
}
CHANNEL = {
    "name": "jane_doe",
    "messages": [
        {"id": 1, "type": "service", "actor": "jane_doe", "text": "", "date": "2024-03-01T08:00:00"},
        {"id": 2, "type": "message", "text": "BTC 60k", "from": "jane_doe", "date": "2024-03-01T09:00:00"},
        {
            "id": 3,
            "type": "message",
            "text": ["see ", {"type": "link", "text": "https://x"}],
            "date": "2024-03-02T09:00:00",
        },
    ],
}


PRIVATE = CHANNEL | {"type": "personal_chat", "messages": [CHANNEL["messages"][1] | {"text": "between us"}]}  # type: ignore[index]
STREAM = {
    "response": {"status": 200},
    "symbol": {"symbol": "AAPL"},
    "messages": [
        {"body": "$AAPL &#39;moon&#39;", "created_at": "2024-01-02T03:04:05Z", "user": {"username": "jane_doe"}}
    ],
}
LISTING = {
    "kind": "Listing",
    "data": {
        "after": None,
        "children": [
            {
                "kind": "t3",
                "data": {"title": "Title", "selftext": "Self", "created_utc": 1680000001.0, "author": "jane_doe"},
            },
            {"kind": "t3", "data": {"title": "Title only", "selftext": "[removed]", "created_utc": 1680000001.0}},
        ],
    },
}


def posts(folder: Path) -> list[Document]:
    found = list(read_documents(f"posts:{folder}"))
    assert "jane_doe" not in "".join(document.to_json().replace(str(folder), "") for document in found)
    return found


@pytest.mark.parametrize(
    ("name", "written", "expected"),
    [
        ("tweets.js", f"window.YTD.tweets.part0 = [{json.dumps(TWEET)}]", [("$AAPL & $MSFT up <1%", "2018-10-10")]),
        ("tweets.json", json.dumps([TWEET]), [("$AAPL &amp; $MSFT up &lt;1%", "2018-10-10")]),
        ("outbox.json", json.dumps(OUTBOX), [("Rates &amp; up", "2023-02-01")]),
        ("result.json", json.dumps(CHANNEL), [("BTC 60k", "2024-03-01"), ("see https://x", "2024-03-02")]),
        (
            "2023-11-14.json",
            '[{"user": "jane_doe", "text": "beat", "ts": "1700000000.0001"}]',
            [("beat", "2023-11-14")],
        ),
        (
            "all.json",
            json.dumps(
                {"about": "", "chats": {"list": [CHANNEL | {"type": "public_channel"}, PRIVATE, {"name": "x"}]}}
            ),
            [("BTC 60k", "2024-03-01"), ("see https://x", "2024-03-02")],
        ),
        ("stream.json", json.dumps(STREAM), [("$AAPL 'moon'", "2024-01-02")]),
        ("hot.json", json.dumps(LISTING), [("Title\n\nSelf", "2023-03-28"), ("Title only", "2023-03-28")]),
        ("chat.json", '{"messages": [{"text": "plain", "date": "2024/1/31"}]}', [("plain", "2024-01-31")]),
        (
            "S.csv",
            'Date,ShareCommentary\n2024-05-01,"One""\n""\n""Two, three"\n',
            [("One\n\nTwo, three", "2024-05-01")],
        ),
        ("Shares.csv", "Date,ShareLink,ShareCommentary\n2024-05-01 10:11:12,,Hiring\n", [("Hiring", "2024-05-01")]),
        ("c.jsonl", '{"body": "[deleted]", "created_utc": 1611759731, "author": "jane_doe"}\n', [("", "2021-01-27")]),
    ],
)
def test_a_platforms_own_export(tmp_path: Path, name: str, written: str, expected: list[tuple[str, str]]) -> None:
    (tmp_path / name).write_text(written, "utf-8")
    (tmp_path / "direct-messages.js").write_text("window.YTD.direct_messages.part0 = []", "utf-8")
    assert [(document.text, document.date) for document in posts(tmp_path)] == expected


def test_fields_inside_objects_can_be_declared_and_a_flat_one_comes_first(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps([{"quote": {"text": "old"}, "body": "new", "more": {"say": "x"}}]), "utf-8"
    )
    assert [document.text for document in posts(tmp_path)] == ["new"]
    assert [document.text for document in read_documents(f"posts:{tmp_path}?text=more.say")] == ["x"]


def test_half_of_a_character_is_left_out(tmp_path: Path) -> None:
    message = {"type": "message", "text": "up \ud83d", "date": "2024-01-02T03:04:05"}
    (tmp_path / "result.json").write_text(json.dumps({"messages": [message]}), "utf-8")
    (only,) = posts(tmp_path)
    assert only.text == "up"


def test_other_files_of_those_names_are_tables_and_a_broken_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('[{"text": "plain"}]', "utf-8")
    assert [document.text for document in posts(tmp_path)] == ["plain"]
    (tmp_path / "result.json").write_text("[" * 100_000, "utf-8")
    with pytest.raises(MetierError, match="nested too deeply"):
        posts(tmp_path)
    (tmp_path / "result.json").unlink()
    (tmp_path / "tweets.js").write_text("window.YTD.tweets.part0 = [", "utf-8")
    with pytest.raises(MetierError, match=r"not the posts of X's archive[\s\S]*tweets\.js"):
        posts(tmp_path)


def test_of_a_whole_archive_only_the_posts_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "outbox.json").write_text(json.dumps(OUTBOX), "utf-8")
    (tmp_path / "actor.json").write_text('{"type": "Person", "endpoints": {"a": "b"}}', "utf-8")
    (tmp_path / "likes.json").write_text('{"orderedItems": ["https://m/1"]}', "utf-8")
    (tmp_path / "votes.csv").write_text("id,direction\n1,up\n", "utf-8")
    (tmp_path / "~$open.xlsx").write_bytes(b"\0")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.json").write_text("[", "utf-8")
    (tmp_path / "more.zip").write_bytes(b"")
    assert [document.text for document in posts(tmp_path)] == ["Rates &amp; up"]
    told = [message.partition(": ")[0].removeprefix(f"{tmp_path}/") for message in caplog.messages]
    assert told == ["more.zip is left out", "actor.json is left out", "votes.csv is left out"]
