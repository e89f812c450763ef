"""A user's own questions: truth values for answers, rows that are all there to test on, faults with file and row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from metier.evaluation.evidence import read_predictions

Run = Callable[..., tuple[int, str, str]]


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def recipe(folder: Path, base: Path, task: str, more: str = "adapt: {method: none}\n") -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"name: own\nbase: {base}\ndtype: float32\nretention: null\ntask: {{{task}}}\n{more}")
    return path


def trials(answers: Sequence[str], count: int = 60) -> list[tuple[str, str, str]]:
    return [
        (f"Does drug {n} help?", f"In trial {n} of {n * 7} people it did{'' if n % 2 else ' not'}.", answers[n % 2])
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("answers", "more", "told"),
    [
        (("False", "True"), "label_map: {true: yes, false: no}", "yes"),
        (("false", "TRUE"), "label_map: {True: yes, False: no}", "yes"),
        (("False", "True"), "labels: [true, false]", "true"),
        (("NO", "Yes"), "labels: [yes, no]", "yes"),
    ],
)
def test_truth_values_are_words(
    toy_base: Path, tmp_path: Path, command: Run, answers: tuple[str, str], more: str, told: str
) -> None:
    write(tmp_path / "t.csv", ["question", "abstract", "answer"], trials(answers))
    path = recipe(tmp_path, toy_base, f"file: t.csv, text: [question, abstract], label: answer, {more}")
    code, out, err = command("validate", path)
    assert code == 0, err
    assert f"train      {told} 21, " in out
    assert "What is the answer to the question?" in out
    assert "nothing is trained" in out


@pytest.mark.parametrize("kind", ["classification", "multiple_choice", "generation"])
def test_rows_that_are_all_there_to_test_on_are_asked(toy_base: Path, tmp_path: Path, command: Run, kind: str) -> None:
    task = f"file: t.csv, kind: {kind}, text: question, label: answer, split: part"
    rows: list[Sequence[object]] = [(f"Is {n} even?", "yes", "no", "AB"[n % 2], "test") for n in range(12)]
    write(tmp_path / "t.csv", ["question", "A", "B", "answer", "part"], rows)
    extra = {"multiple_choice": ", options: [A, B]", "generation": ", instruction: Answer."}.get(kind, "")
    more = "adapt: {method: none}\n" + (
        "" if kind == "generation" else "strategies: [{name: few-shot, k: 2, questions: 9}]\n"
    )
    path = recipe(tmp_path, toy_base, task + extra, more)
    code, out, err = command("validate", path)
    assert (code, "all rows are there to test on" in out) == (0, True), err
    code, _, err = command("run", path, "--out", tmp_path / "out")
    assert code == 0, err
    scores = json.loads((tmp_path / "out" / "evidence" / "scores.json").read_text())["t"]
    asked = [] if kind == "generation" else ["base-zero-shot", "base-few-shot"]
    assert list(scores) == ["base", "specialist", *asked]
    assert command("predict", tmp_path / "out", "Is 3 even?")[0] == (2 if kind == "multiple_choice" else 0)
    columns = ["--option", "A", "--option", "B"] if kind == "multiple_choice" else []
    columns = [text.replace("--option", "--options") for text in columns]
    code, out, err = command(
        "evaluate", tmp_path / "out", "--in", tmp_path / "t.csv", "--column", "question", "--gold", "answer", *columns
    )
    assert (code, "scored 12" in out) == (0, True), err
    recipe(tmp_path, toy_base, task + extra, "")
    code, _, err = command("validate", path)
    assert code == 2
    for part in ("only rows to test on", "adapt.method", "adapt: {method: none}", "evaluate RUN --in"):
        assert part in err


def test_faults_name_file_row_and_the_way_out(toy_base: Path, tmp_path: Path, command: Run) -> None:
    rows = [[f"Question {n}?", f"first {n}", f"second {n}", "AB"[n % 2]] for n in range(30)]
    task = "file: t.csv, kind: multiple_choice, text: question, options: [A, B], label: gold"
    path = recipe(tmp_path, toy_base, task, "adapt: {method: none}\nmax_tokens: 300\n")
    head = ["question", "A", "B", "gold"]

    def told(row: list[str], header: Sequence[str] = head, count: int = 30) -> str:
        write(tmp_path / "t.csv", header, [*rows[:3], row, *rows[4:]][:count])
        code, _, err = command("validate", path)
        assert code == 2
        assert "Traceback" not in err
        return err

    err = told(["Question 3?", "word " * 900, "second", "A"])
    assert "t.csv:5" in err
    assert "shorten the instruction or the options" in err
    err = told(["Question 3?", "first", "second", "first"])
    assert "the answer 'first' is not the letter of one of the options" in err
    assert "t.csv, row 5, column 'gold'" in err
    err = told(rows[3], ["qestion", *head[1:]])
    assert "there is no column 'question'" in err
    assert "choice1" not in err
    err = told(rows[3], count=3)
    assert "3 rows" in err
    assert "give at least 10 rows, or change the shares" in err


def test_numbers_are_read_as_in_the_table_that_was_learnt(toy_base: Path, tmp_path: Path, command: Run) -> None:
    head, pair = ["question", "options", "gold"], "zinc|iron|aspirin"
    write(tmp_path / "t.csv", head, [(f"What helps in case {n}?", pair, n % 3) for n in range(30)])
    task = "file: t.csv, kind: multiple_choice, text: question, options: options, label: gold"
    more = "adapt: {method: none}\nmeasure: {systems: []}\n"
    code, _, err = command("run", recipe(tmp_path, toy_base, task, more), "--out", tmp_path / "out")
    assert code == 0, err
    write(tmp_path / "new.csv", head, [(f"And in another, {n}?", pair, 1) for n in range(6)])
    told = ("--column", "question", "--options", "options", "--gold", "gold")
    code, _, err = command("evaluate", tmp_path / "out", "--in", tmp_path / "new.csv", *told)
    assert code == 0, err
    assert "note: the right options in column 'gold' are read by their number from 0" in err
    kept = read_predictions(tmp_path / "out" / "evidence" / "predictions" / "new.specialist.parquet")
    assert {p.gold for p in kept} == {"1"}
    write(tmp_path / "new.csv", head, [(f"And in another, {n}?", pair, n % 3 + 1) for n in range(6)])
    code, _, err = command("evaluate", tmp_path / "out", "--in", tmp_path / "new.csv", *told)
    assert code == 2
    assert "the answer '3' is not the number from 0 of one of the options" in err


def test_what_a_recipe_or_a_run_tests_on_is_exported(toy_base: Path, tmp_path: Path, command: Run) -> None:
    rows = [[f"Question {n}?", f"first {n}", f"second {n}", "AB"[n % 2]] for n in range(30)]
    write(tmp_path / "t.csv", ["question", "A", "B", "gold"], rows)
    task = "file: t.csv, kind: multiple_choice, text: question, options: [A, B], label: gold"
    path = recipe(tmp_path, toy_base, task, "adapt: {method: none}\nmeasure: {systems: []}\n")
    code, _, err = command("run", path, "--out", tmp_path / "out")
    assert code == 0, err
    tested = json.loads((tmp_path / "out" / "data" / "splits.json").read_text())["ids"]["test"]
    for named in (path, tmp_path / "out"):
        code, out, err = command("tasks", "export", named, "--out", tmp_path / "tasks")
        assert code == 0, err
        assert [Path(line).name for line in out.split()] == ["t.jsonl", "t.yaml", "t-chat.yaml"]
        lines = (tmp_path / "tasks" / "t.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == tested
        assert "read by their letter" in err
        (tmp_path / "tasks" / "t.jsonl").unlink()
    for arguments, message in (
        ((path, "--variant", "x"), "a recipe says itself which variant"),
        ((tmp_path / "tasks",), "the record of the training data cannot be read"),
        ((tmp_path / "nothing.yaml",), "there is no such recipe"),
        (("medqaa",), "there is no task 'medqaa'"),
    ):
        code, _, err = command("tasks", "export", *arguments, "--out", tmp_path / "tasks")
        assert (code, message in err) == (2, True), err
