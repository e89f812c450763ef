from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.sources.document import read_documents
from metier.sources.posts import _day


def test_tables_of_several_kinds_become_documents_without_authors(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "Author,Title,Body,created_utc,permalink\njane_doe,Rally,Gold is up,1709510400,/u/jane_doe/1\n", "utf-8"
    )
    (tmp_path / "b.jsonl").write_text('{"user":"joe","text":"Down again","date":"2024-01-02T03:04:05Z"}\n', "utf-8")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.json").write_text(json.dumps([{"message": "flat", "author": "jim"}]), "utf-8")
    (tmp_path / "README.txt").write_text("by jane_doe", "utf-8")
    gold, down, flat = read_documents(f"posts:{tmp_path}")
    assert (gold.text, gold.title, gold.date) == ("Rally\n\nGold is up", "Rally", "2024-03-04")
    assert (gold.source, gold.domain, gold.licence) == (f"{tmp_path / 'a.csv'}#2", "social", "unknown")
    assert (down.text, down.date, flat.text, flat.date) == ("Down again", "2024-01-02", "flat", None)
    told = "".join(d.to_json() for d in (gold, down, flat))
    assert not any(name in told for name in ("jane_doe", "joe", "jim"))


def test_declared_columns_and_licence(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "a.csv").write_text("text,words,when\nid-7,Hello,2024-05-06\n", "utf-8")
    (only,) = read_documents(f"posts:{folder}?text=words&date=when&licence=CC-BY-4.0")
    assert (only.text, only.date, only.licence) == ("Hello", "2024-05-06", "CC-BY-4.0")
    with pytest.raises(MetierError, match=r"no column 'word'[\s\S]*a\.csv[\s\S]*did you mean 'words'"):
        list(read_documents(f"posts:{folder}?text=word"))
    with pytest.raises(MetierError, match=r"not a parameter: author=x"):
        read_documents(f"posts:{folder}?author=x")


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match="does not exist"):
        read_documents(f"posts:{tmp_path / 'none'}")
    with pytest.raises(MetierError, match="does not exist"):
        read_documents("posts:")
    with pytest.raises(MetierError, match="no export lies in the folder"):
        read_documents(f"posts:{tmp_path}")
    (tmp_path / "all.zip").write_bytes(b"")
    with pytest.raises(MetierError, match=r"unpack all\.zip first"):
        read_documents(f"posts:{tmp_path}")
    (tmp_path / "a.csv").write_text("id,author\n1,x\n", "utf-8")
    with pytest.raises(MetierError, match="a file, where a folder is needed"):
        read_documents(f"posts:{tmp_path / 'a.csv'}")
    with pytest.raises(
        MetierError, match=r"no column has a usual name[\s\S]*a\.csv[\s\S]*text=COLUMN, one of id, author"
    ):
        list(read_documents(f"posts:{tmp_path}"))
    (tmp_path / "a.csv").write_text("", "utf-8")
    with pytest.raises(MetierError, match=r"empty[\s\S]*a\.csv"):
        list(read_documents(f"posts:{tmp_path}"))


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xfcr.csv")).write_text("text\nHello\n", "utf-8")
    with pytest.raises(MetierError, match=r"name is not UTF-8[\s\S]*f\\xfcr\.csv[\s\S]*rename"):
        list(read_documents(f"posts:{tmp_path}"))


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31 23:59:00 UTC", "2024-01-31"),
        ("2024-01-31T23:59:00+09:00", "2024-01-31"),
        ("Wed Oct 10 20:19:24 +0000 2018", "2018-10-10"),
        ("Mon, 04 Mar 2024 10:00:00 GMT", "2024-03-04"),
        (1709510400, "2024-03-04"),
        (1709510400.5, "2024-03-04"),
        ("1709510400000", "2024-03-04"),
        ("20240304", "2024-03-04"),
        ("2024/03/04 10:00", "2024-03-04"),
        ("2024-3-4", "2024-03-04"),
        ("03/04/2024", None),
        ("2024-02-31", None),
        ("20241301", None),
        ("yesterday", None),
        ("2024", None),
        ("nan", None),
        ("1e300", None),
        (True, None),
        (None, None),
        ("", None),
    ],
)
def test_days(written: str | float | None, day: str | None) -> None:
    assert _day(written) == day
