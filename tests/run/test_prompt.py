"""Prompt tuning from recipe to specialist, on the toy base."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metier import Specialist
from metier.errors import MetierError
from metier.evaluation.evidence import read_predictions, read_scores
from metier.evaluation.retention import document_bits
from metier.files import sha256_file
from metier.inference.engines.graph import LabelScorer
from metier.inference.engines.torch_engine import TorchEngine
from metier.models.forward import Runner
from metier.models.soft_prompt import soft_prompt
from metier.recipe import load_recipe
from metier.run import again, curve, run
from metier.run.preflight import preflight
from metier.run.rivals import rival_differences
from metier.tasks import Example
from metier.training import loop
from tests.toy import LABELS, sentences, write_recipe

PROMPT = "adapt: {method: prompt, length: 6, epochs: 2, batch_size: 16, learning_rate: 0.05, checkpoint_every: 3}\n"
TEXTS = [text for text, _ in sentences(6, seed=8)]


def recipe_of(folder: Path, base: Path, adapt: str = PROMPT, extra: str = "measure: {systems: [majority]}\n") -> Path:
    folder.mkdir(exist_ok=True)
    path = write_recipe(folder, base, extra=extra)
    path.write_text(re.sub(r"(?m)^adapt: .*\n", adapt, path.read_text()))
    return path


@pytest.fixture(scope="module")
def finished(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompt")
    return run(recipe_of(folder, toy_base), out=folder / "out")


def test_the_run_says_what_was_trained(finished: Path) -> None:
    training = json.loads((finished / "manifest.json").read_text())["training"]
    assert training["trainable_parameters"] == 6 * 48
    assert training["soft_tokens"] == 6
    assert "6 vectors in front of every prompt" in (finished / "report.html").read_text(encoding="utf-8")
    card = (finished / "specialist" / "README.md").read_text(encoding="utf-8")
    assert "library_name: peft" in card
    assert "by prompt tuning" in card
    assert "without the soft prompt nothing is forgotten" in card
    adapt = json.loads((finished / "manifest.json").read_text())["recipe"]["adapt"]
    assert not {"rank", "targets", "lowest_layer"} & set(adapt)


def test_the_code_of_the_card_gives_the_same_probabilities(finished: Path, toy_base: Path) -> None:
    card = (finished / "specialist" / "README.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", card, re.S) if "PROMPT" in block)
    names: dict[str, Any] = {}
    code = code.replace("path/to/the/base", str(toy_base)).replace(
        'SPECIALIST = "."', f"SPECIALIST = {str(finished / 'specialist')!r}"
    )
    exec(compile(code, "card", "exec"), names)
    specialist = Specialist.load(finished)
    assert soft_prompt(specialist.runner.model) is not None
    for answer, text in zip(specialist.predict(TEXTS), TEXTS, strict=True):
        plain = names["classify"](text)
        assert answer.probabilities == pytest.approx(plain, abs=1e-4)  # type: ignore[union-attr]


def test_a_run_stopped_twice_ends_with_the_same_bytes(
    finished: Path, toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, step, last = recipe_of(tmp_path, toy_base), loop._Run.step, 0

    def until(self: Any) -> tuple[float, float]:
        if self.progress.step == last:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(loop._Run, "step", until)
    for last in (5, 13):  # noqa: B007 - read by until
        with pytest.raises(KeyboardInterrupt):
            run(recipe, out=tmp_path / "out")
    monkeypatch.undo()
    run(recipe, out=tmp_path / "out")
    for name in ("adapter_model.safetensors", "adapter_config.json", "template.json", "calibration.json"):
        assert sha256_file(tmp_path / "out" / "specialist" / name) == sha256_file(finished / "specialist" / name), name


def test_a_graph_bakes_the_soft_prompt_in(finished: Path) -> None:
    specialist = Specialist.load(finished, engine="torch")
    engine = specialist.engine
    assert isinstance(engine, TorchEngine)
    assert engine.stored
    assert engine.stored[0][0].shape[1] == 6 + len(engine.prefix)
    graph = LabelScorer(engine.runner.model, [(k.clone(), v.clone()) for k, v in engine.stored], engine.answers).eval()
    prompts = [specialist.encoder.prompt({"text": text}) for text in TEXTS]
    expected = engine.label_logprobs(prompts)
    for prompt, row in zip(prompts, expected, strict=True):
        rest = torch.tensor([prompt[len(engine.prefix) :]])
        with torch.inference_mode():
            found = graph(rest, torch.tensor([rest.shape[1]]))[0].numpy()
        assert np.abs(found - row).max() < 1e-4


def test_trials_over_length_and_rate(toy_base: Path, tmp_path: Path) -> None:
    changes = "{adapt: {length: 3}}, {adapt: {method: lora, rank: 2}}, {adapt: {learning_rate: 0.2}}"
    trials = f"search: {{trials: [{changes}], examples: 32}}\n"
    path = run(recipe_of(tmp_path, toy_base, extra="measure: {systems: []}\n" + trials), out=tmp_path / "out")
    found = json.loads((path / "evidence" / "search.json").read_text())
    sizes = [trial["trainable_parameters"] for trial in found["trials"]]
    assert (sizes[0], sizes[2]) == (3 * 48, 6 * 48)
    assert sizes[1] > 1000


def test_a_curve_of_two_ways_from_the_same_examples(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "FEWEST_STEPS", 4)
    rivals = "{low-rank: {epochs: 1, learning_rate: 0.01, rank: 2}}"
    extra = f"measure: {{systems: [majority]}}\ncurve: {{sizes: [40], rivals: {rivals}}}\n"
    adapt = PROMPT.replace("epochs: 2", "steps: 8")
    target = curve(recipe_of(tmp_path, toy_base, adapt=adapt, extra=extra), out=tmp_path / "out")
    found = json.loads(target.read_text())
    assert found["methods"] == {"specialist": "prompt", "low-rank": "lora"}
    assert [point["examples"] for point in found["points"]] == [40, 168]
    for point in found["points"]:
        folder = tmp_path / "out" / "curve" / "low-rank" / str(point["examples"])
        score = read_scores(folder / "evidence" / "scores.json")["table"]["specialist"]["metrics"]["weighted_f1"]
        assert point["systems"]["low-rank"] == score
        gap = point["systems"]["specialist"]["value"] - score["value"]
        assert point["against"]["low-rank"]["value"] == pytest.approx(gap)
        ids = json.loads((folder / "data" / "splits.json").read_text())["ids"]
        mine = tmp_path / "out" / ("curve/40" if point["examples"] == 40 else "")
        assert ids == json.loads((mine / "data" / "splits.json").read_text())["ids"]
    folders = {"low-rank": tmp_path / "out" / "curve" / "low-rank" / "40"}
    about = (tmp_path / "out" / "curve" / "40", folders, "table", list(LABELS), "accuracy", 0)
    names = [p.example_id for p in read_predictions(about[0] / "evidence" / "predictions" / "table.specialist.parquet")]
    patient = [Example(name, {"text": ""}, LABELS[0], group="p") for name in names]
    alone, shared = rival_differences(*about)["low-rank"], rival_differences(*about, patient)["low-rank"]
    assert shared["value"] == alone["value"]
    assert shared["high"] - shared["low"] > alone["high"] - alone["low"]  # one patient shows no spread
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "minus low-rank" in page
    assert "low-rank by LoRA" in page


@pytest.mark.parametrize(
    ("adapt", "said"),
    [
        ("{method: prompt, rank: 8}", "'rank' is not for prompt tuning"),
        ("{method: prompt, lowest_layer: auto}", "'lowest_layer' is not for prompt tuning"),
        ("{method: prompt, targets: all}", "'targets' is not for prompt tuning"),
        ("{length: 20}", "'length' is for prompt tuning"),
        ("{method: prompt, init: vocabulary, init_text: x}", "'init_text' is for init: text"),
        ("{method: prompt, steps: 9, epochs: 2}", "give 'epochs' or 'steps'"),
        ("{preset: med-pam}", "med-palm"),
    ],
)
def test_what_means_nothing_for_the_method_is_refused(
    adapt: str, said: str, toy_base: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    path = recipe_of(tmp_path, toy_base, adapt=f"adapt: {adapt}\n")
    code, _, err = command("validate", path)
    assert code == 2
    assert said in " ".join(err.split())
    assert "line 4" in err


def test_a_trial_that_means_nothing_is_refused(toy_base: Path, tmp_path: Path) -> None:
    path = recipe_of(tmp_path, toy_base, extra="search: {trials: [{}, {adapt: {rank: 4}}]}\n")
    with pytest.raises(MetierError, match="number 2: 'rank' is not for prompt tuning"):
        load_recipe(path)


def test_the_published_settings_and_grid(toy_base: Path, tmp_path: Path) -> None:
    path = recipe_of(tmp_path, toy_base, adapt="adapt: {preset: med-palm}\n", extra="search: {grid: med-palm}\n")
    recipe = load_recipe(path)
    adapt = recipe.adapt
    assert (adapt.method, adapt.length, adapt.init, adapt.init_spread) == ("prompt", 100, "uniform", 0.5)
    assert (adapt.rate, adapt.weight_decay, adapt.batch_size) == (0.003, 0.00001, 32)
    assert (adapt.updates(40), adapt.passes(40)) == (200, 100)
    assert recipe.search
    tried = [recipe.with_settings(trial).adapt for trial in recipe.search.trials]
    assert {(a.rate, a.weight_decay) for a in tried} == {
        (rate, decay) for rate in (0.001, 0.003, 0.01) for decay in (0.001, 0.00001)
    }
    assert {a.steps for a in tried} == {200}
    path.write_text(path.read_text().replace("med-palm}\nretention", "med-palm, length: 20, epochs: 4}\nretention"))
    changed = load_recipe(path).adapt
    assert (changed.length, changed.updates(40), changed.rate) == (20, 8, 0.003)
    again = type(adapt).model_validate(adapt.model_dump(mode="json"))
    assert again.model_dump(mode="json") == adapt.model_dump(mode="json")


def test_the_time_told_before_goes_with_the_steps(toy_base: Path, tmp_path: Path) -> None:
    def minutes_at_one_speed(adapt: str) -> float:
        recipe = recipe_of(tmp_path, toy_base, adapt=f"adapt: {{method: prompt, batch_size: 16, {adapt}}}\n")
        found = preflight(recipe, data_root=None, offline=True)
        assert found.train_seconds is not None
        assert found.device.gflops
        return found.train_seconds * found.device.gflops

    epochs = minutes_at_one_speed("epochs: 2")
    assert minutes_at_one_speed("steps: 22") == pytest.approx(epochs)  # 168 examples are 11 steps
    assert minutes_at_one_speed("steps: 44") == pytest.approx(2 * epochs)


def test_forgetting_is_measured_with_the_soft_prompt_in_place(finished: Path) -> None:
    specialist = Specialist.load(finished, engine="torch")
    tokenizer = specialist.encoder.tokenizer
    bits, _ = document_bits(specialist.runner, tokenizer, TEXTS[:2])
    base = Runner(specialist.runner.model.get_base_model())
    without, _ = document_bits(base, tokenizer, TEXTS[:2])
    assert np.abs(bits - without).min() > 1e-3
