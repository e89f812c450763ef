"""Worked examples: what ships, both formats, answers that look like truth values, and what is wrong with such files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.tasks import Task, Template, get, read_worked
from metier.tasks.worked import shipped

YES_NO = Task(name="trial", version=1, kind="classification", title="Trial", labels=["yes", "no"],
              template=Template(input="{abstract} {question}"))  # fmt: skip
GOOD = {"question": "Did it help?", "abstract": "It did.", "rationale": "It says so.", "answer": "yes"}


def test_what_ships_has_the_form_of_the_examination() -> None:
    assert shipped() == ["usmle"]
    worked = read_worked("usmle", get("medqa"))
    assert len(worked) == 5
    assert all(len(one.example.choices) == 4 for one in worked)
    places = [one.example.choices.index(one.example.target) for one in worked]
    assert set(places) == {0, 1, 2, 3}  # no letter is always right
    assert all(one.rationale.endswith(".") and one.example.target not in ("", None) for one in worked)


def test_yaml_and_jsonl_say_the_same(tmp_path: Path) -> None:
    lines = tmp_path / "w.jsonl"
    lines.write_text(json.dumps(GOOD) + "\n" + json.dumps({**GOOD, "abstract": "It did not.", "answer": "NO"}) + "\n")
    text = tmp_path / "w.yaml"
    # a word that YAML 1.1 takes for a truth value is a word
    text.write_text(
        "- question: Did it help?\n  abstract: It did.\n  rationale: It says so.\n  answer: yes\n"
        "- question: Did it help?\n  abstract: It did not.\n  rationale: It says so.\n  answer: NO\n"
    )
    found = [read_worked(str(path), YES_NO) for path in (lines, text)]
    assert [(w.example.inputs, w.example.target, w.rationale) for w in found[0]] == [
        (w.example.inputs, w.example.target, w.rationale) for w in found[1]
    ]
    assert [w.example.target for w in found[0]] == ["yes", "no"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rationale": " "}, "lacks its rationale"),
        ({"answer": None}, "lacks its answer"),
        ({"answer": "maybe"}, "unknown label"),
        ({"abstract": None, "abstrct": "x"}, "no column 'abstract'"),
    ],
)
def test_faults(tmp_path: Path, change: dict[str, str | None], told: str) -> None:
    path = tmp_path / "w.jsonl"
    path.write_text(json.dumps({name: value for name, value in {**GOOD, **change}.items() if value is not None}))
    with pytest.raises(MetierError) as error:
        read_worked(str(path), YES_NO)
    assert told in error.value.what
    assert "w.jsonl" in str(error.value.where)


def test_numbers_count_from_where_those_of_the_task_do(tmp_path: Path) -> None:
    task = Task(name="exam", version=1, kind="multiple_choice", title="Exam",
                template=Template(input="{text}\n{options}", options="lettered"))  # fmt: skip
    path = tmp_path / "w.jsonl"
    one = {"text": "Which?", "options": ["a", "b", "c"], "rationale": "So it is.", "answer": 1}
    path.write_text(json.dumps(one))
    assert read_worked(str(path), task, "number from 0")[0].example.target == "b"
    assert read_worked(str(path), task, "number")[0].example.target == "a"
    with pytest.raises(MetierError, match="count from 0 or from 1"):
        read_worked(str(path), task)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    for text, told in (("a: 1\n", "not a list"), ("- [\n", "not valid YAML"), ("- question: x\n", "rationale")):
        path.write_text(text)
        with pytest.raises(MetierError, match=told):
            read_worked(str(path), YES_NO)
    path.write_text("- [\n")
    with pytest.raises(MetierError, match="write a list"):
        read_worked(str(path), YES_NO)
    with pytest.raises(MetierError, match="no such file") as error:
        read_worked("usmel", YES_NO)
    assert "usmle" in str(error.value.fix)
