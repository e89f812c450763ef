"""A finished specialist on other tables: what it learnt from is left out, what was measured before is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from metier.errors import MetierError
from metier.evaluation.evidence import read_scores, write_scores
from metier.recipe import Recipe, TaskChoice
from metier.run import run
from metier.run.data import load
from metier.run.evaluate import _check_kind, _in_order, _like_the_run, _load, evaluate
from metier.run.record import run_record, training_data
from metier.sources import write_table as write_csv
from tests.toy import sentences, write_recipe, write_table


@pytest.fixture(scope="module")
def mixed(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tables, carried out in the folder in which they are."""
    folder = tmp_path_factory.mktemp("mixed")
    write_table(folder / "other.csv", 90, seed=5)
    extra = (
        "mix: {tasks: [{file: other.csv, text: sentence, label: mood}], alone: false}\n"
        "measure: {systems: [majority, tfidf]}\n"
    )
    write_recipe(folder, toy_base, extra=extra)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run(Path("recipe.yaml")).resolve()


@pytest.fixture
def before(mixed: Path) -> Iterator[dict[str, Any]]:
    """The scores of the run itself; what a test adds to them is taken away again."""
    file = mixed / "evidence" / "scores.json"
    scores = read_scores(file)
    yield scores
    write_scores(file, scores)


def choice(path: Path) -> TaskChoice:
    return TaskChoice.model_validate({"file": str(path), "text": "sentence", "label": "mood"})


def ids(run_path: Path, *parts: str) -> list[str]:
    splits = json.loads((run_path / "data" / "mixture.json").read_text())["splits"]["other"]["ids"]
    return [one for part in parts for one in splits[part]]


def test_rows_of_a_task_mixed_in_are_left_out_and_its_scores_stay(mixed: Path, before: dict[str, Any]) -> None:
    name, entries, counts = evaluate(mixed, choice(mixed.parents[1] / "other.csv"), offline=True)
    learnt = ids(mixed, "train", "validation")
    assert counts["in_training"] >= len(learnt)
    assert counts["scored"] <= len(ids(mixed, "test"))
    assert name == "other-elsewhere"
    after = read_scores(mixed / "evidence" / "scores.json")
    assert {task: after[task] for task in before} == before
    assert after[name]["specialist"] == entries["specialist"]


def test_two_tables_of_one_name_are_two_entries(mixed: Path, before: dict[str, Any], tmp_path: Path) -> None:
    tables = [tmp_path / month / "tweets.csv" for month in ("jan", "feb")]
    for number, table in enumerate(tables):
        table.parent.mkdir()
        write_table(table, 30 + number, seed=20 + number)
    names = [evaluate(mixed, choice(table), offline=True)[0] for table in (*tables, *tables)]
    assert names == ["tweets", "tweets-2", "tweets", "tweets-2"]
    after = read_scores(mixed / "evidence" / "scores.json")
    assert after.keys() == before.keys() | {"tweets", "tweets-2"}
    assert [after[name]["tfidf"]["file"] for name in names[:2]] == [str(table) for table in tables]


def test_a_run_is_evaluated_from_any_folder(
    mixed: Path, before: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(Path("table.csv"), 40, seed=7)  # of the name of what was learnt from, and not that
    fresh = set(sentences(40, seed=7)) - set(sentences(240)) - set(sentences(90, seed=5))
    name, _, counts = evaluate(mixed, choice(Path("table.csv")), offline=True)
    assert name == "table-elsewhere"
    assert counts["rows"] == 40
    assert counts["scored"] >= len(fresh) > 0
    training_data(mixed, *run_record(mixed), None, True)


def test_training_data_that_is_gone_is_called_so(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = json.loads((mixed / "manifest.json").read_text())
    copy = tmp_path / "run"
    (copy / "data").mkdir(parents=True)
    (copy / "data" / "splits.json").write_bytes((mixed / "data" / "splits.json").read_bytes())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "folder": str(tmp_path / "gone")}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetierError, match=r"run's training data[\s\S]*table\.csv[\s\S]*not in .*gone either"):
        training_data(copy, *run_record(copy), None, True)
    del manifest["folder"]  # a run that did not record it: relative files are those of the current folder
    (copy / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.chdir(mixed.parents[1])
    training_data(copy, *run_record(copy), None, True)


def test_the_recipes_own_sheet_and_groups_are_known(tmp_path: Path) -> None:
    rows = [
        ["Compiled in June"],
        ["bank", "sentence", "mood"],
        *[[f"b{n % 3}", f"text {n}", "ab"[n % 2]] for n in range(6)],
    ]
    book = openpyxl.Workbook()
    for row in rows:
        book.create_sheet("Data") if len(book.sheetnames) < 2 else None
        book["Data"].append(row)
    book.save(tmp_path / "a.xlsx")
    table = {"text": "sentence", "label": "mood"}
    own = {**table, "file": str(tmp_path / "a.xlsx"), "sheet": "Data", "header_row": 2, "group": "bank"}
    recipe = Recipe.model_validate({"name": "own", "task": own})
    learnt = load(recipe.needed_task(), data_root=None, lock=None, offline=True)
    same = _like_the_run(TaskChoice.model_validate({**table, "file": own["file"]}), recipe, learnt, {}, True)
    assert (same.sheet, same.header_row, same.group) == ("Data", 2, "bank")
    write_csv(tmp_path / "b.csv", [{"sentence": "x", "mood": "a"}], ["sentence", "mood"])
    other = _like_the_run(choice(tmp_path / "b.csv"), recipe, learnt, {}, True)
    assert (other.sheet, other.header_row, other.group) == (None, None, None)


@pytest.mark.parametrize("instruction", [None, "Firm {firm}\nsays {sentence}", "How is the mood?"])
def test_columns_of_other_names_are_taken_in_order(tmp_path: Path, instruction: str | None) -> None:
    write_table(tmp_path / "own.csv", 20)
    own = {"file": str(tmp_path / "own.csv"), "text": ["firm", "sentence"], "label": "mood", "instruction": instruction}
    recipe = Recipe.model_validate({"name": "own", "task": own})
    learnt = load(recipe.needed_task(), data_root=None, lock=None, offline=True)

    def read(*columns: str) -> list[dict[str, str]]:
        table = {"file": str(tmp_path / "b.csv"), "text": list(columns), "label": "mood"}
        given = TaskChoice.model_validate(table)
        fields = _in_order(given, learnt)
        same = _like_the_run(given, recipe, learnt, {}, True)
        loaded = _load(same, learnt.task, {}, None, True, fields)
        _check_kind(loaded.task, learnt.task)
        return [example.inputs for example in loaded.examples]

    rows = [{"who": f"f{n}", "what": f"s{n}", "mood": ("negative", "positive")[n % 2]} for n in range(4)]
    write_csv(tmp_path / "b.csv", rows, ["who", "what", "mood"])
    assert read("who", "what")[0] == {"firm": "f0", "sentence": "s0"}
    with pytest.raises(MetierError, match="reads firm, sentence; found text"):
        read("what")
    rows = [{"firm": row["who"], "sentence": row["what"], "mood": row["mood"]} for row in rows]
    write_csv(tmp_path / "b.csv", rows, ["firm", "sentence", "mood"])
    assert read("sentence", "firm")[0] == {"firm": "f0", "sentence": "s0"}


def test_options_stand_where_they_stood(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "A": f"up {n}", "B": f"down {n}", "label": "AB"[n % 2]} for n in range(6)]
    write_csv(tmp_path / "exam.csv", rows, ["text", "A", "B", "label"])
    own = {"file": str(tmp_path / "exam.csv"), "kind": "multiple_choice", "options": ["A", "B"]}
    recipe = Recipe.model_validate({"name": "own", "task": own})
    learnt = load(recipe.needed_task(), data_root=None, lock=None, offline=True)
    given = TaskChoice.model_validate({"file": str(tmp_path / "exam.csv")})
    assert _like_the_run(given, recipe, learnt, {}, True).options == ["A", "B"]
    given = given.model_copy(update={"options": "B"})
    assert _like_the_run(given, recipe, learnt, {}, True).options == "B"
