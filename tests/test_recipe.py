"""What a recipe may say, and how its faults are told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.recipe import Adapt, Recipe, load_recipe
from metier.recipe.adapt import Changes
from metier.run.data import prepare_data

GOOD = "name: toy\ntask:\n  file: table.csv\n  label: mood\nadapt:\n  epochs: 2\n"


def fault(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MetierError) as error:
        load_recipe(path)
    assert "recipe.yaml" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  epochs: 2", "  rank: 4\n  epoch: 2", ["line 7", "'adapt.epoch'", "did you mean 'epochs'?"]),
        ("name: toy", "name: toy\nepoch: 3", ["line 2", "unknown field 'epoch'", "write 'epochs' under 'adapt'"]),
        ("name: toy", "nam: toy", ["line 1", "unknown field 'nam'", "did you mean 'name'?"]),
        ("  label: mood", "  text: {a: b}", ["line 4", "field 'task.text'", "column(s) with the text"]),
        ("  epochs: 2", "  epochs: 0", ["line 6", "'adapt.epochs'", "found 0"]),
        ("  epochs: 2", "  epochs: [", ["not valid YAML"]),
        ("name: toy", "name: 2024-99-99", ["not valid YAML"]),
        ("name: toy", "name: a/b", ["line 1", "'name'", "a name of letters, digits, dots, dashes and underscores"]),
        ("  label: mood", "  labels: [[a], b]", ["line 4", "task.labels", "['a']"]),
        ("adapt:", "measure: {systems: [base, basis]}\nadapt:", ["line 5", "measure.systems", "base-fewshot"]),
        (
            "adapt:\n  epochs: 2",
            "corpus: {sources: [a.txt]}\npretrain: {method: continue, tokens: 2048}",
            ["2,048 tokens are less than one batch of 16 sequences of 512", "lower 'batch_sequences'"],
        ),
        ("name: toy", "name: toy\nseed: -1", ["line 2", "'seed'", "expected 0 or more, found -1"]),
        ("name: toy", "name: toy\nseeds: [0, 20261128123456]", ["line 2", "'seeds.1'", "or less"]),
        (
            "name: toy",
            "name: toy\nsearch: {trials: [{}, {adapt: {method: none}}]}",
            ["trials, number 2", "leave it out"],
        ),
        ("adapt:\n  epochs: 2", "adapt: fast", ["line 5", "'adapt'", "expected a mapping of fields, found 'fast'"]),
        ("  epochs: 2", "  epochs: many", ["expected a whole number, found 'many'", "write a whole number, such as 3"]),
        ("  epochs: 2", "  dropout: 1.5", ["expected less than 1, found 1.5"]),
        ("adapt:", "measure: {systems: [tf-idf]}\nadapt:", ["'measure.systems.0'", "did you mean 'tfidf'?"]),
        (
            "adapt:",
            "corpus: {sources: [a], stop: nope}\nadapt:",
            ["'corpus.stop'", "one of 'first-exhausted', 'repeat' or 'error' or a whole number", "when a source runs"],
        ),
        ("  label: mood", "  text: [a, [b]]", ["'task.text.1'", "expected text, found ['b']"]),
        ("adapt:", "strategies: [{name: few-shot, k: lots}]\nadapt:", ["'strategies.0.k'", "a whole number"]),
        ("  label: mood", "  variant: dev", ["line 2", "'variant' is of a task of the catalogue", "leave it out"]),
        ("  file: table.csv", "  name: medqa\n  instruction: Be brief.", ["'instruction' is for your own table"]),
        ("  file: table.csv", "  name: medqa\n  label_map: {a: b}", ["'label_map' is for your own table"]),
        ("adapt:", "name: other\nadapt:", ["line 5", "the field 'name' stands twice, in line 1 too", "keep one"]),
        ("  label: mood", "  label: mood\n  label: text", ["line 5", "'task.label'", "twice, in line 4 too"]),
        ("adapt:", "mix: {tasks: [{file: a}, {file: b, file: c}]}\nadapt:", ["'mix.tasks.1.file'", "twice"]),
    ],
)
def test_faults_name_line_field_and_mending(tmp_path: Path, old: str, new: str, told: list[str]) -> None:
    assert old in GOOD
    text = fault(tmp_path, GOOD.replace(old, new))
    for part in told:
        assert part in text, text


@pytest.mark.parametrize("text", ["", "- a list", "only words", "3"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert "mapping of fields" in fault(tmp_path, text)


def test_numbers_are_labels_too(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        GOOD.replace("  label: mood", "  label: mood\n  label_map: {0: bad, 1: good}\n  labels: [bad, good]")
    )
    assert load_recipe(path).task.label_map == {"0": "bad", "1": "good"}
    path.write_text(GOOD.replace("  label: mood", "  label: mood\n  labels: [0, 1]"))
    assert load_recipe(path).task.labels == ["0", "1"]


def test_yes_and_no_are_words_and_true_is_not(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        GOOD.replace("  label: mood", "  labels: [yes, no, off]") + "  soft_labels: true\nmeasure: {generation: yes}\n"
    )
    recipe = load_recipe(path)
    assert recipe.needed_task().labels == ["yes", "no", "off"]
    assert recipe.adapt.soft_labels is recipe.measure.generation is True


def test_a_file_beside_the_recipe_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipe.yaml").write_text(GOOD)
    (tmp_path / "table.csv").write_text("text,mood\n")
    monkeypatch.chdir("/")
    assert load_recipe(tmp_path / "recipe.yaml").task.file == str(tmp_path / "table.csv")


def test_a_file_that_is_nowhere_is_told_with_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "recipe.yaml").write_text(GOOD)
    places = {"data_root": None, "lock": None, "offline": True}
    for folder, told in ((tmp_path, " (it is not in {} either)"), (tmp_path / "sub", "")):
        monkeypatch.chdir(folder)
        with pytest.raises(MetierError, match="the file does not exist") as error:
            prepare_data(load_recipe(tmp_path / "sub" / "recipe.yaml"), **places)
        assert error.value.fix == f"there is no such path in {folder}" + told.format(tmp_path / "sub")


def test_an_unknown_task_is_told_with_its_field(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"name": "a", "task": {"name": "fiqa"}})
    with pytest.raises(MetierError, match="did you mean 'fiqa-sentiment'") as error:
        prepare_data(recipe, data_root=None, lock=None, offline=True)
    assert error.value.where == "recipe, task.name"


def test_a_trial_that_begins_a_prompt_otherwise_leaves_behind_how_it_began() -> None:
    published = Adapt.model_validate({"preset": "med-palm"})
    for adapt in (published, Adapt.model_validate({"method": "prompt", "init_text": "Is it good?"})):
        found = adapt.changed(Changes.model_validate({"init": "vocabulary"}))
        assert (found.init, found.init_text, found.length) == ("vocabulary", None, adapt.length)
    assert published.changed(Changes.model_validate({"init_spread": 0.1})).init_spread == 0.1


def test_usual_values_depend_on_the_method(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    assert (load_recipe(path).adapt.rate, load_recipe(path).adapt.scale) == (1e-3, 16.0)
    path.write_text(GOOD + "  method: full\n")
    assert load_recipe(path).adapt.rate == 2e-5


def test_the_recipe_of_a_table_of_scores_can_be_written_and_read_back() -> None:
    values = {"name": "a", "task": {"file": "x.csv", "thresholds": [[-0.1, "down"], [math.inf, "up"]]}}
    recipe = Recipe.model_validate(values)
    written = json.dumps(recipe.model_dump(mode="json"), allow_nan=False)
    assert Recipe.model_validate(json.loads(written)) == recipe
    assert recipe.model_dump()["task"]["thresholds"][1][0] == math.inf


def test_tables_are_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    for name in ("table.csv", "other.csv"):
        (tmp_path / name).touch()
    (tmp_path / "recipe.yaml").write_text(GOOD + "mix: {tasks: [{file: other.csv}, {file: elsewhere.csv}]}\n")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.mix is not None
    found = [recipe.task.file, *(task.file for task in recipe.mix.tasks)]
    assert found == [str(tmp_path / "table.csv"), str(tmp_path / "other.csv"), "elsewhere.csv"]


@pytest.mark.parametrize(
    ("corpus", "pretrain", "stop"),
    [
        ("", "", "first-exhausted"),
        (", stop: repeat", "", "repeat"),
        (", stop: repeat", ", mixes: {mixed: {a: 1, b: 1}, alone: {a: 1}}", "repeat"),
        (", stop: 3", ", stop: error", "error"),
        ("", ", stop: 2", 2),
    ],
)
def test_what_a_corpus_says_of_its_end_holds_for_pretraining(
    tmp_path: Path, corpus: str, pretrain: str, stop: str | int
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"name: toy\ncorpus: {{sources: [a, b]{corpus}}}\npretrain: {{method: continue, steps: 5{pretrain}}}\n", "utf-8"
    )
    recipe = load_recipe(path)
    assert recipe.pretrain
    assert recipe.pretrain.stop == stop
    assert Recipe.model_validate(recipe.model_dump()).pretrain == recipe.pretrain
