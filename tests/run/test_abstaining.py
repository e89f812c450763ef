"""A demand on accuracy from recipe to answers, sets of labels, and referrals; one toy run serves all tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metier import Specialist
from metier.errors import MetierError
from metier.evaluation.demand import in_words
from metier.evaluation.evidence import read_predictions
from metier.evaluation.scores import Prediction
from metier.evaluation.selective import Promise
from metier.inference.guardrails import guard
from metier.inference.specialist import TextAnswer
from metier.recipe import load_recipe
from metier.recipe.selective import Selective
from metier.run import run as carry_out
from metier.run.selective import calibrate_answers
from metier.sources import read_table, write_table
from tests.toy import LABELS, sentences, write_recipe

Run = Callable[..., tuple[int, str, str]]
TEXTS = [text for text, _ in sentences(12, seed=5)]
FLAGGED = "I want to kill myself"
DEMAND = "measure: {systems: [majority]}\nselective: {accuracy: 0.99}\n"


@pytest.fixture(scope="module")
def finished(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selective")
    recipe = write_recipe(folder, toy_base, extra=DEMAND)
    text = recipe.read_text().replace("label: mood", "label: mood, domain: medicine")
    recipe.write_text(text.replace("epochs: 3", "epochs: 1"))
    return carry_out(recipe, out=folder / "out")


def with_threshold(finished: Path, folder: Path, value: float | None) -> Path:
    """The specialist alone, as if another threshold had been found."""
    path = folder / "specialist"
    shutil.copytree(finished / "specialist", path)
    file = path / "calibration.json"
    about = json.loads(file.read_text())
    about["selective"] |= {"threshold": value}
    file.write_text(json.dumps(about))
    return path


def test_a_demand_that_takes_all_of_validation_is_refused_before_anything_is_learnt(
    toy_base: Path, tmp_path: Path, command: Run
) -> None:
    rows = [
        {"text": f"word{label} number {label * 5 + i}", "mood": f"l{label}"} for label in range(12) for i in range(5)
    ]
    write_table(tmp_path / "few.csv", rows, ["text", "mood"])
    task = f"task: {{file: {tmp_path / 'few.csv'}, label: mood}}\n"
    recipe = tmp_path / "few.yaml"
    recipe.write_text(f"name: few\nbase: {toy_base}\n{task}selective: {{accuracy: 0.9}}\n")
    code, _, err = command("validate", recipe)
    assert code == 2
    assert "takes all" in err
    assert "split.validation" in err


def test_a_demand_that_12_examples_cannot_show_abstains_from_everything_and_says_so(
    finished: Path, command: Run
) -> None:
    about = json.loads((finished / "specialist" / "calibration.json").read_text())
    assert about["selective"]["threshold"] is None
    assert about["selective"]["n"] == 12
    entry = json.loads((finished / "evidence" / "scores.json").read_text())["table"]["specialist"]
    assert entry["selective"]["test"]["held"] == "nothing answered"
    code, out, err = command("predict", finished, TEXTS[0])
    assert code == 0
    assert out.startswith("(abstained)")
    assert "it abstains from everything" in err
    assert "there are 12" in err
    for option in (["--answer-all"], ["--abstain-below", "0"]):
        assert command("predict", finished, TEXTS[0], *option)[1].split("\t")[0] in LABELS
    assert "(abstained)" in command("predict", finished, TEXTS[0], "--abstain-below", "1")[1]
    card, page = ((finished / name).read_text() for name in ("specialist/README.md", "report.html"))
    assert "abstains from everything" in card
    assert "abstains from everything" in page
    code, _, err = command("predict", finished, TEXTS[0], "--answer-all", "--abstain-below", "0.5")
    assert code == 2
    assert "contradict" in err


def test_what_strategies_answer_carries_no_promise_and_that_is_said_before(
    toy_base: Path, tmp_path: Path, command: Run
) -> None:
    asked = "strategies: [{name: self-consistency, samples: 3}]\n"
    code, out, _ = command("validate", write_recipe(tmp_path, toy_base, extra=DEMAND + asked))
    assert code == 0
    assert "the demand on accuracy is for what the specialist answers by likelihood" in " ".join(out.split())
    code, out, _ = command("validate", write_recipe(tmp_path, toy_base, extra=DEMAND))
    assert "by likelihood" not in " ".join(out.split())


def test_a_threshold_is_applied_unless_told_otherwise(finished: Path, tmp_path: Path) -> None:
    free = Specialist.load(finished).predict(TEXTS, abstain_below=0)
    middle = sorted(a.probability for a in free)[6]  # type: ignore[union-attr]
    specialist = Specialist.load(with_threshold(finished, tmp_path, middle))
    kept = [a.probability >= middle for a in free]  # type: ignore[union-attr]
    assert [not a.abstained for a in specialist.predict(TEXTS)] == kept  # type: ignore[union-attr]
    assert 0 < sum(kept) < 12
    assert not any(a.abstained for a in specialist.predict(TEXTS, abstain_below=0))  # type: ignore[union-attr]
    assert [a.label for a in specialist.predict(TEXTS)] == [a.label for a in free]  # type: ignore[union-attr]


def test_the_thresholds_do_not_repeat_a_stage(finished: Path) -> None:
    recipe = finished.parent / "recipe.yaml"
    text = recipe.read_text()
    before = json.loads((finished / "manifest.json").read_text())["stages"]
    recipe.write_text(text.replace("0.99", "0.5"))
    try:
        carry_out(recipe, out=finished)
        assert json.loads((finished / "manifest.json").read_text())["stages"] == before
        about = json.loads((finished / "specialist" / "calibration.json").read_text())["selective"]
        assert about["accuracy"] == 0.5
    finally:
        recipe.write_text(text)
        carry_out(recipe, out=finished)


def test_sets_in_python_on_the_command_line_and_in_a_table(finished: Path, command: Run, tmp_path: Path) -> None:
    specialist = Specialist.load(finished)
    answers = specialist.predict(TEXTS, sets=0.9)
    for answer in answers:
        assert not isinstance(answer, TextAnswer)
        assert answer.set
        assert answer.label in answer.set
    assert [a.set for a in specialist.predict(TEXTS)] == [None] * 12  # type: ignore[union-attr]
    wide = specialist.predict(TEXTS, sets=0.97, sets_by="aps")
    assert {a.set for a in wide} == {LABELS}  # type: ignore[union-attr]
    code, out, err = command("predict", finished, *TEXTS[:2], "--sets", "0.97")
    assert code == 0
    assert [line.split("\t")[2] for line in out.splitlines()] == ["|".join(LABELS)] * 2
    assert "12 calibration examples are too few for 97%: it takes 33" in err
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    write_table(source, [{"text": text, "set": "mine"} for text in [*TEXTS[:3], FLAGGED, ""]], ["text", "set"])
    code, out, _ = command("predict", finished, "--in", source, "--out", target, "--sets", "0.9")
    assert code == 0
    assert "1 with a red flag" in out
    found = [row.values for row in read_table(target)]
    assert list(found[0]) == ["text", "set", "label", "probability", "abstained", "metier_set", "referral"]
    assert found[0]["metier_set"] == "|".join(answers[0].set)  # type: ignore[union-attr,arg-type]
    assert [bool(row["referral"]) for row in found] == [False, False, False, True, False]
    assert found[3]["label"] in LABELS


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--sets", "0.905"], "0.50 to 0.99"), (["--sets", "1"], "0.50 to 0.99"),
     (["--sets", "0.9", "--sets-by", "raps"], "choose lac or aps")],
)  # fmt: skip
def test_sets_that_there_are_not(finished: Path, command: Run, options: list[str], said: str) -> None:
    code, _, err = command("predict", finished, TEXTS[0], *options)
    assert code == 2
    assert said in err


def test_a_specialist_made_before_there_were_sets(finished: Path, tmp_path: Path) -> None:
    path = with_threshold(finished, tmp_path, None)
    (path / "calibration.json").write_text('{"temperature": 1.5}')
    specialist = Specialist.load(path)
    assert not specialist.predict(TEXTS[:1])[0].abstained  # type: ignore[union-attr]
    with pytest.raises(MetierError, match="carries no thresholds"):
        specialist.predict(TEXTS[:1], sets=0.9)


def test_a_red_flag_gets_a_referral_beside_its_label_and_the_notice_stands_once(finished: Path, command: Run) -> None:
    medicine = guard("medicine")
    assert medicine
    specialist = Specialist.load(finished)
    assert specialist.notice == medicine.notice
    assert specialist.intended_use == medicine.intended_use
    flagged, calm = specialist.predict([FLAGGED, TEXTS[0]], abstain_below=0)
    assert flagged.referral == medicine.referrals["self-harm"]
    assert calm.referral is None
    _, out, err = command("predict", finished, FLAGGED, TEXTS[0])
    lines = [line.split("\t") for line in out.splitlines()]
    assert lines[0][2:] == [FLAGGED, f"referral: {flagged.referral}"]
    assert len(lines[1]) == 3
    assert err.count(medicine.notice) == 1
    card, page = ((finished / name).read_text() for name in ("specialist/README.md", "report.html"))
    for text in (card, page):
        assert medicine.notice in " ".join(text.split())
        assert "not a claim of safety" in " ".join(text.split())


def test_a_referral_stands_in_front_of_free_words_but_not_of_entities(finished: Path) -> None:
    specialist = Specialist.load(finished)
    flag = specialist.guard and specialist.guard.check(FLAGGED)
    assert flag
    for kind, begins in (("generation", flag.referral), ("extraction", "PER: Ann")):
        task = specialist.bundle.task.model_copy(update={"kind": kind})
        object.__setattr__(specialist.bundle, "task", task)
        answer = specialist._text_answer("PER: Ann", True, flag)
        assert answer.answer.startswith(begins)
        assert answer.answer.endswith("PER: Ann")
        assert answer.referral == flag.referral
        assert specialist._text_answer("PER: Ann", True, None) == TextAnswer("PER: Ann", True)


def test_elsewhere_the_demand_and_the_sets_are_measured_again(finished: Path, command: Run, tmp_path: Path) -> None:
    rows = [{"sentence": t, "mood": label} for t, label in sentences(400, seed=9)]
    write_table(tmp_path / "new.csv", rows, ["sentence", "mood"])
    options = ["--in", tmp_path / "new.csv", "--column", "sentence", "--gold", "mood"]
    code, out, err = command("evaluate", finished, *options)
    assert code == 0, err
    assert "abstains from everything" in out
    entry = json.loads((finished / "evidence" / "scores.json").read_text())["new"]["specialist"]
    assert {e["level"] for e in entry["conformal"]} == {0.8, 0.9, 0.95}


def predictions(finished: Path) -> list[Prediction]:
    return read_predictions(finished / "evidence" / "predictions" / "table.specialist.parquet")


def test_what_is_shipped_comes_from_validation_and_what_is_measured_from_test(finished: Path) -> None:
    found = predictions(finished)
    demand = Selective(accuracy=0.4)
    assert {p.split for p in found} == {"validation", "calibration", "test"}
    shipped, told = calibrate_answers(found, LABELS, 1.0, demand, 0)
    spoiled = [p if p.split == "calibration" else _turned(p) for p in found]
    again, worse = calibrate_answers(spoiled, LABELS, 1.0, demand, 0)
    assert again == shipped
    assert worse["conformal"] != told["conformal"]
    assert shipped["conformal"]["n"] == 12
    assert told["conformal"][0]["coverage"]["n"] == 48


def test_of_answers_in_groups_one_a_group_chooses_the_thresholds(finished: Path) -> None:
    found = [replace(p, group=f"{p.split} {place // 3}") for place, p in enumerate(predictions(finished))]
    shipped, told = calibrate_answers(found, LABELS, 1.0, Selective(accuracy=0.4), 0)
    many = {p.group for p in found if p.split == "calibration"}
    assert shipped["conformal"]["n"] == shipped["selective"]["n"] == len(many) < 12
    assert shipped["selective"]["drawn_from"] == told["selective"]["drawn_from"] == 12
    assert Promise.from_json(shipped["selective"]).to_json() == shipped["selective"]
    assert told["conformal"][0]["coverage"]["n"] == told["conformal"][0]["size"]["n"] == 48
    assert f"from {len(many)} of 12 examples, one a group" in in_words(told["selective"] | {"threshold": 0.1})


def test_a_run_on_rows_in_groups_scores_and_promises_by_them(toy_base: Path, tmp_path: Path, command: Run) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra=DEMAND)
    rows = [{"sentence": text, "mood": mood, "patient": f"p{n // 2}"} for n, (text, mood) in
            enumerate(sentences(240, seed=3))]  # fmt: skip
    write_table(tmp_path / "table.csv", rows, ["sentence", "mood", "patient"])
    text = recipe.read_text().replace("label: mood", "label: mood, group: patient")
    recipe.write_text(text[: text.index("adapt:")] + "adapt: {method: none}\n" + text[text.index("retention:") :])
    code, out, err = command("validate", recipe)
    assert code == 0, err
    assert "groups of examples (half of the validation part)" in out
    folder = carry_out(recipe, out=tmp_path / "out")
    entries = json.loads((folder / "evidence" / "scores.json").read_text())["table"]
    for system in ("majority", "specialist"):
        assert 1 < entries[system]["groups"] < entries[system]["metrics"]["accuracy"]["n"]
    assert entries["specialist"]["against"]["majority"]["test"] == "exact sign-flip test over groups"
    assert entries["specialist"]["selective"]["drawn_from"] > entries["specialist"]["selective"]["n"]
    card, page = (" ".join((folder / name).read_text().split()) for name in ("specialist/README.md", "report.html"))
    for told in (card, page):
        assert "an exact sign-flip test over groups" in told
        assert "one a group of" in told


def _turned(p: Prediction) -> Prediction:
    gold = LABELS[(LABELS.index(p.gold) + 1) % 3]
    return Prediction(**{**vars(p), "gold": gold})


def test_what_became_of_a_demand_in_words() -> None:
    test: dict[str, Any] = {"coverage": {"value": 0.5, "n": 80}, "held": "yes",
                            "accuracy": {"value": 0.95, "low": 0.83, "high": 0.99, "n": 40}}  # fmt: skip
    found = {"accuracy": 0.9, "confidence": 0.95, "by": "margin", "threshold": 0.25, "reason": None, "test": test}
    assert "answers where margin ≥ 0.250, 50.0% of 80; accuracy 0.950 [0.830, 0.990] there" in in_words(found)
    assert "none of these" in in_words(found | {"test": test | {"accuracy": None}})


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("selective: {accuracy: 90}\n", "such as 0.9"),
        ("selective: {accuracy: 0.9, by: margins}\n", "probability, margin or entropy"),
        ("selective: {acuracy: 0.9}\n", "accuracy"),
    ],
)
def test_a_demand_that_cannot_be_read_names_its_field(tmp_path: Path, extra: str, said: str) -> None:
    recipe = write_recipe(tmp_path, tmp_path / "base", extra=extra)
    with pytest.raises(MetierError) as error:
        load_recipe(recipe)
    assert "selective" in str(error.value)
    assert said in str(error.value)


def test_a_demand_on_written_answers_is_refused_and_a_hopeless_one_is_told(
    toy_base: Path, tmp_path: Path, command: Run
) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra=DEMAND)
    code, out, _ = command("validate", recipe)
    assert code == 0
    assert "an accuracy of 0.99 cannot be shown on 12 examples" in out
    recipe.write_text(recipe.read_text().replace("label: mood}", "label: mood, kind: generation, instruction: Say.}"))
    code, _, err = command("validate", recipe)
    assert code == 2
    assert "its answers are written out" in err
