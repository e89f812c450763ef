"""The verbs of tokenizers, from files to folders, and what is asked wrongly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from metier.files import sha256_file
from metier.run.texts import find_sources
from metier.sources import write_table
from tests.tokenization.corpus import texts

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "news.txt").write_text("".join(texts(300)), encoding="utf-8")
    write_table(folder / "filings.jsonl", [{"body": text} for text in texts(100, seed=1)], ["body"])
    return folder


def test_texts_of_files_folders_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "in" / "b.md").write_text("three\nfour\n\nfive\n")
    (tmp_path / "in" / "c.csv").write_text("text,n\nsix,1\n,2\n")
    (tmp_path / "in" / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "in" / ".draft.txt").write_text("hidden\n")
    whole, part, named = find_sources([str(tmp_path), str(tmp_path / "*.txt"), f"x={tmp_path / 'in'}"])
    assert list(part.texts()) == ["one\n", "two\n"]
    assert list(named.texts()) == ["three\nfour\n", "five\n", "six"]
    assert list(whole.texts()) == [*part.texts(), *named.texts()]
    assert named.name == "x"
    assert [file.name for file in named.others] == ["picture.png"]


def test_train_writes_what_it_was_made_from(corpus: Path, tmp_path: Path, command: Run) -> None:
    arguments = ["tokenizer", "train", corpus / "news.txt", "--vocab-size", "400", "--part-bytes", "10000", "--out"]
    code, out, err = command(*arguments, tmp_path / "one")
    assert code == 0, err
    assert "400 tokens" in out
    record = json.loads((tmp_path / "one" / "training.json").read_text())
    assert record["settings"]["kind"] == "unigram-split"
    assert (record["texts"], record["vocab_size"]) == (300, 400)
    assert record["bytes"] == (corpus / "news.txt").stat().st_size
    assert record["sources"][0]["files"][0]["sha256"] == sha256_file(corpus / "news.txt")
    assert record["tokenizer_sha256"] == sha256_file(tmp_path / "one" / "tokenizer.json")
    assert command(*arguments, tmp_path / "two")[0] == 0
    for name in ("tokenizer.json", "tokenizer_config.json", "training.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert len(AutoTokenizer.from_pretrained(tmp_path / "one")) == 400


def test_a_size_is_chosen_on_texts_kept_aside(corpus: Path, tmp_path: Path, command: Run) -> None:
    arguments = ["tokenizer", "train", corpus / "news.txt", "--kind", "bpe", "--sizes", "280,330,400"]
    code, out, err = command(*arguments, "--out", tmp_path / "out", "--json")
    assert code == 0, err
    record = json.loads(out)
    assert [one["vocabulary"] for one in record["sizes"]] == [280, 330, 400]
    assert record["vocab_size"] == min(record["sizes"], key=lambda one: one["bits"])["vocabulary"]
    assert record["texts"] == 285
    svg = (tmp_path / "out" / "sizes.svg").read_text()
    assert "<svg" in svg
    code, out, err = command(*arguments, "--out", tmp_path / "out")  # its own folder may be written again
    assert code == 0, err
    assert "least" in out
    assert (tmp_path / "out" / "sizes.svg").read_text() == svg


def test_files_without_text_are_skipped_and_counted(corpus: Path, tmp_path: Path, toy_base: Path, command: Run) -> None:
    (corpus / "filings.jsonl").unlink()
    (corpus / "binary.txt").write_bytes(b"\x00\x01\x02" * 50)
    (corpus / "empty.md").write_bytes(b"")
    (corpus / "page.html").write_text("<p>a page</p>")
    code, out, err = command("tokenizer", "compare", corpus, "-t", toy_base / "tokenizer.json", "--json")
    assert code == 0, err
    assert json.loads(out)["base"]["corpus"]["documents"] == 300
    assert "corpus: 2 files hold no text and are skipped, such as binary.txt" in err
    assert "corpus: 1 files are of another format and are left out, such as page.html" in err
    code, _, err = command("tokenizer", "compare", corpus / "binary.txt", "-t", toy_base / "tokenizer.json")
    assert code == 2
    assert "NUL byte" in err


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("odd.dat", b"a text\n", "pattern with .txt"),
        (
            "ragged.csv",
            b"text,n\na,1\nb, c, d\n",
            "put fields that hold the delimiter or a line break in double quotes",
        ),
        ("utf16.csv", "text\na\n".encode("utf-16-le"), "fix:   remove it\n"),
    ],
)
def test_no_advice_speaks_of_options_that_are_not_there(
    tmp_path: Path, toy_base: Path, command: Run, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    code, _, err = command("tokenizer", "compare", tmp_path / name, "-t", toy_base / "tokenizer.json")
    assert code == 2
    assert says in err
    assert "declare" not in err
    assert "rsplit" not in err


def test_a_table_without_the_column_is_told_before_anything_is_learnt(
    corpus: Path, tmp_path: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(corpus / "zz.jsonl", [{"other": "a text"}], ["other"])
    monkeypatch.setattr("metier.run.tokenizer.train_on", lambda *_, **__: pytest.fail("it was trained on the others"))
    code, _, err = command("tokenizer", "train", corpus, "--column", "body", "--out", tmp_path / "out")
    assert code == 2
    assert "no column 'body'" in err
    assert "zz.jsonl" in err


def test_compare_by_source(corpus: Path, tmp_path: Path, toy_base: Path, command: Run) -> None:
    assert command("tokenizer", "train", corpus / "news.txt", "--vocab-size", "400", "--out", tmp_path / "ours")[0] == 0
    arguments = ["tokenizer", "compare", f"news={corpus / 'news.txt'}", corpus / "filings.jsonl", "--column", "body",
                 "-t", tmp_path / "ours", "-t", toy_base / "tokenizer.json"]  # fmt: skip
    code, _, err = command(*arguments, "--plot", tmp_path / "plot.pdf")
    assert (code, "written as SVG" in err) == (2, True)
    code, out, err = command(*arguments, "--json", "--plot", tmp_path / "plot.svg")
    assert code == 0, err
    found = json.loads(out)
    assert set(found) == {"ours", "base"}
    assert set(found["ours"]) == {"news", "filings"}
    entry = found["ours"]["news"]
    assert entry["documents"] == 300
    assert entry["bytes_per_token"]["value"] == pytest.approx(entry["bytes"] / entry["tokens"])
    assert entry["tokens_per_word"]["value"] == pytest.approx(entry["tokens"] / entry["words"])
    assert entry["bytes_per_token"]["low"] < entry["bytes_per_token"]["value"] < entry["bytes_per_token"]["high"]
    assert entry["bytes_per_token"]["value"] > 2 * found["base"]["news"]["bytes_per_token"]["value"]
    assert found["base"]["news"]["stray_share"]["value"] > 0
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    code, out, err = command(*arguments)
    assert code == 0, err
    assert "bytes per token" in out


def test_extend_a_tied_base(corpus: Path, tmp_path: Path, toy_base: Path, command: Run) -> None:
    arguments = ["tokenizer", "extend", toy_base, corpus / "news.txt", "--terms", "20", "--documents", "30"]
    code, out, err = command(*arguments, "--out", tmp_path / "wide", "--json")
    assert code == 0, err
    assert "modules_to_save" in err
    record = json.loads(out)
    assert record == json.loads((tmp_path / "wide" / "extension.json").read_text())
    assert len(record["terms"]) == 20
    assert record["tokens"]["after"] < 0.7 * record["tokens"]["before"]
    assert {"before", "after", "difference"} == set(record["bits_per_byte"])
    assert record["bits_per_byte"]["before"]["n"] == 30
    model, tokenizer = (auto.from_pretrained(tmp_path / "wide") for auto in (AutoModelForCausalLM, AutoTokenizer))
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.config.vocab_size == len(tokenizer) == record["vocab_size"]
    assert not list((tmp_path / "wide").glob("*.bin"))
    first = record["terms"][0]["text"]
    assert len(tokenizer.encode(first, add_special_tokens=False)) == 1
    assert command("tokenizer", "compare", corpus / "news.txt", "-t", tmp_path / "wide")[0] == 0


def test_extend_with_terms_of_ones_own(corpus: Path, tmp_path: Path, toy_base: Path, command: Run) -> None:
    (tmp_path / "terms.txt").write_text("goodwill\ninterest rate swap\n")
    arguments = ["tokenizer", "extend", toy_base, corpus / "news.txt", "--list", tmp_path / "terms.txt"]
    code, out, err = command(*arguments, "--documents", "20", "--out", tmp_path / "wide")
    assert code == 0, err
    assert "4 terms added" in out
    assert "difference" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "NEWS", "--out", "OUT", "--vocab-size", "90000"], "largest possible is"),
        (["train", "NEWS", "--out", "OUT", "--vocab-size", "90000", "--kind", "bpe"], "largest possible is"),
        (["train", "NEWS", "--out", "OUT", "--vocab-size", "100"], "--vocab-size"),
        (["train", "NEWS", "--out", "OUT", "--vocab-size", "100"], "expected 257 or more, found 100"),
        (["train", "NEWS", "--out", "OUT", "--sizes", "300"], "expected at least 2 entries, found [300]"),
        (["train", "NEWS", "--out", "OUT", "--kind", "wordpiece"], "--kind"),
        (["train", "NEWS", "--out", "OUT", "--sizes", "a,b"], "whole numbers"),
        (["train", "NEWS", "--out", "OUT", "--sizes", "300,100"], "257 or more"),
        (["train", "nowhere/*.txt", "--out", "OUT"], "nowhere"),
        (["train", "EMPTY", "--out", "OUT"], "empty.txt"),
        (["train", "BLANK", "--out", "OUT"], "no text"),
        (["train", "BINARY", "--out", "OUT"], "binary.txt"),
        (["train", "FILINGS", "--out", "OUT"], "no column 'text'"),
        (["train", "NEWS", "--out", "TAKEN"], "already"),
        (["compare", "NEWS", "-t", "smollm2-135m-instrukt"], "did you mean 'smollm2-135m-instruct'"),
        (["compare", "NEWS", "-t", "CORPUS"], "no tokenizer.json"),
        (["compare", "NEWS", "NEWS", "-t", "BASE"], "two sources"),
        (["compare", "NEWS", "-t", "BASE", "-t", "BASE"], "two tokenizers"),
        (["extend", "nothing", "NEWS", "--out", "OUT"], "no base 'nothing'"),
        (["extend", "BASE", "NEWS", "--out", "OUT", "--documents", "200"], "too few"),
        (["extend", "BASE", "NEWS", "--out", "OUT", "--min-count", "100000"], "--min-count"),
    ],
)
def test_what_is_asked_wrongly(
    corpus: Path, tmp_path: Path, toy_base: Path, command: Run, arguments: list[str], told: str
) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text("\n  \n")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    named = {"NEWS": corpus / "news.txt", "FILINGS": corpus / "filings.jsonl", "OUT": tmp_path / "out",
             "EMPTY": tmp_path / "empty.txt", "BLANK": tmp_path / "blank.txt", "BINARY": tmp_path / "binary.txt",
             "TAKEN": tmp_path / "taken", "BASE": toy_base, "CORPUS": corpus}  # fmt: skip
    code, out, err = command("tokenizer", *(str(named.get(part, part)) for part in arguments))
    assert (code, out) == (2, "")
    assert told in err
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "taken" / "mine.txt").read_text() == "mine"
    shutil.rmtree(tmp_path / "taken")
