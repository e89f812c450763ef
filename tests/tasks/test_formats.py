"""Readers of odd shapes, on small files of the same shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metier.errors import MetierError
from metier.tasks import Example, catalogue
from metier.tasks.formats import READERS


def read(reader: str, path: Path, **options: Any) -> list[Example]:
    return list(READERS[reader](path, path.name, options))


def options(name: str, place: str) -> dict[str, Any]:
    return next(source.options for source in catalogue.get(name).sources if source.where == place)


def dump(path: Path, value: Any) -> Path:
    lines = value if isinstance(value, list) and path.suffix == ".jsonl" else None
    path.write_text("\n".join(json.dumps(row) for row in lines) if lines else json.dumps(value))
    return path


def test_fiqa_has_an_example_for_each_target(tmp_path: Path) -> None:
    info = [{"target": "A", "sentiment_score": "0.5"}, {"target": "B", "sentiment_score": "-0.1001"}]
    more = {"sentence": "C flat", "info": [{"target": "C", "sentiment_score": "-0.1"}]}
    path = dump(tmp_path / "f.json", {"7": {"sentence": "A beats B", "info": info}, "9": more})
    found = read("fiqa", path, **options("fiqa-sentiment", "local"))
    assert [(e.inputs["target"], e.target) for e in found] == [("A", "positive"), ("B", "negative"), ("C", "neutral")]
    assert found[0].group == found[1].group != found[2].group
    with pytest.raises(MetierError, match="entry '1' is not FiQA's"):
        read("fiqa", dump(path, {"1": {"text": "x"}}), **options("fiqa-sentiment", "local"))


def test_boolq(tmp_path: Path) -> None:
    rows = [{"question": f"is it {i}", "passage": "It is 1.", "answer": str(i == 1)} for i in range(2)]
    found = read("boolq", dump(tmp_path / "b.jsonl", rows))
    assert [e.target for e in found] == ["no", "yes"]
    assert found[0].inputs["text"] == "It is 1.\nIs it 0?"
    with pytest.raises(MetierError, match="neither true nor false"):
        read("boolq", dump(tmp_path / "b.jsonl", [{"question": "q", "passage": "p"}]))


def test_lettered_options(tmp_path: Path) -> None:
    row = {"passage": "Tim ran.", "question": "Why?", "options": "\nA. a B. bus\nB. rain ", "answer": "B. rain "}
    found = read("lettered", dump(tmp_path / "l.jsonl", [row]))
    assert (found[0].inputs["text"], found[0].choices, found[0].target) == (
        "Tim ran. Why?",
        ("a B. bus", "rain"),
        "rain",
    )
    with pytest.raises(MetierError, match="cannot be read"):
        read("lettered", dump(tmp_path / "l.jsonl", [{**row, "answer": ""}]))


def test_numbered_choices(tmp_path: Path) -> None:
    text = "Please choose the correct answer to the question: What\nis it?\n\nAnswer1: a Answer2: b c"
    text += "\n\nAnswer format: answer1/answer2"
    found = read("numbered", dump(tmp_path / "n.json", [{"instruction": text, "answer": "answer2"}]))
    assert (found[0].inputs["text"], found[0].choices, found[0].target) == ("What is it?", ("a", "b c"), "b c")
    with pytest.raises(MetierError, match="cannot be read"):
        read("numbered", dump(tmp_path / "n.json", [{"instruction": text, "answer": "answer3"}]))


def test_arc(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = {"question": "Q?", "choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}, "answerKey": "3"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    found = read("arc", tmp_path / "a.parquet")
    assert (found[0].choices, found[0].target) == (("x", "y", "z"), "z")


def test_piqa_of_the_hub(tmp_path: Path) -> None:
    rows = [{"goal": "open  a jar", "sol1": "sing", "sol2": "twist", "label": i} for i in (0, 1)]
    found = read("table", dump(tmp_path / "p.jsonl", rows), **options("piqa", "hub"))
    assert [e.target for e in found] == ["sing", "twist"]
    assert found[0].inputs["text"] == "open a jar"


def test_wikitext_is_cut_at_titles(tmp_path: Path) -> None:
    path = tmp_path / "w.txt"
    path.write_bytes(b" \n = One = \r\n \n a b\n = = Part = = \r\n c\n = Two = \r\n d = e\n")
    found = read("wikitext", path, format="txt")
    assert [e.inputs["text"] for e in found] == ["= One =\na b\n= = Part = =\nc", "= Two =\nd = e"]
    assert [e.source_row for e in found] == ["w.txt:2", "w.txt:7"]


def test_distinct_passages(tmp_path: Path) -> None:
    rows = [{"passage": text, "question": str(i)} for i, text in enumerate(["a", "b", "a "])]
    found = read("distinct", dump(tmp_path / "d.jsonl", rows), **options("wikipedia-passages", "pypi"))
    assert [(e.inputs, e.target) for e in found] == [({"text": "a"}, ""), ({"text": "b"}, "")]


def test_drug_reviews_are_mended(tmp_path: Path) -> None:
    path = tmp_path / "d.tsv"
    path.write_text('\tdrugName\treview\trating\n12\tX\t"""I&#039;m  fine &amp; ""well"" """\tpositive\n')
    found = read("table", path, **options("drug-reviews", "local"))
    assert found[0].inputs["text"] == 'I\'m fine & "well"'
