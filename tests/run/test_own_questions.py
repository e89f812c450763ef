"""A user's own questions: truth values for answers, rows that are all there to test on, faults with file and row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

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
