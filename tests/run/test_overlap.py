"""``metier overlap`` on texts made in the test: every kind of corpus, what is written, what is refused."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metier.corpus import folded
from metier.run import run as carry_out
from metier.run.curate import curate
from metier.run.overlap import overlap
from metier.run.overlap_corpus import Reading
from metier.run.overlap_items import Asked, Item, of_table, of_task
from metier.sources import write_table
from tests.corpus.prose import prose
from tests.run.test_curate import write_tokenizer
from tests.toy import sentences, write_recipe
from tests.toy import write_table as write_toy_table

Command = Callable[..., tuple[int, str, str]]
QUESTIONS = [prose(f"question {n}", 25 + 9 * n) for n in range(12)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def exam(path: Path, questions: list[str] = QUESTIONS) -> Path:
    write_table(
        path, [{"question": text, "options": prose(n, 20)} for n, text in enumerate(questions)], ["question", "options"]
    )
    return path


def search(questions: list[str], places: list[str], **options: Any) -> dict[str, Any]:
    asked = Asked("exam", "here", [Item(str(n), (text,)) for n, text in enumerate(questions)])
    return overlap([asked], places, Path("overlap.json"), **options)["tasks"]["exam"]


def test_a_corpus_of_every_format_from_the_command_line(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    planted = [f"{prose(f'b{n}', 60)} {text.upper()} {prose(f'a{n}', 60)}" for n, text in enumerate(QUESTIONS)]
    (folder / "a.txt").write_text(planted[0], "utf-8")
    (folder / "deep" / "b.md").write_text(planted[1], "latin-1")
    (folder / "c.jsonl").write_text(json.dumps({"id": 1, "chat": [{"say": planted[2]}], "n": None}) + "\n", "utf-8")
    (folder / "d.json").write_text(json.dumps([{"title": "x", "pages": [planted[3]]}]), "utf-8")
    write_table(folder / "e.csv", [{"one": "x", "two": planted[4]}], ["one", "two"])
    write_table(folder / "f.parquet", [{"one": "x", "two": planted[5]}], ["one", "two"])
    (folder / "g.txt.gz").write_bytes(gzip.compress(planted[6].encode()))
    (folder / "h.html").write_text(f"<html><body><p>{planted[7]}</p></body></html>", "utf-8")
    (folder / "none.txt").write_text(prose("options", 300) + prose(0, 20), "utf-8")  # the options are not looked for
    (folder / "empty.txt").write_text("", "utf-8")
    code, out, err = command(
        "overlap", "--in", exam(tmp_path / "exam.jsonl"), "--column", "question", "--corpus", folder
    )
    assert code == 0, err
    assert "searching" in err
    found = json.loads((tmp_path / "overlap.json").read_text())
    entry = found["tasks"]["exam"]
    assert {int(row["id"]) - 1 for row in entry["found"]} == set(range(8))
    assert entry["overlap"] == {
        "whole question": 8, "512 characters": sum(len(q) >= 512 for q in QUESTIONS[:8]), "120 characters": 8,
        "13 words": 8, "questions": 8, "documents": 8,
    }  # fmt: skip
    assert found["corpus"]["not_searched"] == {"empty": 1}
    assert found["corpus"]["documents"] == 9
    row = entry["found"][0]
    text = (folder / row["document"]).read_text()
    assert text[row["offset"] : row["offset"] + row["characters"]] == QUESTIONS[0].upper().rstrip(".")
    assert " ".join(QUESTIONS[0].upper().split()[:5]) in row["excerpt"]
    share = entry["definitions"]["13 words in a row or a shorter question whole"]["share"]
    assert (share["overlapping"], share["n"]) == (8, 12)
    assert share["value"] == pytest.approx(8 / 12)
    assert share["low"] < share["value"] < share["high"]
    assert "whole question or 512 characters" in out
    assert "not searched, empty: 1 of the files and rows" in out
    assert out.count("character ") == 5


def test_one_file_larger_than_a_piece_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded, "PIECE", 4000)
    monkeypatch.setattr("metier.run.overlap_corpus._BLOCK", 700)
    generator = random.Random(3)
    parts, places = [], []
    for number, text in enumerate(QUESTIONS):
        parts.append(prose(f"x{number}", generator.randrange(50, 900)) + "\n")
        places.append(sum(map(len, parts)))
        parts.append(text + "\n")
    (tmp_path / "book.txt").write_text("".join(parts), "utf-8")
    found = search(QUESTIONS, ["book.txt"])
    assert [row["offset"] for row in found["found"]] == places
    assert found["overlap"]["whole question"] == 12
    assert found["overlap"]["documents"] == 1
    assert all(row["documents"] == 1 for row in found["found"])


def test_lines_are_documents_and_a_question_over_two_of_them_is_in_neither(tmp_path: Path) -> None:
    first, second = QUESTIONS[1][:60], QUESTIONS[1][60:]
    (tmp_path / "lines.txt").write_text(f"{prose(1, 20)}\n{first}\n{second[:60]}\n{QUESTIONS[2]}\n", "utf-8")
    assert [row["id"] for row in search(QUESTIONS, ["lines.txt"], reading=Reading(split_on="line"))["found"]] == ["2"]
    assert [row["id"] for row in search(QUESTIONS, ["lines.txt"])["found"]] == ["1", "2"]


def test_short_questions_count_and_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{prose(1, 40)} What is anaemia? {prose(2, 40)}", "utf-8")
    found = search(["What is anaemia?", "What is gout?", "?", QUESTIONS[0]], ["a.txt"])
    assert (found["items"], found["looked_for"]) == (4, 3)
    for one in found["definitions"].values():
        assert (one["share"]["overlapping"], one["share"]["n"], one["only_short"]) == (1, 3, 1)
    assert found["found"][0]["overlaps_by"] == list(found["definitions"])  # file and table agree


def test_documents_are_counted_once_whatever_the_questions_lengths(tmp_path: Path) -> None:
    texts = [prose(number, words) for number, words in enumerate((5, 6, 7, 8, 60))]
    (tmp_path / "corpus").mkdir()
    for number in range(3):
        (tmp_path / "corpus" / f"{number}.txt").write_text(f"{number} " + f" and {number} then ".join(texts), "utf-8")
    entry = search(texts, ["corpus"])
    assert entry["overlap"]["documents"] == 3
    assert [row["documents"] for row in entry["found"]] == [3] * len(texts)


def test_an_item_of_several_fields_counts_once_and_a_name_beside_a_text_is_no_question(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"Acme Corp. {QUESTIONS[3]} {prose(2, 40)} {QUESTIONS[4]}", "utf-8")
    items = [Item("both", (QUESTIONS[3], QUESTIONS[4])), Item("name", ("Acme Corp", QUESTIONS[5])), Item("no", ("",))]
    found = overlap([Asked("t", "here", items)], ["a.txt"], Path("o.json"))["tasks"]["t"]
    assert found["overlap"]["whole question"] == found["overlap"]["questions"] == 1
    assert [(row["id"], row["documents"]) for row in found["found"]] == [("both", 1)]
    assert found["looked_for"] == 2


def test_what_was_curated_is_searched_without_duplicates_and_hold_outs(tmp_path: Path, command: Command) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "speeches").mkdir()
    texts = {n: f"{prose(f'a{n}', 80)} {text} {prose(f'b{n}', 80)}" for n, text in enumerate(QUESTIONS)}
    for n, text in texts.items():
        for copy in range(2):
            (tmp_path / "speeches" / f"{2010 + n}-01-01-{copy}.txt").write_text(text, "utf-8")
    hold_out = "hold_out: {share: 0, after: 2018-01-01}"
    Path("r.yaml").write_text(
        f"name: bank\ncorpus:\n  sources: [speeches]\n  tokenizer: tokenizer.json\n  {hold_out}\n"
    )
    curate(Path("r.yaml"), processes=1)
    found = search(QUESTIONS, ["runs/bank"])
    assert [int(row["id"]) for row in found["found"]] == list(range(8))
    assert all(row["documents"] == 1 for row in found["found"])
    next(Path("runs/bank/corpus/duplicates").rglob("*.npy")).unlink()
    code, _, err = command("overlap", "--in", exam(tmp_path / "e.csv"), "--column", "question", "--corpus", "runs/bank")
    assert code == 2
    assert "not all there" in err


def test_a_task_of_the_catalogue_and_a_recipes_task(tmp_path: Path, command: Command) -> None:
    starter = of_task("finance-starter", None, [], data_root=None, offline=True)
    text = starter.items[0].texts[0]
    (tmp_path / "a.txt").write_text(f"{prose(1, 40)} {text} {prose(2, 40)}", "utf-8")
    code, out, err = command("overlap", "--task", "finance-starter", "--corpus", "a.txt", "--json", "--offline")
    assert code == 0, err
    found = json.loads(out)["tasks"]["finance-starter"]
    assert starter.items[0].id in {row["id"] for row in found["found"]}
    assert found["items"] == len(starter.items)
    Path("r.yaml").write_text("name: r\ntask: {name: finance-starter}\nretention: null\n")
    code, out, err = command("overlap", "--recipe", "r.yaml", "--corpus", "a.txt", "--json", "--offline")
    assert code == 0, err
    assert json.loads(out)["tasks"]["finance-starter"]["items"] < len(starter.items)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--corpus", "a.txt"], "say what to look for"),
        (["--in", "exam.csv", "--task", "piqa", "--corpus", "a.txt"], "say what to look for"),
        (["--in", "exam.csv", "--column", "question"], "say where to look"),
        (["--in", "exam.csv", "--corpus", "a.txt"], "no column 'text'"),
        (["--in", "exam.csv", "--column", "qestion", "--corpus", "a.txt"], "did you mean 'question'?"),
        (["--in", "none.csv", "--column", "question", "--corpus", "a.txt"], "none.csv"),
        (["--in", "void.csv", "--column", "question", "--corpus", "a.txt"], "no question to look for"),
        (["--in", "exam.csv", "--column", "question", "--corpus", "b.txt"], "no file is named by 'b.txt'"),
        (["--in", "exam.csv", "--column", "question", "--corpus", "nothing"], "no file to read"),
        (["--in", "exam.csv", "--column", "question", "--corpus", "empty.txt"], "the corpus is empty: 1 empty"),
        (["--in", "exam.csv", "--column", "question", "--corpus", "bad.jsonl"], "bad.jsonl, line 2"),
        (["--in", "exam.csv", "--column", "question", "--corpus", "bad.parquet"], "bad.parquet"),
        (["--in", "exam.csv", "--column", "question", "--corpus", "good.jsonl", "--corpus-text", "x"], "no field 'x'"),
        (["--task", "medqu", "--corpus", "a.txt"], "there is no task 'medqu'"),
        (["runs/none", "--corpus", "a.txt"], "runs/none"),
        (["runs/none", "--column", "question", "--corpus", "a.txt"], "a run has its own inputs"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, command: Command, arguments: list[str], told: str) -> None:
    exam(tmp_path / "exam.csv")
    (tmp_path / "void.csv").write_text("question,n\n?,1\n…,2\n", "utf-8")
    (tmp_path / "a.txt").write_text(prose(1), "utf-8")
    (tmp_path / "empty.txt").write_text("", "utf-8")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "good.jsonl").write_text('{"text": "a"}\n', "utf-8")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n', "utf-8")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    code, _, err = command("overlap", *arguments)
    assert code == 2, err
    assert told in err
    assert not (tmp_path / "overlap.json").exists()


def test_a_table_is_read_as_elsewhere(tmp_path: Path) -> None:
    planted = f"{prose(1, 40)} {QUESTIONS[2]} {prose(2, 40)} {QUESTIONS[3]}"
    (tmp_path / "a.txt").write_text(planted, "utf-8")
    rows = [
        {"exam": {"question": QUESTIONS[2]}, "chat": [{"role": "user", "content": QUESTIONS[3]}]},
        {"exam": {"question": None}, "chat": None},
        {},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for column in ("exam.question", "chat"):
        asked = of_table("t.jsonl", [column], offline=True, options={})
        found = overlap([asked], ["a.txt"], Path("o.json"))["tasks"]["t"]
        assert (found["items"], found["looked_for"], found["overlap"]["whole question"]) == (3, 1, 1)


def test_inputs_of_another_test_set_are_looked_for_one_by_one(tmp_path: Path, toy_base: Path, command: Command) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra="measure: {systems: [majority]}\n")
    recipe.write_text(recipe.read_text().replace("text: sentence", "text: [sentence, firm]").replace("s: 3", "s: 1"))
    run = carry_out(recipe, out=tmp_path / "out")
    write_toy_table(tmp_path / "other.csv", 20, seed=7)
    arguments = ["--in", "other.csv", "--column", "sentence", "--column", "firm", "--gold", "mood", "--json"]
    code, out, err = command("evaluate", run, *arguments)
    assert code == 0, err
    scored = json.loads(out)["counts"]["scored"]
    (tmp_path / "a.txt").write_text("\n".join(text for text, _ in sentences(20, seed=7)), "utf-8")
    code, out, err = command("overlap", run, "--corpus", "a.txt", "--json")
    assert code == 0, err
    assert json.loads(out)["tasks"]["other"]["overlap"]["whole question"] == scored


def test_interrupted_it_writes_nothing(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.txt").write_text(QUESTIONS[0], "utf-8")
    monkeypatch.setattr("metier.run.overlap_corpus._blocks", stop)
    code, _, err = command("overlap", "--in", exam(tmp_path / "e.csv"), "--column", "question", "--corpus", "a.txt")
    assert code == 130
    assert "nothing was written" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "e.csv"]
