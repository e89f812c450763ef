"""A user's own table: what it becomes, and what is said of what is wrong with it."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from metier.errors import MetierError
from metier.sources import Lock, write_table
from metier.tasks import from_table, messages

GOOD = [{"text": "Sales rose", "label": "up"}, {"text": "Sales fell", "label": "down"}]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    write_table(path, rows, list(rows[0]))
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet", "xlsx", "csv.gz", "jsonl.zst"])
def test_every_format(tmp_path: Path, suffix: str) -> None:
    lock = Lock()
    loaded = from_table("own", write(tmp_path / f"t.{suffix}", GOOD), lock=lock)
    assert [(e.inputs, e.target) for e in loaded.examples] == [
        ({"text": "Sales rose"}, "up"),
        ({"text": "Sales fell"}, "down"),
    ]
    assert loaded.task.labels == ["down", "up"]
    assert loaded.examples[0].source_row.startswith(f"t.{suffix}:")
    assert loaded.warnings == []
    assert len(lock.entries()) == 1


def test_declared_encoding_delimiter_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("Satz;Urteil;Fall\nUmsätze gestiegen; Gut ;A-1\nUmsätze gefallen;schlecht;a 1\n".encode("latin-1"))
    loaded = from_table(
        "own", path, text="Satz", label="Urteil", labels=["schlecht", "gut"], group="Fall", encoding="latin-1"
    )
    assert [e.target for e in loaded.examples] == ["gut", "schlecht"]
    assert loaded.examples[0].group == loaded.examples[1].group
    assert loaded.task.labels == ["schlecht", "gut"]
    assert loaded.warnings == ["1 rows labelled 'Gut' are read as 'gut'"]


def test_numbers_as_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "t.xlsx", [{"text": f"t{i}", "label": i % 3 * 5} for i in range(9)])
    loaded = from_table("own", path)
    assert loaded.task.labels == ["0", "5", "10"]
    assert "bare numbers (0, 5, 10)" in loaded.warnings[0]
    assert "add a label_map" in loaded.warnings[0]
    named = from_table("own", path, label_map={"0": "bad", "5": "fair", "10": "good"})
    assert named.task.labels == ["bad", "fair", "good"]
    assert named.warnings == []


def test_a_label_map_the_wrong_way_round_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": f"t{i}", "label": i % 2} for i in range(9)])
    loaded = from_table("own", path, label_map={"down": "0", "up": "1"})
    assert "from number to name, {0: down, 1: up}" in loaded.warnings[0]


def test_thresholds(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [{"text": f"t{s}", "label": s} for s in (-0.5, -0.1, 0.0, 0.1, 0.9)])
    loaded = from_table("own", path, thresholds=[(-0.1, "negative"), (0.1, "neutral"), (math.inf, "positive")])
    assert [e.target for e in loaded.examples] == ["negative", "neutral", "neutral", "positive", "positive"]
    assert loaded.task.labels == ["negative", "neutral", "positive"]


def test_several_columns(tmp_path: Path) -> None:
    rows = [
        {"The title": f"T{i}", "body": "same" if i < 2 else f"b{i}", "age": i, "label": "ab"[i % 2]} for i in range(4)
    ]
    loaded = from_table("own", write(tmp_path / "t.jsonl", rows), text=["The title", "body", "age"])
    assert messages(loaded.task, loaded.examples[0].inputs)[-1]["content"] == "The title: T0\nBody: same\nAge: 0"
    assert "2 rows share their 'body'" in loaded.warnings[0]


def test_a_column_that_the_prompt_does_not_show_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"title": f"T{n}", "body": f"B{n}", "label": "ab"[n % 2]} for n in range(9)])
    told = from_table("own", path, text=["title", "body"], instruction="About {title}:").warnings
    assert told == [
        "the prompt does not show column 'body', which is named under text: write {body} in the instruction"
    ]
    for shown in (None, "Which?", "About {title}: {body}"):
        assert from_table("own", path, text=["title", "body"], instruction=shown).warnings == []


def test_the_prompt_names_the_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", GOOD)
    assert messages(from_table("own", path).task, {"text": "x"})[0]["content"].endswith("one word: down or up.")
    own = from_table("own", path, instruction="Up or down?")
    assert messages(own.task, {"text": "x"}) == [
        {"role": "system", "content": "Up or down?"},
        {"role": "user", "content": "x"},
    ]


def test_ids_follow_what_rows_say_and_stay_unique(tmp_path: Path) -> None:
    rows = [*GOOD, GOOD[0], {"text": "Other", "label": "up"}]
    one = from_table("own", write(tmp_path / "a.csv", rows)).examples
    other = from_table("own", write(tmp_path / "b.csv", rows[::-1])).examples
    assert {e.id for e in one} == {e.id for e in other}
    assert len({e.id for e in one}) == 4
    named = [{"n": "x1", **GOOD[0]}, {"n": "x2", **GOOD[1]}]
    assert [e.id for e in from_table("own", write(tmp_path / "c.csv", named), id="n").examples] == ["x1", "x2"]


def table(**columns: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


FAULTS: list[tuple[list[dict[str, Any]], dict[str, Any], str, str]] = [
    (GOOD, {"text": "txt"}, "no column 'txt'", "did you mean 'text'?"),
    (GOOD, {"group": "firm"}, "no column 'firm'", "the file's columns: text, label"),
    (table(text=["a", "", " ", "b"], label=["x", "y", "x", "y"]), {}, "the text is empty in 2 rows", "fill these rows"),
    (table(text=["a", "b", "c"], label=["x", "", "y"]), {}, "the label is empty", "label these rows"),
    (table(text=["a", "b", "c"], label=["up", "dwn", "up"]), {"labels": ["up", "down"]}, "'dwn'", "mean 'down'?"),
    (table(text=["a", "b"], label=["x", "x"]), {}, "all 2 rows have the label 'x'", "two classes"),
    (table(text=["a", "b"], label=["x", "X"]), {}, "differ only in letter case", "labels: [x]"),
    (
        table(text=[f"t{i}" for i in range(60)], label=[f"word {i}" for i in range(60)]),
        {},
        "60 different labels",
        "column",
    ),
    (
        table(text=[f"t{i}" for i in range(60)], label=[i / 7 for i in range(60)]),
        {},
        "60 different labels",
        "thresholds",
    ),
    (table(text=[1.5, 2.5], label=["x", "y"]), {}, "a cell is not text in 2 rows: found 1.5", "format the column"),
    (table(text=["a", "b"], label=["0.5", "n/a"]), {"thresholds": [(0, "x"), (math.inf, "y")]}, "'n/a'", "numbers"),
    (GOOD, {"thresholds": [(0, "x"), (1, "y")]}, "the last bound must be .inf", "rising bounds"),
    (GOOD, {"thresholds": [(1, "x"), (0, "y"), (math.inf, "z")]}, "must rise", "rising bounds"),
    (GOOD, {"thresholds": [(float("nan"), "x"), (0, "y"), (math.inf, "z")]}, "must rise", "rising bounds"),
    (GOOD, {"labels": ["up", "down"], "label_map": {"1": "upp"}}, "'upp' is made but not declared", "mean 'up'?"),
    (GOOD, {"labels": ["up"]}, "at least two labels", ""),
    (GOOD, {"instruction": "Well?\n{body}"}, "names the field {body}", "{text}"),
    (table(text=["a", "b"], label=["x", "y"], n=["1", "1"]), {"id": "n"}, "an id is used twice: found '1'", "unique"),
    (
        table(text=["a", "b"], label=["x", "y"], s=["train", "tset"]),
        {"split": "s"},
        "unknown split: found 'tset'",
        "test",
    ),
    (table(text=["a", "b"], label=[["x", "y"], ["x"]]), {}, "the label is a list of labels in 2 rows", "one label"),
    (
        table(text=["a", "b"], label=["0.5", "1"]),
        {"label_map": {"0": "bad", "1": "good"}},
        "unknown label: found '0.5'",
        "known: 0, 1, bad, good",
    ),
    (
        table(text=["a"], label=[[{"role": "user", "content": "Well?"}, {"role": "assistant", "content": "Yes."}]]),
        {"kind": "generation", "instruction": "Go on."},
        "a label is a dialogue",
        "the one answer",
    ),
    (GOOD, {"kind": "generation"}, "needs an instruction", "'Answer the question in one sentence.'"),
    (GOOD, {"kind": "extraction"}, "needs an instruction", "'List the companies as ORG: name"),
    (GOOD, {"text": []}, "no text column", "at least one"),
    (GOOD, {"label": "text"}, "'text' is both text and label", "the answers under label"),
    (GOOD, {"text": "text", "label": "text", "kind": "generation", "instruction": "Go on."}, "no dialogue", "messages"),
    (
        [{"chat": "Patient: I cough.\nDoctor: Rest."}],
        {"text": "chat", "kind": "generation", "instruction": "Go on."},
        "no column 'label', which would hold the answers",
        "write `label: chat` (--gold chat)",
    ),
    (
        [{"chat": "I cough.", "reply": "Rest."}],
        {"text": "chat", "kind": "generation", "instruction": "Go on."},
        "no column 'label', which would hold the answers",
        "the file's columns: chat, reply",
    ),
]


@pytest.mark.parametrize(("rows", "options", "said", "fix"), FAULTS, ids=[fault[2][:30] for fault in FAULTS])
def test_faults(tmp_path: Path, rows: list[dict[str, Any]], options: dict[str, Any], said: str, fix: str) -> None:
    path = write(tmp_path / "t.jsonl", rows)
    with pytest.raises(MetierError) as error:
        from_table("own", path, **options)
    assert said in error.value.what
    assert fix in str(error.value.fix)


def test_several_labels_in_a_cell_are_told(tmp_path: Path) -> None:
    rows = table(text=list("abc"), label=["rates", "credit", "rates; credit"])
    [told] = from_table("own", write(tmp_path / "t.jsonl", rows)).warnings
    assert told.startswith("'rates; credit' is learnt as a class of its own")
    plain = table(text=list("ab"), label=["yes, but", "no"])
    assert from_table("own", write(tmp_path / "u.jsonl", plain)).warnings == []


def test_a_fault_names_file_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"{'' if i > 3 else 'x'},y\n" for i in range(12)))
    with pytest.raises(MetierError) as error:
        from_table("own", path)
    assert error.value.what == "the text is empty in 8 rows"
    assert error.value.where == "t.csv, rows 6, 7, 8, 9, 10, …, column 'text'"


def test_json_rows_may_lack_a_field_that_others_have(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [{"text": "a", "label": "x"}, {**GOOD[0], "g": "1"}]))
    assert [e.group for e in from_table("own", path, group="g").examples] == [None, "1"]


CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "My head\naches."}]
CHAT += [{"role": "assistant", "content": "Since when?"}, {"role": "patient", "content": "Today."}]


def test_dialogues_and_lists_are_read_as_lines(tmp_path: Path) -> None:
    other = [{"from": "human", "value": "I cough."}, {"from": "gpt", "value": "Rest."}]
    rows = [{"text": CHAT, "label": "head"}, {"text": json.dumps(other), "label": "lung"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    loaded = from_table("own", tmp_path / "t.jsonl")
    assert [e.inputs["text"] for e in loaded.examples] == [
        "System: Be kind.\nUser: My head\n  aches.\nAssistant: Since when?\nPatient: Today.",
        "User: I cough.\nAssistant: Rest.",
    ]
    assert loaded.warnings == [
        "column 'text' holds dialogues: each is read as its turns, each on a line of its own, further lines indented"
    ]
    assert not loaded.task.reading.answered
    rows = [{"text": ["It hurts.", "Much."], "label": "a"}, {"text": "[sic] fine", "label": "b"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    loaded = from_table("own", tmp_path / "t.jsonl")
    assert [e.inputs["text"] for e in loaded.examples] == ["It hurts.\nMuch.", "[sic] fine"]
    assert loaded.warnings == ["column 'text' holds lists of texts: each is read as its texts, one a line"]


def test_the_last_answer_of_a_dialogue_is_learnt_from_what_was_said_before(tmp_path: Path) -> None:
    rows = [{"m": [{"role": "Patient", "content": "I cough."}, {"role": "doctor", "content": "Rest."}]}, {"m": CHAT}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    loaded = from_table("own", tmp_path / "t.jsonl", text="m", label="m", kind="generation", instruction="Answer.")
    assert [(e.inputs["text"], e.target) for e in loaded.examples] == [
        ("Patient: I cough.", "Rest."),
        ("System: Be kind.\nUser: My head\n  aches.", "Since when?"),
    ]
    assert loaded.task.reading.answered
    assert loaded.warnings == ["column 'm' holds dialogues: the last turn of the assistant or doctor is the answer"]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, [rows[0], {"m": CHAT[:2]}])))
    with pytest.raises(MetierError, match=r"no dialogue[\s\S]*row 2, column 'm'"):
        from_table("own", tmp_path / "t.jsonl", text="m", label="m", kind="generation", instruction="Answer.")


def test_a_lone_message_is_what_it_says(tmp_path: Path) -> None:
    code = "def f():\n\n    return 1"
    rows = [{"p": [{"role": "user", "content": "Write f."}], "c": [{"role": "assistant", "content": f" {code}\n"}]}]
    path = write(tmp_path / "t.jsonl", rows)
    loaded = from_table("own", path, text="p", label="c", kind="generation", instruction="Answer.")
    assert [(e.inputs["text"], e.target) for e in loaded.examples] == [("Write f.", code)]


def test_what_is_asked_and_answered_is_read_once_though_it_looks_like_a_list(tmp_path: Path) -> None:
    said = '["a", "b"]'
    rows = [{"m": [{"role": "user", "content": said}, {"role": "assistant", "content": said}]}]
    path = write(tmp_path / "t.jsonl", rows)
    loaded = from_table("own", path, text="m", label="m", kind="generation", instruction="Answer.")
    assert [(e.inputs["text"], e.target) for e in loaded.examples] == [(said, said)]


def test_whole_numbers_are_the_same_label_with_a_point(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\na,0.0\nb,1.0\nc,-1.00\nd,1\n")
    mapped = from_table("own", tmp_path / "t.csv", label_map={"0": "flat", "1": "up", "-1": "down"})
    assert [e.target for e in mapped.examples] == ["flat", "up", "down", "up"]
    write(tmp_path / "t.jsonl", table(text=["a", "b"], label=[0, 1.0]))
    declared = from_table("own", tmp_path / "t.jsonl", labels=["0.0", "1.0"])
    assert [e.target for e in declared.examples] == ["0.0", "1.0"]
    both = from_table("own", tmp_path / "t.csv", labels=["0.0", "1", "1.0", "-1"])
    assert [e.target for e in both.examples] == ["0.0", "1.0", "-1", "1"]
    with pytest.raises(MetierError, match=r"unknown label in 2 rows: found 'v1.0'"):
        from_table("own", write(tmp_path / "v.jsonl", table(text=["a", "b"], label=["v1.0"] * 2)), labels=["v1", "v2"])


def test_no_language_is_claimed_that_nobody_said(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", GOOD)
    assert from_table("own", path).task.language is None
    assert from_table("own", path, language="ar").task.language == "ar"


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text,label\n"one\ntwo\nthree",a\n,b\n')
    with pytest.raises(MetierError, match=r"t\.csv, row 3, column 'text'"):
        from_table("own", tmp_path / "t.csv")


def test_a_cut_off_workbook_is_told_as_such(tmp_path: Path) -> None:
    path = write(tmp_path / "t.xlsx", GOOD)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(MetierError, match="not a whole xlsx file"):
        from_table("own", path)


def test_a_workbook_whose_table_is_elsewhere(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Notes"
    book.active.append(["Sentences of central banks"])
    page = book.create_sheet("Data")
    for row in (["Source: speeches"], [], ["Sentence Text", "Stance"], ["rates rise", "hawk"], ["rates fall", "dove"]):
        page.append(row)
    book.save(tmp_path / "a.xlsx")
    read = partial(from_table, "own", tmp_path / "a.xlsx", text="Sentence Text", label="Stance")
    with pytest.raises(MetierError, match=r"the first sheet was read.*Notes, Data"):
        read()
    with pytest.raises(MetierError, match="header_row"):
        read(sheet="Data")
    assert [e.inputs["text"] for e in read(sheet="Data", header_row=3).examples] == ["rates rise", "rates fall"]
    (tmp_path / "a.csv").write_text("text,label\na,b\nc,d\n")
    with pytest.raises(MetierError, match="'header_row' is for xlsx"):
        from_table("own", tmp_path / "a.csv", header_row=2)


def test_right_options_that_always_stand_at_one_place_are_told(tmp_path: Path) -> None:
    def warnings(golds: str) -> list[str]:
        file = tmp_path / "exam.csv"
        rows = [f"question {n} on {n * n},one {n},two {n},three {n},{gold}" for n, gold in enumerate(golds)]
        file.write_text("\n".join(["q,a,b,c,answer", *rows]), encoding="utf-8")
        table = from_table("exam", file, text="q", label="answer", kind="multiple_choice", options=["a", "b", "c"])
        return [told for told in table.warnings if "in every row" in told]

    (told,) = warnings("C" * 10)
    assert "the right option is number 3 in every row" in told
    assert not warnings("C" * 9 + "A")
    assert not warnings("C" * 9)  # by chance


def test_a_text_column_called_answer_does_not_show_the_right_option(tmp_path: Path) -> None:
    rows = [
        {
            "question": f"q{n}",
            "answer": f"said {n}",
            "choice1": f"hint {n}",
            "a": f"one {n}",
            "b": f"two {n}",
            "is": gold,
        }
        for n, gold in enumerate("abba")
    ]
    file = write(tmp_path / "exam.jsonl", rows)
    texts = ["question", "answer", "choice1"]
    loaded = from_table("exam", file, text=texts, label="is", kind="multiple_choice", options=["a", "b"])
    assert [list(e.inputs.values()) for e in loaded.examples] == [[row[name] for name in texts] for row in rows]
    assert [e.target for e in loaded.examples] == ["one 0", "two 1", "two 2", "one 3"]


def test_labels_that_a_map_makes_have_names_of_their_own(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", GOOD)
    with pytest.raises(MetierError, match="a label has no name"):
        from_table("own", file, label_map={"up": "up", "down": ""})
    with pytest.raises(MetierError, match="a label has no name"):
        from_table("own", file, labels=["up", "down", " "])
    with pytest.raises(MetierError, match="each once; declared: Moved, moved"):
        from_table("own", file, label_map={"up": "Moved", "down": "moved"})


def test_a_nested_field_is_a_column(tmp_path: Path) -> None:
    rows = [{"review": {"text": f"text {n}", "by": {"who": "xy"[n % 2]}}, "label": "ab"[n % 2]} for n in range(4)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    loaded = from_table("own", tmp_path / "a.jsonl", text="review.text", group="review.by.who")
    assert [(e.inputs["text"], e.group) for e in loaded.examples] == [(f"text {n}", "xy"[n % 2]) for n in range(4)]
    with pytest.raises(MetierError, match=r"no column 'review.txt'[\s\S]*review.text"):
        from_table("own", tmp_path / "a.jsonl", text="review.txt")
    told = from_table("own", tmp_path / "a.jsonl", text="review").warnings
    assert any("'review' holds objects" in one and "review.text" in one for one in told)


def test_rows_without_a_group_and_missing_labels_are_told(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": ["0", "1", "NaN"][n % 3], "bank": "ECB" if n == 0 else ""} for n in range(6)]
    write_table(tmp_path / "a.csv", rows, list(rows[0]))
    loaded = from_table("own", tmp_path / "a.csv", group="bank")
    assert any("5 of 6 rows have no 'bank'" in one for one in loaded.warnings)
    assert any("2 rows are labelled 'NaN'" in one for one in loaded.warnings)
