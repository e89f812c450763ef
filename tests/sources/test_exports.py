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


def test_other_files_of_those_names_are_tables_and_a_broken_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('[{"text": "plain"}]', "utf-8")
    assert [document.text for document in posts(tmp_path)] == ["plain"]
    (tmp_path / "tweets.js").write_text("window.YTD.tweets.part0 = [", "utf-8")
    with pytest.raises(MetierError, match=r"not the posts of X's archive[\s\S]*tweets\.js"):
        posts(tmp_path)
