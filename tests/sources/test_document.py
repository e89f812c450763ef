from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metier.cli import app
from metier.errors import MetierError
from metier.sources.collect import collect
from metier.sources.document import Document, read_documents


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    folder = tmp_path / "posts"
    folder.mkdir()
    rows = ["text,date", "One,2024-01-02", '" ",2024-01-03', "One ,2024-05-05", "Two,2023-12-31", "Three,"]
    (folder / "a.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


def test_a_document_has_a_real_day() -> None:
    made = Document("i", "t", "s", "d", "2024-02-29", "unknown")
    assert json.loads(made.to_json())["date"] == "2024-02-29"
    for day in ("2023-02-29", "20240229", "2024-2-1", ""):
        with pytest.raises(ValueError, match=r"."):
            Document("i", "t", "s", "d", day, "unknown")


def test_references(posts: Path) -> None:
    assert [d.domain for d in read_documents(f"posts:{posts}", limit=2, domain="finance")] == ["finance"] * 2
    with pytest.raises(MetierError, match=r"not a source of documents: 'edga:AAPL'[\s\S]*did you mean 'edgar'"):
        read_documents("edga:AAPL")
    with pytest.raises(MetierError, match="not a source of documents"):
        read_documents("rss")
    with pytest.raises(MetierError, match="a limit of 0"):
        read_documents(f"posts:{posts}", limit=0)


def test_what_is_collected_and_dropped(posts: Path, tmp_path: Path) -> None:
    out, shown = tmp_path / "out" / "documents.jsonl", list[int]()
    told = collect(f"posts:{posts}", out, progress=shown.append)
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["text"] for line in lines] == ["One", "Two", "Three"]
    assert set(lines[0]) == {"id", "text", "source", "domain", "date", "licence", "title", "meta"}
    assert told.dropped == {"empty text": 1, "same text as an earlier document": 1}
    assert (told.kept, told.undated, told.first, told.last) == (3, 1, "2023-12-31", "2024-01-02")
    assert shown == [1, 2, 3]
    assert collect(f"posts:{posts}", out, limit=2).kept == 2


def test_a_collection_that_fails_leaves_what_was_there(posts: Path, tmp_path: Path) -> None:
    out = tmp_path / "documents.jsonl"
    out.write_text("before", "utf-8")
    (posts / "b.csv").write_text("text\n1,2\n", "utf-8")
    with pytest.raises(MetierError, match=r"b\.csv"):
        collect(f"posts:{posts}", out)
    (posts / "b.csv").unlink()
    (posts / "a.csv").write_text("text\n \n", "utf-8")
    with pytest.raises(MetierError, match="no document to keep: 1 empty text"):
        collect(f"posts:{posts}", out)
    with pytest.raises(MetierError, match="JSON lines"):
        collect(f"posts:{posts}", tmp_path / "documents.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents.jsonl", "posts"]
    assert out.read_text("utf-8") == "before"


def test_the_verb(posts: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.jsonl"
    result = CliRunner().invoke(app, ["collect", f"posts:{posts}?licence=CC0", "--out", str(out), "--domain", "gold"])
    assert result.exit_code == 0, result.output
    assert f"{out}: 3 documents" in result.stdout
    assert "dates     2023-12-31 to 2024-01-02; 1 without a date" in result.stdout
    assert "licences  CC0 (3)" in result.stdout
    assert "dropped   1 empty text, 1 same text as an earlier document" in result.stdout
    assert json.loads(out.read_text("utf-8").splitlines()[0])["domain"] == "gold"


def test_the_verb_offline_and_without_identity(tmp_path: Path) -> None:
    pytest.importorskip("feedparser", reason="needs the extra: pip install 'metier[collect]'")
    command = [sys.executable, "-m", "metier.cli", "collect", "rss:http://127.0.0.1:9/feed", "--out", "d.jsonl"]
    run = subprocess.run([*command, "--offline"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "never fetched, and this run is offline" in run.stderr
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []
