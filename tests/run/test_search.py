"""Settings tried on validation before the run; on the toy base."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metier.errors import MetierError
from metier.files import sha256_file
from metier.recipe import load_recipe
from metier.run import run
from tests.toy import make_base, write_recipe

Command = Callable[..., tuple[int, str, str]]
LEARNS = "method: full, epochs: 8, batch_size: 8, learning_rate: 0.005"  # what the toy base learns by
TRIALS = "[{adapt: {learning_rate: 0.0001, epochs: 1}}, {adapt: {rank: 4}}]"
BARE = "measure: {systems: [majority]}\n"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def searching(folder: Path, base: Path, trials: str = TRIALS, more: str = ", examples: 120") -> Path:
    return write_recipe(folder, base, extra=BARE + f"search: {{trials: {trials}{more}}}\n")


def test_the_best_on_validation_makes_the_specialist(toy_base: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    path = run(
        searching(tmp_path, toy_base, f"[{{adapt: {{epochs: 1}}}}, {{adapt: {{{LEARNS}}}}}]"), out=tmp_path / "run"
    )
    whole = time.monotonic() - begun
    found = read(path / "evidence" / "search.json")
    values = [trial["validation"] for trial in found["trials"]]
    assert found["chosen"] == values.index(max(values)) == 1
    assert (found["examples"], found["validation_examples"], found["metric"]) == (120, 24, "weighted_f1")
    assert found["trials"][0]["adapt"]["rank"] == 8  # what a trial does not name is the recipe's
    assert found["seconds"] == pytest.approx(sum(trial["seconds"] for trial in found["trials"]), abs=0.1)
    manifest = read(path / "manifest.json")
    assert manifest["recipe"]["adapt"]["method"] == "full"
    assert manifest["recipe"]["search"] is None
    assert manifest["training"]["examples"] == 168
    # the stage holds its trials and what stands between them, and no more than the run took (both rounded)
    assert found["seconds"] - 0.05 <= manifest["stages"]["search"]["seconds"] <= whole + 0.01
    assert (path / "specialist" / "model.safetensors").exists()
    page = (path / "report.html").read_text(encoding="utf-8")
    assert "How its settings were chosen" in page
    assert "method full, epochs 8, batch size 8, learning rate 0.005" in page


def test_the_search_gives_the_run_of_the_settings_it_chose(toy_base: Path, tmp_path: Path) -> None:
    path = run(
        searching(tmp_path, toy_base, "[{adapt: {rank: 4, epochs: 2}}, {adapt: {rank: 2}}]"), out=tmp_path / "run"
    )
    chosen = read(path / "manifest.json")["recipe"]["adapt"]
    recipe = write_recipe(tmp_path, toy_base, extra=BARE)
    recipe.write_text(
        recipe.read_text("utf-8").replace("epochs: 3", f"epochs: {chosen['epochs']}, rank: {chosen['rank']}"),
        encoding="utf-8",
    )
    plain = run(recipe, out=tmp_path / "plain")
    weights = [sha256_file(p / "specialist" / "adapter_model.safetensors") for p in (path, plain)]
    assert weights[0] == weights[1]
    assert "How its settings were chosen" not in (plain / "report.html").read_text(encoding="utf-8")
    run(recipe, out=path)  # the search is taken out of the recipe: nothing of it is told any longer
    assert not (path / "evidence" / "search.json").exists()


def test_no_trial_is_repeated(toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.run import search

    tried: list[int] = []
    whole = search.train_specialist

    def counting(recipe: Any, *rest: Any, **named: Any) -> Any:
        tried.append(recipe.adapt.rank)
        return whole(recipe, *rest, **named)

    monkeypatch.setattr(search, "train_specialist", counting)
    run(searching(tmp_path, toy_base), out=tmp_path / "run")
    run(searching(tmp_path, toy_base), out=tmp_path / "run")
    assert tried == [8, 4]
    more = TRIALS.replace("[{", "[{adapt: {rank: 2, epochs: 1}}, {", 1)
    run(searching(tmp_path, toy_base, more), out=tmp_path / "run")
    assert tried == [8, 4, 2]
    trials = read(tmp_path / "run" / "evidence" / "search.json")["trials"]
    assert [trial["adapt"]["rank"] for trial in trials] == [2, 8, 4]


def test_a_stopped_trial_is_continued(toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.training import loop

    step, taken = loop._Run.step, []

    def stopping(training: Any) -> Any:
        taken.append(training.progress.step)
        if len(taken) == 13:  # in the second trial, after its first checkpoint
            raise KeyboardInterrupt
        return step(training)

    monkeypatch.setattr(loop._Run, "step", stopping)
    recipe = searching(tmp_path, toy_base)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, out=tmp_path / "run")
    assert len(list((tmp_path / "run" / "search").glob("*/result.json"))) == 1
    taken_before = len(taken)
    run(recipe, out=tmp_path / "run")
    undisturbed = run(recipe, out=tmp_path / "other")
    assert taken[taken_before] == 3  # from the checkpoint, not from the start
    found = [read(p / "evidence" / "search.json")["trials"][1]["validation"] for p in (tmp_path / "run", undisturbed)]
    assert found[0] == found[1]


def test_the_test_part_is_never_looked_at(toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.run import search
    from metier.run.data import Data

    looked: list[str] = []
    part, whole = Data.part, search.Trials.run

    def watching(trials: Any, target: Path) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Data, "part", lambda data, name: looked.append(name) or part(data, name))  # type: ignore[func-returns-value]
            return whole(trials, target)

    monkeypatch.setattr(search.Trials, "run", watching)
    run(searching(tmp_path, toy_base), out=tmp_path / "run")
    assert set(looked) == {"train", "validation"}


def test_another_base_may_be_tried(toy_base: Path, tmp_path: Path) -> None:
    other = make_base(tmp_path / "other", seed=1)
    trials = f"[{{base: {other}}}, {{base: {toy_base}, adapt: {{learning_rate: 0.00001, epochs: 1}}}}]"
    path = run(searching(tmp_path, toy_base, trials), out=tmp_path / "run")
    assert read(path / "manifest.json")["base"]["ref"] == str(other)


def test_trials_that_are_the_same_are_told(toy_base: Path, tmp_path: Path) -> None:
    with pytest.raises(MetierError, match="trials 1 and 2 are the same"):
        run(searching(tmp_path, toy_base, "[{}, {adapt: {rank: 8}}]"), out=tmp_path / "run")


def test_a_misspelt_setting_is_told_with_its_place(toy_base: Path, tmp_path: Path, command: Command) -> None:
    code, _, err = command("run", searching(tmp_path, toy_base, "[{}, {adapt: {rnak: 8}}]"))
    assert code == 2
    assert "search.trials.1.adapt.rnak" in err
    assert "did you mean 'rank'?" in err
    code, _, err = command("run", searching(tmp_path, toy_base, "[{}]"))
    assert code == 2
    assert "search.trials" in err
    missing = tmp_path / "nowhere"
    code, _, err = command("run", searching(tmp_path, toy_base, f"[{{}}, {{base: {missing}}}]"))
    assert code == 2
    assert str(missing) in err


def test_a_trial_keeps_what_it_does_not_name(toy_base: Path, tmp_path: Path) -> None:
    recipe = load_recipe(searching(tmp_path, toy_base))
    assert recipe.search is not None
    first = recipe.with_settings(recipe.search.trials[0])
    assert first.adapt == recipe.adapt.model_copy(update={"learning_rate": 0.0001, "epochs": 1})
    assert first.base == recipe.base
