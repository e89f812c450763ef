"""The same recipe again: other seeds, several tasks together, fewer examples; on the toy base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.evaluation.evidence import read_scores, write_predictions
from metier.evaluation.written import not_applicable
from metier.files import sha256_file, write_json
from metier.recipe import Mix, Recipe, load_recipe
from metier.run import curve, run
from metier.run.again import from_fewer, on_other_bases, sizes_up_to, spread, wins_from, with_other_seeds
from metier.run.data import prepare_data
from metier.run.mixture import alone, mix_tasks, shares
from metier.run.preflight import preflight
from metier.tasks import Example, fewer
from tests.toy import write_recipe, write_table

TASK = {"name": "x"}
RUN = Path("evidence") / "predictions"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_on_other_bases_only_the_training_is_repeated(toy_base: Path, tmp_path: Path) -> None:
    extra = (
        "seeds: [3, 4]\nstrategies: [{name: few-shot}]\nmix: {tasks: [{name: finance-starter}]}\n"
        "search: {trials: [{}, {adapt: {rank: 2}}]}\nselective: {accuracy: 0.6}\n"
    )
    recipe = load_recipe(write_recipe(tmp_path, toy_base, extra=extra))
    carried: dict[str, Recipe] = {}

    def carry(own: Recipe, folder: Path) -> Path:
        carried[folder.name] = own
        (folder / RUN).mkdir(parents=True)
        (folder / RUN / "table.specialist.parquet").write_text(own.base, encoding="utf-8")
        return folder

    (tmp_path / RUN).mkdir(parents=True)
    on_other_bases(recipe, tmp_path, "table", {"after-a": "here", "after-nothing": "there"}, carry)
    for name, base in (("after-a", "here"), ("after-nothing", "there")):
        own = carried[name]
        assert (tmp_path / RUN / f"table.{name}.parquet").read_text(encoding="utf-8") == own.base == base
        assert (own.adapt, own.split, own.task, own.selective) == (
            recipe.adapt, recipe.split, recipe.task, recipe.selective
        )  # fmt: skip
        assert own.mix is not None
        assert not own.mix.alone
        assert own.measure.systems == []
        assert own.seeds is own.strategies is own.search is own.retention is own.pretrain is None


def test_what_is_carried_out_for_one_score_is_not_measured_otherwise(toy_base: Path, tmp_path: Path) -> None:
    extra = (
        "seeds: [3, 4]\nmeasure: {generation: true}\nstrategies: [{name: few-shot}]\n"
        "mix: {tasks: [{name: finance-starter}]}\ncurve: {rivals: {wide: {rank: 2}}}\n"
    )
    recipe = load_recipe(write_recipe(tmp_path, toy_base, extra=extra))
    carried: list[Recipe] = [alone(recipe, 1)]
    scored = {"status": "ok", "metrics": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}}}

    def carry(own: Recipe, folder: Path) -> Path:
        carried.append(own)
        write_json(
            folder / "evidence" / "scores.json",
            {"table": dict.fromkeys(("tfidf", "base-fewshot", "specialist"), scored)},
        )
        write_predictions(folder / RUN / "table.specialist.parquet", [])
        return folder

    carry(recipe, tmp_path)
    carried.pop()
    with_other_seeds(recipe, tmp_path, "table", "accuracy", carry)
    from_fewer(recipe.model_copy(update={"mix": None}), tmp_path, "table", "accuracy", 40, carry, [20])
    assert len(carried) == 5  # a task alone, a seed, a size, and two sizes of the rival
    for own in carried:
        assert own.seeds is own.strategies is own.retention is None
        assert not own.measure.generation
        assert set(own.measure.systems) <= {"tfidf", "base-fewshot"}


def test_seeds_give_mean_and_spread(toy_base: Path, tmp_path: Path) -> None:
    extra = "seeds: [3, 4]\nmeasure: {systems: [majority]}\n"
    path = run(write_recipe(tmp_path, toy_base, extra=extra), out=tmp_path / "run")
    found = read(path / "evidence" / "seeds.json")
    assert [r["seed"] for r in found["runs"]] == [3, 4]
    first = read_scores(path / "evidence" / "scores.json")["table"]["specialist"]["metrics"]["weighted_f1"]
    assert found["runs"][0]["value"] == first["value"]
    assert found["mean"] == pytest.approx(sum(r["value"] for r in found["runs"]) / 2)
    other = path / "seeds" / "4" / "specialist" / "adapter_model.safetensors"
    assert sha256_file(other) != sha256_file(path / "specialist" / "adapter_model.safetensors")
    splits = [read(p / "data" / "splits.json")["hash"] for p in (path, path / "seeds" / "4")]
    assert splits[0] == splits[1]  # another seed is another training, never another test set
    assert "With other seeds" in (path / "report.html").read_text(encoding="utf-8")


def test_a_curve_leaves_out_what_does_not_apply_at_some_size(toy_base: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, toy_base))
    scored = {"status": "ok", "metrics": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}}}

    def write(folder: Path, shots_fit: bool) -> Path:
        entries = {"specialist": scored, "tfidf": not_applicable("every question has options of its own")}
        entries["base-fewshot"] = scored if shots_fit else not_applicable("no solved example fits")
        write_json(folder / "evidence" / "scores.json", {"exam": entries})
        return folder

    def points(*, small_fits: bool) -> list[dict[str, Any]]:
        def carry(_: Recipe, folder: Path) -> Path:
            return write(folder, small_fits)

        found = read(from_fewer(recipe, write(tmp_path, True), "exam", "accuracy", 40, carry, [20], [], []))
        return [dict(point["systems"]) for point in found["points"]]

    assert [set(systems) for systems in points(small_fits=True)] == [{"base-fewshot", "specialist"}] * 2
    assert [set(systems) for systems in points(small_fits=False)] == [{"specialist"}] * 2


def mixed_recipe(folder: Path, base: Path, more: str = "") -> Path:
    write_table(folder / "other.csv", 60, seed=5)
    other = "{file: " + str(folder / "other.csv") + ", text: sentence, label: mood}"
    extra = f"mix: {{tasks: [{other}], temperature: 2{more}}}\n"
    return write_recipe(folder, base, extra="measure: {systems: [majority, tfidf]}\n" + extra)


def test_tasks_learnt_together_are_measured_on_each(
    toy_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(mixed_recipe(tmp_path, toy_base), out=tmp_path / "run")
    assert "specialist" in capsys.readouterr().err.split("  other:\n")[1]
    scores = read_scores(path / "evidence" / "scores.json")
    assert set(scores["table"]) == {"majority", "tfidf", "alone", "specialist"}
    assert set(scores["other"]) == {"tfidf", "alone", "specialist"}
    assert "alone" in scores["other"]["specialist"]["against"]
    drawn = read(path / "data" / "mixture.json")["drawn"]
    seen = read(path / "manifest.json")["training"]["examples"]
    assert seen == sum(task["an_epoch"] for task in drawn.values())
    sizes = {name: task["train"] - task["held_out_elsewhere"] for name, task in drawn.items()}
    assert drawn["other"]["an_epoch"] / seen > sizes["other"] / sum(sizes.values())  # temperature lifts the small one
    assert "The tasks learnt together" in (path / "report.html").read_text(encoding="utf-8")


def test_nothing_that_one_task_tests_on_is_learnt_from_another(toy_base: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    recipe = tmp_path / "recipe.yaml"
    twin = tmp_path / "twin.csv"
    twin.write_bytes((tmp_path / "table.csv").read_bytes())
    recipe.write_text(
        f"name: toy\nbase: {toy_base}\ntask: {{file: table.csv, text: sentence, label: mood}}\n"
        f"mix: {{tasks: [{{file: {twin}, text: sentence, label: mood}}], alone: false}}\n"
        "split: {seed: 1}\nadapt: {epochs: 1}\nretention: null\nmeasure: {systems: []}\n"
    )
    from metier.run.data import prepare_data
    from metier.run.mixture import mix_tasks
    from metier.tasks.prepare import key_of

    loaded = load_recipe(recipe)
    main = prepare_data(loaded, data_root=None, lock=None, offline=True)
    moved = loaded.model_copy(update={"split": loaded.split.model_copy(update={"seed": 2})})
    other = prepare_data(moved, data_root=None, lock=None, offline=True)
    assert {key_of(e) for e in main.part("test")} & {key_of(e) for e in other.part("train")}  # it could leak
    mixture = mix_tasks(loaded, main, data_root=None, lock=None, offline=True)
    held_out = {
        key_of(e) for data in (mixture.main, *mixture.others) for p in ("validation", "test") for e in data.part(p)
    }
    assert not held_out & {key_of(e) for e in mixture.train}


def test_what_is_to_be_said_of_a_task_mixed_in_names_it(toy_base: Path, tmp_path: Path) -> None:
    recipe = mixed_recipe(tmp_path, toy_base)
    labelled = ", label: mood, labels: [negative, neutral, positive]}"
    recipe.write_text(recipe.read_text().replace(", label: mood}", labelled))
    other = tmp_path / "other.csv"
    other.write_text(other.read_text().replace(",positive,", ",Positive,"))
    notes = preflight(recipe, data_root=None, offline=True).notes
    assert any(n.startswith("other: ") and n.endswith("rows labelled 'Positive' are read as 'positive'") for n in notes)


def test_tasks_with_other_labels_are_not_mixed(toy_base: Path, tmp_path: Path) -> None:
    path = mixed_recipe(tmp_path, toy_base)
    text = (tmp_path / "other.csv").read_text(encoding="utf-8").replace("positive", "bullish")
    (tmp_path / "other.csv").write_text(text, encoding="utf-8")
    with pytest.raises(MetierError, match="bullish") as error:
        run(path, out=tmp_path / "run")
    assert "label_map" in str(error.value)


def test_a_task_of_which_nothing_is_left_to_learn_is_told(tmp_path: Path) -> None:
    recipe = load_recipe(mixed_recipe(tmp_path, Path("none")))
    main = prepare_data(recipe, data_root=None, lock=None, offline=True)
    rows = [f'"{e.text}",{e.target},train' for e in main.part("test")]
    rows += [row.replace(":", " said").replace(",train", ",test") for row in rows]
    (tmp_path / "other.csv").write_text("sentence,mood,part\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert recipe.mix is not None
    choice = recipe.mix.tasks[0].model_copy(update={"split": "part"})
    recipe = recipe.model_copy(update={"mix": recipe.mix.model_copy(update={"tasks": [choice]})})
    with pytest.raises(MetierError, match="nothing of other is left to learn"):
        mix_tasks(recipe, main, data_root=None, lock=None, offline=True)


def test_the_curve_ends_in_the_run_itself(toy_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra="measure: {systems: [majority, tfidf]}\n")
    target = curve(recipe, sizes=[24, 60], out=tmp_path / "run")
    found = read(target)
    assert [p["examples"] for p in found["points"]] == [24, 60, 168]
    assert set(found["points"][0]["systems"]) == {"tfidf", "specialist"}
    tests = [read(p / "data" / "splits.json") for p in (tmp_path / "run", tmp_path / "run" / "curve" / "24")]
    assert tests[0]["ids"]["test"] == tests[1]["ids"]["test"]
    assert len(tests[1]["ids"]["train"]) == 24
    smallest = set(tests[1]["ids"]["train"])
    middle = set(read(tmp_path / "run" / "curve" / "60" / "data" / "splits.json")["ids"]["train"])
    assert smallest < middle < set(tests[0]["ids"]["train"])
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "From fewer examples" in page
    assert "It took only 33 steps itself" in page
    assert "the recipe itself takes 33 steps" in capsys.readouterr().err
    with pytest.raises(MetierError, match="168 examples"):
        curve(recipe, sizes=[24, 6000], out=tmp_path / "another")
    assert not (tmp_path / "another").exists()  # told before anything is learnt


@given(st.integers(2, 100_000))
def test_sizes_double_and_end_with_all(count: int) -> None:
    found = sizes_up_to(count)
    assert found[-1] == count
    assert found[:-1] == [64 * 2**i for i in range(len(found) - 1)]
    assert len(found) == 1 or found[-2] < count <= 2 * found[-2]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(0, 3))
def test_fewer_is_nested_and_in_proportion(labels: list[str], seed: int) -> None:
    examples = [Example(id=str(i), inputs={"text": str(i)}, target=label) for i, label in enumerate(labels)]
    before: set[str] = set()
    for count in range(1, len(examples) + 1):
        chosen = fewer(examples, count, seed)
        ids = {e.id for e in chosen}
        assert len(ids) == count
        assert before < ids
        before = ids
        for label in set(labels):
            share = sum(e.target == label for e in chosen)
            assert abs(share - count * labels.count(label) / len(labels)) <= 2


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=5), st.floats(1, 10))
def test_temperature_keeps_the_order_and_the_sum(sizes: list[int], temperature: float) -> None:
    mix = Mix.model_validate({"tasks": [TASK] * (len(sizes) - 1), "temperature": temperature})
    found = shares(sizes, mix)
    assert abs(sum(found) - sum(sizes)) <= len(sizes)
    assert all(
        (a <= b) or (x >= y) for a, x in zip(sizes, found, strict=True) for b, y in zip(sizes, found, strict=True)
    )


def test_weights_are_shares() -> None:
    mix = Mix.model_validate({"tasks": [TASK], "weights": [3, 1], "examples": 400})
    assert shares([1000, 1000], mix) == [300, 100]
    with pytest.raises(ValueError, match="2 numbers"):
        Mix.model_validate({"tasks": [TASK], "weights": [1]})


def test_it_wins_from_where_it_always_wins() -> None:
    def point(size: int, low: float) -> dict[str, Any]:
        return {"examples": size, "against": {"tfidf": {"low": low}}}

    assert wins_from([point(64, 0.1), point(128, -0.1), point(256, 0.1), point(512, 0.2)]) == 256
    assert wins_from([point(64, 0.1), point(128, -0.1)]) is None
    assert spread([{"value": 0.8}, {"value": 0.9}])["sd"] == pytest.approx(0.0707107)
