"""Engines: what is exported answers as torch does, or is not written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from metier import Specialist
from metier.errors import MetierError
from metier.evaluation.evidence import read_predictions
from metier.evaluation.scoring import normalise, score
from metier.inference.engines import choose, fixed_prefix, openvino_export
from metier.inference.engines.graph import LabelScorer
from metier.inference.engines.openvino_engine import OpenvinoEngine, load_engine
from metier.inference.engines.openvino_export import compare, export_openvino
from metier.inference.engines.torch_engine import TorchEngine, load_runner
from metier.models.adapters import load_adapter
from metier.models.forward import Runner
from metier.models.load import load_model
from metier.run import run as carry_out
from tests.toy import sentences, write_recipe

TEXTS = [text for text, _ in sentences(12, seed=5)]
LONG = "shares rose because " + "of profit and again " * 12
# answers of several tokens, of which one begins another
SEVERAL = ", label_map: {negative: goes down, neutral: up, positive: up strongly}"


def _finish(toy_base: Path, folder: Path, labels: str = "") -> Path:
    recipe = write_recipe(folder, toy_base, extra="measure: {systems: [majority]}\n")
    recipe.write_text(recipe.read_text().replace("label: mood}", f"label: mood{labels}}}"))
    return carry_out(recipe, out=folder / "out")


@pytest.fixture(scope="module")
def finished(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finish(toy_base, tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="module")
def exported(finished: Path) -> Path:
    export_openvino(finished)
    return finished


@pytest.fixture(scope="module")
def several(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finish(toy_base, tmp_path_factory.mktemp("several"), SEVERAL)


def _reference(run: Path) -> tuple[TorchEngine, np.ndarray, list[tuple[int, ...]]]:
    """The torch engine, and what an unmerged adapter gives for every prompt alone without a stored prefix."""
    specialist = Specialist.load(run, engine="torch")
    bundle, encoder = specialist.bundle, specialist.encoder
    assert isinstance(specialist.engine, TorchEngine)
    model = load_adapter(load_model(Path(bundle.base["path"]), dtype=torch.float32, device="cpu"), bundle.folder)
    runner = Runner(model, packing=False)
    texts = [*TEXTS, LONG, "\n\nrose", " fell"]
    found = [score(runner, [encoder.choice_item({"text": text}, specialist.labels)]).logprobs[0] for text in texts]
    return specialist.engine, np.stack(found), [encoder.prompt({"text": text}) for text in texts]


def test_the_record_has_the_answers_as_they_are_scored(several: Path) -> None:
    """One label begins another: the model card's code needs the end token, too."""
    specialist = Specialist.load(several, engine="torch")
    ids = json.loads((several / "manifest.json").read_text())["prompt"]["answer_ids"]
    assert ids == dict(zip(specialist.labels, map(list, specialist.encoder.choices(specialist.labels)), strict=True))


@pytest.mark.parametrize("run", ["finished", "several"])
def test_merged_weights_and_a_stored_prefix_change_nothing(run: str, request: pytest.FixtureRequest) -> None:
    engine, expected, prompts = _reference(request.getfixturevalue(run))
    found = engine.label_logprobs(prompts)
    assert np.abs(found - np.log(normalise(expected))).max() < 1e-4
    assert np.abs(found[3] - engine.label_logprobs([prompts[3]])[0]).max() < 1e-5
    assert not any("lora" in name for name, _ in engine.runner.model.named_parameters())
    assert len(engine.prefix) > 10
    odd = (engine.prefix[0] + 1, *prompts[0])  # begins in another way: run whole
    assert np.isfinite(engine.label_logprobs([odd, prompts[0]])).all()
    assert engine.label_logprobs([]).shape == (0, 3)


def test_sixteen_bit_weights_keep_their_adapters_apart(finished: Path) -> None:
    bundle = Specialist.load(finished).bundle
    runner = load_runner(bundle, device="cpu", dtype="bfloat16")
    assert any("lora" in name for name, _ in runner.model.named_parameters())


@pytest.mark.parametrize("run", ["finished", "several"])
def test_the_graph_is_the_model(run: str, request: pytest.FixtureRequest) -> None:
    engine, expected, prompts = _reference(request.getfixturevalue(run))
    scorer = LabelScorer(engine.runner.model, [(k.clone(), v.clone()) for k, v in engine.stored or []], engine.answers)
    trunks = [prompt[len(engine.prefix) :] for prompt in prompts]
    longest = max(map(len, trunks))
    ids = torch.tensor([(0,) * (longest - len(trunk)) + trunk for trunk in trunks])
    with torch.no_grad():
        found = scorer(ids, torch.tensor([len(trunk) for trunk in trunks])).numpy()
    assert np.abs(found - np.log(normalise(expected))).max() < 1e-4


@pytest.mark.parametrize("run", ["exported", "several"])
def test_openvino_answers_as_torch_does(
    run: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    folder = request.getfixturevalue(run)
    about = export_openvino(folder)
    assert caplog.handler.level == 0  # whoever listens to warnings still hears them
    place = folder / "specialist" / "engines" / "openvino"
    assert {file.name for file in place.iterdir()} == {"model.xml", "model.bin", "engine.json"}
    assert json.loads((place / "engine.json").read_text()) == about
    check = about["check"]
    assert check["n"] == _count(folder)  # the validation and test parts
    assert check["agreement"] >= 0.995
    assert check["mean_difference"] <= check["max_difference"] < 0.05
    assert min(check["torch_ms"], check["openvino_ms"]) > 0
    engine, expected, prompts = _reference(folder)
    specialist = Specialist.load(folder, engine="openvino")
    assert isinstance(specialist.engine, OpenvinoEngine)
    assert specialist.engine_reason == "openvino: asked for"
    agreement = compare(np.log(normalise(expected)), specialist.engine.label_logprobs(prompts))
    assert agreement.max_difference < 0.05
    assert specialist.engine.label_logprobs([]).shape[0] == 0
    with pytest.raises(MetierError, match="does not begin"):
        specialist.engine.label_logprobs([prompts[0][1:]])
    with pytest.raises(MetierError, match="only gives label probabilities"):
        specialist.runner  # noqa: B018
    assert engine.prefix == specialist.engine.prefix


def test_openvino_needs_neither_base_nor_adapter(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the base was loaded")

    monkeypatch.setattr("metier.inference.engines.torch_engine.load_model", refuse)
    answer = Specialist.load(exported, engine="openvino").predict(TEXTS[:1])[0]
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)


def test_an_export_that_disagrees_is_not_written(several: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _tree(several)
    real = OpenvinoEngine.label_logprobs

    def turned(self: OpenvinoEngine, prompts: list[tuple[int, ...]]) -> np.ndarray:
        return real(self, prompts)[:, [1, 2, 0]]

    monkeypatch.setattr(OpenvinoEngine, "label_logprobs", turned)
    with pytest.raises(MetierError, match=rf"same label on \d+\.\d+% of {_count(several)} texts"):
        export_openvino(several)
    assert _tree(several) == before


def test_compare_says_how_far_apart_two_engines_are() -> None:
    one = np.log([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    other = np.log([[0.3, 0.5, 0.2], [0.1, 0.1, 0.8]])
    found = compare(one, other)
    assert (found.n, found.agreement, found.good) == (2, 0.5, False)
    assert found.mean_difference == pytest.approx(0.1)
    assert found.max_difference == pytest.approx(0.2)
    assert compare(one, one).good


def test_a_stale_export_is_refused_and_made_again(toy_base: Path, tmp_path: Path) -> None:
    run = _finish(toy_base, tmp_path)
    key = export_openvino(run)["key"]
    template = run / "specialist" / "template.json"
    template.write_text(template.read_text() + "\n")
    with pytest.raises(MetierError, match="stale") as caught:
        Specialist.load(run, engine="openvino")
    assert f"metier export {run}" in str(caught.value)
    specialist = Specialist.load(run)
    assert specialist.engine.name == "torch"
    assert "stale" in specialist.engine_reason
    assert export_openvino(run)["key"] != key
    assert Specialist.load(run, engine="openvino").engine.name == "openvino"


def test_calibration_does_not_make_an_export_stale(exported: Path) -> None:
    file = exported / "specialist" / "calibration.json"
    before = file.read_text()
    try:
        file.write_text(json.dumps({"temperature": 5.0}))
        flat = Specialist.load(exported, engine="openvino").predict(TEXTS[:1])[0]
        sharp = Specialist.load(exported, engine="torch").predict(TEXTS[:1])[0]
    finally:
        file.write_text(before)
    assert flat.probability == pytest.approx(sharp.probability, abs=0.02)


def test_a_damaged_export_says_how_to_make_it_again(several: Path) -> None:
    export_openvino(several)
    place = several / "specialist" / "engines" / "openvino"
    (place / "model.xml").write_text("<net")
    with pytest.raises(MetierError, match="cannot be loaded"):
        Specialist.load(several, engine="openvino")
    (place / "engine.json").write_text("{half")
    with pytest.raises(MetierError, match="damaged"):
        Specialist.load(several, engine="openvino")


def test_a_missing_package_is_named_with_its_extra(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MetierError, match=r"metier\[serve\]"):
        Specialist.load(exported, engine="openvino")
    with pytest.raises(MetierError, match=r"metier\[serve\]"):
        export_openvino(exported)
    specialist = Specialist.load(exported)
    assert specialist.engine.name == "torch"
    assert "not installed" in specialist.engine_reason


def test_nothing_is_reported_to_anyone(exported: Path) -> None:
    load_engine(Specialist.load(exported, engine="torch").bundle)
    assert sys.modules["openvino_telemetry"] is None


def test_auto_takes_the_faster_engine_and_says_why(
    exported: Path, several: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, first in (([0.05, 0.02], "openvino"), ([0.02, 0.05], "torch")):
        monkeypatch.setattr(choose, "median_seconds", lambda *args, s=seconds: s)
        specialist = Specialist.load(exported)
        assert specialist.engine.name == first
        assert specialist.engine_reason.startswith(f"{first} (")
        assert "20.0 ms a sentence here" in specialist.engine_reason
        assert "50.0 ms" in specialist.engine_reason
    many = Specialist.load(exported, many=True)
    assert "20.0 ms a sentence in batches here" in many.engine_reason
    asked = Specialist.load(exported, dtype="float32")
    assert asked.engine_reason == "torch: float32 on cpu, lean modules"


def test_the_command_line(toy_base: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    run, call = _finish(toy_base, tmp_path), command
    assert "engine torch: no other engine is exported" in call("predict", run, TEXTS[0])[2]
    code, _, err = call("predict", run, TEXTS[0], "--engine", "openvino")
    assert code == 2
    assert f"metier export {run}" in err
    code, out, err = call("export", run, "--engine", "openvino")
    assert code == 0, err
    assert f"of {_count(run)} texts" in out
    code, out, err = call("predict", run, TEXTS[0], "--engine", "openvino")
    assert (code, err.strip()) == (0, "engine openvino: asked for")
    assert out.split("\t")[0] == call("predict", run, TEXTS[0], "--engine", "torch")[1].split("\t")[0]
    for wrong in (("predict", run, "x", "--engine", "openvin"), ("export", run, "--engine", "onnx")):
        code, _, err = call(*wrong)
        assert code == 2
        assert "openvino" in err
    code, _, err = call("export", run / "specialist" / "engines")
    assert code == 2
    assert "no finished specialist" in err
    (run / "evidence" / "predictions" / "table.specialist.parquet").unlink()
    code, _, err = call("export", run)
    assert code == 2
    assert "no texts here" in err


def test_the_fixed_prefix_ends_before_anything_that_the_text_changes(finished: Path) -> None:
    encoder = Specialist.load(finished, engine="torch").encoder
    prefix = fixed_prefix(encoder)
    for text in ("rose", "\n\n\n", "Ü", "\u2028x", "ﬁn", "<|im_end|>", "0"):
        assert encoder.prompt({"text": text})[: len(prefix)] == prefix


def test_a_base_with_short_attention_is_refused(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = openvino_export.load_runner

    def short(*args: object, **kwargs: object) -> Runner:
        runner = real(*args, **kwargs)  # type: ignore[arg-type]
        runner.model.config.sliding_window = 16
        return runner

    monkeypatch.setattr(openvino_export, "load_runner", short)
    with pytest.raises(MetierError, match="sees 16 tokens"):
        export_openvino(finished)


def _count(run: Path) -> int:
    return len(read_predictions(run / "evidence" / "predictions" / "table.specialist.parquet"))


def _tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


def test_probabilities_are_made_double_on_the_processor(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnDevice(torch.Tensor):
        def double(self) -> torch.Tensor:  # type: ignore[override]
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

        def cpu(self) -> torch.Tensor:  # type: ignore[override]
            return self.as_subclass(torch.Tensor)

    engine, _, prompts = _reference(finished)
    monkeypatch.setattr(engine, "_run", lambda items, *_: torch.zeros(len(items), 3).as_subclass(OnDevice))
    assert engine.label_logprobs(prompts[:1]).tolist() == [[0.0, 0.0, 0.0]]
