"""``metier plan`` as a user calls it: BloombergGPT's row, plans from a few numbers, and every way to ask wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metier.models.device import Device
from metier.run import plan as planning

Run = Callable[..., tuple[int, str, str]]
RECIPE = Path(__file__).parents[2] / "recipes" / "bloomberggpt-50b.yaml"


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is the same everywhere: 100 GFLOP/s and 16 GB."""
    device = Device("cpu", "float32", "asked for", 2, "a processor", 16.0, 100.0)
    monkeypatch.setattr(planning, "choose_device", lambda *_: device)


def planned(command: Run, *arguments: object) -> dict[str, Any]:
    code, out, err = command("plan", *arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_bloomberggpts_row(command: Run) -> None:
    found = planned(command, RECIPE)
    assert found["parameters"] == found["parameters_by_formula"] == 50_558_868_480
    assert (found["hidden_levine"], found["hidden"], found["heads"], found["head_dim"]) == (7510, 7680, 40, 192)
    assert (found["tokens"], found["steps"]) == (568_747_622_400, 139_200)
    assert found["warmup"] == [{"steps": 7200, "sequences": 1024}]
    assert (found["sequences"], found["sequence_length"]) == (2048, 2048)
    assert f"{found['flops']:.2e}" == "2.36e+23"
    assert (found["hardware"]["tflops"], found["hardware"]["devices"]) == (102, 512)
    assert round(found["gpu_hours"] / 1000) == 643
    assert found["fits"]
    ratios = {name: law["tokens_per_parameter"] for name, law in found["laws"].items()}
    assert ratios["chinchilla-published"] > 80
    assert all(15 < ratio < 25 for name, ratio in ratios.items() if name != "chinchilla-published")
    assert found["memory"]["checkpointed"]["total"] <= found["memory"]["usable"] < found["memory"]["kept"]["total"]
    assert found["this_machine"]["plan_fits"] is False


def test_every_number_is_printed_with_formula_and_source(command: Run) -> None:
    code, out, err = command("plan", RECIPE)
    assert code == 0, err
    for part in (
        "50,558,868,480", "7,510", "7,680 = 40 × 192", "568.75B", "139,200", "2.36e+23", "643,413",
        "1,024 sequences (2.10M) for 7,200 steps", "exp(5.039)·exp(0.0555·L)", "Levine et al. 2020",
        "Hoffmann et al. 2022", "Besiroglu et al. 2024", "V·D + 2D + L·(12D² + 13D) + 2D gives the same",
        "published Chinchilla constants do not give 20 tokens a parameter", "recommended", "KV cache", "kWh",
    ):  # fmt: skip
        assert part in out, part
    for row in planned(command, RECIPE)["derivation"]:
        assert row["formula"] or row["source"], row


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["--hours", "3"], "hours"),
        (["--flops", "1e17", "--family", "bloom"], "flops"),
        (["--gpu-hours", "8"], "gpu_hours"),
        (["--dollars", "100", "--device", "rtx-3090"], "dollars"),
    ],
)
def test_from_a_budget_alone(command: Run, options: list[str], kind: str) -> None:
    found = planned(command, *options)
    assert found["budget"]["kind"] == kind
    assert found["fits"]
    assert found["hidden"] == found["heads"] * found["head_dim"]
    assert found["flops_model"] == pytest.approx(found["budget_training_flops"], rel=0.02)
    assert found["flops_model"] == pytest.approx(6 * found["parameters"] * found["tokens"])
    assert 10 < found["tokens_per_parameter"] < 60
    if kind == "hours":
        assert found["hardware"]["name"] == "this-machine"
        assert 0.98 * 3 * 3600 < found["seconds"] <= 3 * 3600


def test_more_compute_than_text_is_told_with_what_is_sensible(command: Run) -> None:
    _, out, err = command("plan", "--flops", "1e18", "--data-tokens", "1e6", "--json")
    told = " ".join(json.loads(out)["notes"])
    for part in ("more than this text can use", "the law wants 2.07B tokens", "there are 1.00M", "167.84B parameters",
                 "up to 4 epochs", "arXiv 2305.16264", "more text: 2.07B tokens"):  # fmt: skip
        assert part in told
        assert part in err.replace("note: ", "")
    best = float(told.partition("fewer FLOPs: ")[2].split()[0])
    found = planned(command, "--flops", best, "--parameters", "400e3", "--vocabulary", 256, "--data-tokens", "1e6")
    assert found["laws"][found["law"]]["tokens"] == pytest.approx(1e6, rel=0.05)
    assert not found["notes"]
    enough = ["--flops", "1e15", "--data-tokens", "40e6", "--sequence-length", 128]
    assert "enough for this budget" in planned(command, *enough)["notes"][1]
    assert planned(command, *enough, "--epochs", 4)["notes"] == []


def test_epochs_of_a_text_are_told_apart_from_its_tokens(command: Run) -> None:
    found = planned(command, "--flops", "1e15", "--data-tokens", "1e6", "--epochs", 4, "--sequence-length", 128)
    rows = {row["name"]: row for row in found["derivation"]}
    assert rows["tokens there are"]["value"] == "1.00M × 4 epochs = 4.00M"
    assert float(rows["epochs"]["value"]) == pytest.approx(found["tokens"] / 1e6, abs=0.01)
    assert "there are 4.00M (1.00M seen 4 times)" in found["notes"][0]
    code, _, err = command("plan", "--hours", 8, "--epochs", 3)
    assert (code, "option --epochs" in err, "give the distinct tokens there are" in err) == (2, True, True)


def test_a_text_shorter_than_a_step_is_what_is_told(command: Run) -> None:
    code, _, err = command("plan", "--hours", 8, "--data-tokens", 100)
    assert code == 2
    assert "option --data-tokens" in err
    assert "give more text" in err


def test_from_a_size_alone(command: Run) -> None:
    found = planned(command, "--parameters", "10e6", "--vocabulary", 8192)
    assert 7e6 < found["parameters"] < 14e6
    assert found["laws"][found["law"]]["tokens_per_parameter"] == pytest.approx(found["tokens_per_parameter"], rel=0.02)
    assert found["this_machine"]["plan_fits"]
    assert list(found["this_machine"]["by_hours"]) == ["1", "8", "24"]


def test_a_plan_that_does_not_fit_is_shown_and_refused_with_what_would_fit(command: Run) -> None:
    code, out, err = command("plan", "--parameters", "50e9", "--device", "a100-40gb", "--json")
    assert code == 2
    found = json.loads(out)
    assert found["fits"] is False
    assert found["problems"][0]["remedies"]
    assert "does not fit" in err
    assert "× a100-40gb, everything sharded" in err
    assert "a smaller model: at most" in err


PLAN = """name: mine
plan:
  budget:
    gpu_hours: 1000
  hardware:
    device: a100-40gb
    devices: 8
  model:
    head_dim: 64
    layers: 24
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("gpu_hours: 1000", "gpu_hours: -1000", ["line 4", "plan.budget.gpu_hours", "more than 0", "-1000"]),
        ("gpu_hours: 1000", "gpu_hours: .inf", ["line 4", "plan.budget.gpu_hours", "finite"]),
        ("gpu_hours: 1000", "gpu_hours: 10\n    flops: 1e20", ["line 3", "plan.budget", "not gpu_hours and flops"]),
        ("gpu_hours: 1000", "reserve: 0.5", ["line 3", "plan.budget", "not none"]),
        ("gpu_hours: 1000", "gpu_hour: 1000", ["line 4", "did you mean 'gpu_hours'?"]),
        ("devices: 8", "devices: 0", ["line 7", "plan.hardware.devices", "at least 1", "found 0"]),
        ("devices: 8", "devices: 8\n    shard: 3", ["line 8", "plan.hardware.shard", "grouped by 3"]),
        ("a100-40gb", "a100", ["line 6", "plan.hardware.device", "did you mean 'a100-"]),
        ("layers: 24", "layers: 24\n    hidden: 100", ["line 11", "plan.model.hidden", "head_dim: 64"]),
        ("layers: 24", "layers: 24\n    heads: 4\n    hidden: 320", ["line 12", "plan.model.hidden", "width of 256"]),
        ("layers: 24", "layers: 24\n    heads: 5\n    kv_heads: 2", ["line 12", "plan.model.kv_heads", "5 heads"]),
        ("layers: 24", "layers: 24\n    parameters: 1e9", ["line 10", "plan.model.layers", "leave one out"]),
        ("layers: 24", "layers: 24\n  schedule: {steps: 9, tokens: 9}", ["line 11", "schedule.tokens", "leave one"]),
        ("layers: 24", "layers: 24\n  schedule: {sequences: 12}", ["line 11", "schedule.sequences", "12 sequences"]),
        ("layers: 24", "layers: 24\n  law: chinchila", ["line 11", "plan.law", "chinchilla-published"]),
        ("layers: 24", "layers: 24\n  checkpointing: perhaps", ["line 11", "plan.checkpointing", "auto"]),
        ("layers: 24", "layers: 90", ["does not fit", "line 6", "36.0 GB", "a smaller model"]),
    ],
)  # fmt: skip
def test_faults_of_a_recipe_name_line_and_field(
    command: Run, tmp_path: Path, old: str, new: str, told: list[str]
) -> None:
    assert old in PLAN
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(PLAN.replace(old, new))
    code, _, err = command("plan", recipe)
    assert code == 2
    for part in ["recipe.yaml", *told]:
        assert part in err, err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "a plan needs a recipe or numbers"),
        ([RECIPE, "--hours", "3"], "not both"),
        (["--hours", "-3"], "option --hours"),
        (["--hours", "nan"], "option --hours"),
        (["--hours", "3", "--flops", "1e17"], "hours"),
        (["--hours", "3", "--devices", "0"], "option --devices"),
        (["--hours", "3", "--device", "a100"], "did you mean 'a100-"),
        (["--hours", "3", "--device", "nope"], "fix:   known: a100-40gb"),
        (["--dollars", "-5"], "fix:   write more than 0"),
        (["--flops", "1e30", "--hours", "3"], "fix:   keep one of --gpu-hours"),
        (["--hours", "3", "--family", "gpt"], "option --family"),
        (["--hours", "1e-9"], "less than one step"),
        (["--flops", "1e30"], "no shape has"),
        (["--flops", "1e300"], "option --flops"),
        (["--hours", "1e300"], "option --hours"),
        (["--gpu-hours", "1e300"], "which no training takes"),
        (["--dollars", "1e300"], "option --dollars"),
        (["--hours", "8", "--devices", "1" + "0" * 400], "too large to reckon with"),
        (["--hours", "8", "--data-tokens", "1"], "option --data-tokens"),
        (["--parameters", "1e5"], "option --parameters"),
        (["--dollars", "5", "--device", "l4"], "option --dollars-per-hour"),
        (["--vocabulary", "1000"], "nothing to plan from"),
        (["none.yaml"], "no such recipe"),
    ],
)
def test_what_is_asked_wrongly(command: Run, options: list[object], told: str) -> None:
    code, out, err = command("plan", *options)
    assert (code, out) == (2, "")
    assert told in err
    assert "fix: " in err


def test_a_recipe_without_a_task_is_planned_only(command: Run, tmp_path: Path) -> None:
    for verb in ("run", "validate", "curve"):
        code, _, err = command(verb, RECIPE, *(["--out", tmp_path / "out"] if verb != "validate" else []))
        assert code == 2
        assert "has no task" in err
        assert "metier plan" in err
        assert not (tmp_path / "out").exists()
    (tmp_path / "r.yaml").write_text("name: mine\ntask: {name: finance-starter}\n")
    code, _, err = command("plan", tmp_path / "r.yaml")
    assert code == 2
    assert "has no plan" in err
    (tmp_path / "r.yaml").write_text("name: mine\n")
    code, _, err = command("run", tmp_path / "r.yaml")
    assert code == 2
    assert "'task' is missing" in err
