"""What a chain of retrieval looks things up in: documents, or a corpus that was curated."""

from __future__ import annotations

from pathlib import Path

import pytest

from metier.corpus.shards import ShardWriter
from metier.errors import MetierError
from metier.models.load import load_tokenizer
from metier.run.library import load_library


def test_documents_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("One two.\n\nThree four.\n")
    (tmp_path / "docs" / "b.jsonl").write_text('{"text": "Five."}\n')
    whole = load_library("docs", [tmp_path])
    assert [p.text for p in whole] == ["One two. Three four.", "Five."]
    cut = load_library("docs", [tmp_path], split_on="blank-line")
    assert [p.text for p in cut] == ["One two.", "Three four.", "Five."]
    assert len({p.id for p in cut}) == 3
    with pytest.raises(MetierError, match="no file is named"):
        load_library("elsewhere", [tmp_path])
    (tmp_path / "empty.txt").write_text("  \n")
    with pytest.raises(MetierError, match="no text to look things up"):
        load_library("empty.txt", [tmp_path])


def test_fields_of_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("heading,summary,year\nOne,Two three.,1999\n")
    with pytest.raises(MetierError, match="which field holds the text"):
        load_library("a.csv", [tmp_path])
    assert [p.text for p in load_library("a.csv", [tmp_path], text=["heading", "summary"])] == ["One Two three."]
    assert [p.text for p in load_library("a.csv", [tmp_path], text="summary")] == ["Two three."]


def test_a_curated_corpus_is_read_out_of_its_tokens(tmp_path: Path, toy_base: Path) -> None:
    tokenizer = load_tokenizer(toy_base)
    (tmp_path / "recipe.yaml").write_text(f"name: c\ncorpus: {{sources: [x.txt], tokenizer: {toy_base}}}\n")
    folder = tmp_path / "corpus" / "tokens" / "train" / "news"
    with ShardWriter(folder, vocabulary=len(tokenizer), end=0, tokenizer_sha256="") as shards:
        for name in ("one", "two"):
            text = f"Alma: profit rose, number {name}"
            shards.add(tokenizer.encode(text, add_special_tokens=False), id=name, bytes=len(text))
    assert [(p.id, p.text) for p in load_library(str(tmp_path), [Path()])] == [
        ("one#0", "Alma: profit rose, number one"),
        ("two#0", "Alma: profit rose, number two"),
    ]
