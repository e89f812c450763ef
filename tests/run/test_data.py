"""From the recipe's task to its parts: what is learnt from, shown and asked are different rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.recipe import load_recipe
from metier.run.data import Data, few_shots, prepare_data, solved_pool, thin_labels
from metier.sources import write_table as write_rows
from tests.toy import write_table


def prepared(folder: Path, more: str = "") -> Data:
    write_table(folder / "table.csv", 120)
    path = folder / "recipe.yaml"
    path.write_text(
        "name: own\nbase: none\nretention: null\ntask: {file: table.csv, text: sentence, label: mood}\n" + more,
        encoding="utf-8",
    )
    return prepare_data(load_recipe(path), data_root=None, lock=None, offline=True)


def test_to_learn_from_fewer_rows_changes_no_other_part(tmp_path: Path) -> None:
    whole, small = prepared(tmp_path), prepared(tmp_path, "split: {most_train: 20}\n")
    assert len(small.part("train")) == 20
    assert {e.id for e in small.part("train")} < {e.id for e in whole.part("train")}
    for part in ("validation", "test"):
        assert small.part(part) == whole.part(part)
    assert prepared(tmp_path, "seed: 5\nsplit: {most_train: 20}\n").split == small.split


def test_rows_of_a_protocol_are_learnt_from_in_part_too(data_root: Path, tmp_path: Path) -> None:
    def parts(more: str) -> Data:
        path = tmp_path / "recipe.yaml"
        path.write_text(f"name: own\nprotocol: fingpt\ntask: {{name: financial-phrasebank}}\n{more}", encoding="utf-8")
        return prepare_data(load_recipe(path), data_root=data_root, lock=None, offline=True)

    whole, small = parts(""), parts("split: {most_train: 64}\n")
    assert len(small.part("train")) == 64
    assert small.part("test") == whole.part("test")
    assert small.duplicates == whole.duplicates


def test_no_more_examples_are_shown_solved_than_there_are(tmp_path: Path) -> None:
    data = prepared(tmp_path, "split: {most_train: 3}\n")
    drawn = few_shots(replace(data, protocol={**data.protocol, "shots": 5}), 6, seed=0)[1]
    assert {len(shots) for shots in drawn.values()} == {3}


def test_a_hidden_table_has_a_name_too(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / "table.csv").rename(tmp_path / ".moods.csv")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("table.csv", ".moods.csv"), encoding="utf-8")
    assert prepare_data(load_recipe(recipe), data_root=None, lock=None, offline=True).name == "moods"


def test_solved_examples_are_those_of_train(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    shots, own = few_shots(data, 6, seed=0)
    known = [(example.inputs, example.target) for example in data.part("train")]
    assert len({str(shot) for shot in shots}) == 6
    assert all(shot in known for shot in shots)
    assert not own
    assert shots == few_shots(data, 6, seed=0)[0] != few_shots(data, 6, seed=1)[0]


def test_no_question_is_shown_solved_to_itself(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    test = data.part("test")
    assert solved_pool(data, test[:5]) == data.part("train")
    only_asked = replace(data, split=replace(data.split, parts={"train": [], "validation": [], "test": test}))
    assert solved_pool(only_asked, test[:5]) == test[5:]


def test_a_label_that_is_not_learnt_not_tested_or_hardly_tested_is_told(tmp_path: Path) -> None:
    assert thin_labels(prepared(tmp_path)) == []
    counts = {"up": (40, 20), "down": (40, 20), "late": (0, 6), "early": (6, 0), "rare": (20, 2)}
    rows = ["sentence,mood,part"]
    for label, parts in counts.items():
        for part, count in zip(("train", "test"), parts, strict=True):
            rows += [f"{part} row {label} {n},{label},{part}" for n in range(count)]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("label: mood", "label: mood, split: part"))
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    told = thin_labels(prepare_data(load_recipe(recipe), data_root=None, lock=None, offline=True))
    assert told == [
        "no row of train is labelled 'late': nothing of it is learnt",
        "no row of test is labelled 'early': nothing of it is measured",
        "fewer than 5 rows of test are labelled 'rare': how well it is found is largely chance there",
    ]


@pytest.mark.parametrize("kind", ["generation, instruction: Say it", "multiple_choice, options: [A, B]"])
def test_soft_labels_are_of_classes(tmp_path: Path, kind: str) -> None:
    rows = [{"text": f"t{n}", "A": f"up {n}", "B": f"down {n}", "label": "AB"[n % 2], "share": 0.75} for n in range(40)]
    write_rows(tmp_path / "own.csv", rows, ["text", "A", "B", "label", "share"])
    path = tmp_path / "recipe.yaml"
    task = f"task: {{file: own.csv, agreement: share, kind: {kind}}}"
    path.write_text(f"name: own\nbase: none\n{task}\nadapt: {{soft_labels: true}}\n", encoding="utf-8")
    with pytest.raises(MetierError, match=r"'adapt.soft_labels' is for classes, not for (generation|multiple choice)"):
        prepare_data(load_recipe(path), data_root=None, lock=None, offline=True)
