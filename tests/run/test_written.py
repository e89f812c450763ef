"""Specialists whose answers are written out, from a table to a report; and labels written beside their likelihood."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metier import Specialist, cli
from metier.errors import MetierError
from metier.evaluation.averaged import AVERAGE
from metier.evaluation.evidence import read_predictions, read_scores, write_predictions
from metier.evaluation.extraction import normalised_answer
from metier.evaluation.scores import Prediction
from metier.inference.answers import TextAnswer
from metier.inference.strategies.writing import write_answer
from metier.models.generate import Written
from metier.recipe import TaskChoice
from metier.report import write_card, write_report
from metier.report.read import read_run
from metier.report.verdict import key_figures, verdict
from metier.run import run as carry_out
from metier.run.evaluate import evaluate
from metier.run.preflight import preflight
from metier.run.scoring import score_generated, score_labels
from metier.sources import read_table, write_table
from metier.tasks import Example, Task, Template, parse_entities
from tests.toy import make_base, sentences, write_recipe

KINDS = {
    "extraction": ("entity_f1", "List the firms as ORG: name, or none.", lambda text: f"ORG: {text.split(':')[0]}"),
    "generation": ("exact_match", "In which year was it?", lambda text: text.rsplit("/", 1)[1]),
}


def table(folder: Path, kind: str) -> Path:
    answer: Callable[[str], str] = KINDS[kind][2]
    rows = [{"sentence": text, "told": answer(text)} for text, _ in sentences(80)]
    if kind == "extraction":
        rows += [{"sentence": f"nothing happened in {year}", "told": "none"} for year in range(1990, 2010)]
    write_table(folder / "answers.csv", rows, ["sentence", "told"])
    return folder / "answers.csv"


def recipe_for(folder: Path, base: Path, kind: str, extra: str = "") -> Path:
    table(folder, kind)
    path = write_recipe(folder, base, name=kind, extra=extra)
    task = f"name: {kind}, file: answers.csv, text: sentence, label: told, kind: {kind}"
    text = path.read_text().replace(
        "task: {file: table.csv, text: sentence, label: mood}",
        f"task: {{{task}, instruction: '{KINDS[kind][1]}'}}",
    )
    path.write_text(text.replace("epochs: 3", "epochs: 2"))
    return path


@pytest.fixture(scope="module")
def finished(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        out[kind] = carry_out(recipe_for(folder, toy_base, kind), out=folder / "out")
    return out


def scores(out: Path, task: str) -> dict[str, Any]:
    return read_scores(out / "evidence" / "scores.json")[task]


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_becomes_a_measured_specialist(finished: dict[str, Path], kind: str) -> None:
    out, metric = finished[kind], KINDS[kind][0]
    entries = scores(out, kind)
    assert set(entries) == {"majority", "tfidf", "base", "base-fewshot", "specialist"}
    assert entries["tfidf"]["status"] == "not applicable"
    assert "TF-IDF" in entries["tfidf"]["reason"]
    for name, entry in entries.items():
        if name == "tfidf":
            continue
        score = entry["metrics"][metric]
        assert score["low"] <= score["value"] <= score["high"]
        assert score["n"] == (20 if kind == "extraction" else 16)
        assert 0 <= entry["parse_rate"] <= 1
        assert "calibration" not in entry
    assert set(entries["specialist"]["against"]) == {"majority", "base", "base-fewshot"}
    assert "calibration" in entries["specialist"]["left_out"]
    assert entries["majority"]["parse_rate"] == 1
    found = read_predictions(out / "evidence" / "predictions" / f"{kind}.specialist.parquet")
    assert {p.split for p in found} == {"test"}
    assert all(p.output is not None and p.parsed == (p.answer is not None) for p in found)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    looks = [entry for entry in log if entry["event"] == "validation"]
    training = json.loads((out / "manifest.json").read_text())["training"]
    assert training["best_validation"] == max(-look["loss"] for look in looks)
    assert not (out / "specialist" / "calibration.json").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_says_what_does_not_apply_and_why(finished: dict[str, Path], kind: str) -> None:
    page = write_report(finished[kind]).read_text()
    card = write_card(finished[kind]).read_text()
    assert "not applicable" in page
    assert page.count("its answers are written out") >= 3
    assert "answers read" in page
    assert ("entity F1" if kind == "extraction" else "exact match") in page
    assert "abstain-below" not in card
    assert "classification" not in card.lower()
    room = json.loads((finished[kind] / "specialist" / "template.json").read_text())["answer_tokens"]
    assert f"max_new_tokens={room}," in card


def test_a_baseline_that_cannot_answer_is_not_missed(finished: dict[str, Path], tmp_path: Path) -> None:
    out = shutil.copytree(finished["extraction"], tmp_path / "out")
    before = verdict(read_run(out))
    file = out / "evidence" / "scores.json"
    entries = json.loads(file.read_text())
    del entries["extraction"]["tfidf"]  # as where a recipe does not name it
    file.write_text(json.dumps(entries))
    assert verdict(read_run(out)) == before
    assert "against the base" in [figure["label"] for figure in key_figures(read_run(out))]


@pytest.mark.parametrize("kind", KINDS)
def test_predict_writes_what_was_measured(
    finished: dict[str, Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    out = finished[kind]
    found = read_predictions(out / "evidence" / "predictions" / f"{kind}.specialist.parquet")
    specialist = Specialist.load(out)
    assert [a.answer for a in specialist.predict([p.text for p in found])] == [p.output.strip() for p in found]  # type: ignore[union-attr]
    with pytest.raises(MetierError, match="cannot abstain"):
        specialist.predict(["x"], abstain_below=0.5)
    write_table(tmp_path / "in.jsonl", [{"text": p.text, "answer": "mine"} for p in found], ["text", "answer"])
    monkeypatch.setattr(
        sys,
        "argv",
        ["metier", "predict", str(out), "--in", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "o.jsonl")],
    )
    with pytest.raises(SystemExit):
        cli.main()
    rows = [row.values for row in read_table(tmp_path / "o.jsonl")]
    assert list(rows[0]) == ["text", "answer", "metier_answer"]
    assert [(row["metier_answer"] or "") for row in rows] == [p.output.strip() for p in found]  # type: ignore[union-attr]
    monkeypatch.setattr(sys, "argv", ["metier", "predict", str(out), found[0].text])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out.endswith(f"\t{found[0].text}\n")


def test_what_writes_is_not_exported(finished: dict[str, Path], command: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = command("export", finished["generation"])
    assert code == 2
    assert "a specialist for generation has none" in err


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_scores_what_it_writes_elsewhere(finished: dict[str, Path], kind: str, tmp_path: Path) -> None:
    metric, _, answer = KINDS[kind]
    rows = [{"text": text, "label": answer(text)} for text, _ in [*sentences(100)[60:], *sentences(6, seed=9)]]
    write_table(tmp_path / "more.csv", rows, ["text", "label"])
    choice = TaskChoice(file=str(tmp_path / "more.csv"))
    name, entries, counts = evaluate(finished[kind], choice, offline=True)
    assert name == "more"
    assert set(entries) == {"majority", "specialist"}
    assert counts["in_training"] > 0
    assert counts["scored"] == entries["specialist"]["metrics"][metric]["n"] < counts["rows"]
    assert entries["specialist"]["against"]["majority"]["metric"] == metric
    assert scores(finished[kind], "more")["specialist"] == json.loads(json.dumps(entries["specialist"]))
    assert "more" in write_report(finished[kind]).read_text()
    write_card(finished[kind])


def test_evaluate_prints_the_scores_of_written_answers(
    finished: dict[str, Path], tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    write_table(
        tmp_path / "a.csv", [{"text": f"Alma: x in {y}", "label": "PER: Alma"} for y in range(9)], ["text", "label"]
    )
    code, _, err = command("evaluate", finished["extraction"], "--in", tmp_path / "a.csv")
    assert code == 2
    assert "'PER' is not one the specialist knows" in err
    write_table(
        tmp_path / "b.csv", [{"text": f"Alma: x in {y}", "label": "ORG: Alma"} for y in range(9)], ["text", "label"]
    )
    code, out, _ = command("evaluate", finished["extraction"], "--in", tmp_path / "b.csv")
    assert code == 0
    assert "entity f1" in out
    assert "specialist - majority, entity f1: " in out


def test_a_specialist_learns_to_write(toy_base: Path, tmp_path: Path) -> None:
    """The firm is the first word: after some epochs the toy names it, in the form that it was shown."""
    path = recipe_for(tmp_path, toy_base, "extraction", "measure: {systems: [majority, base]}\n")
    path.write_text(path.read_text().replace("epochs: 2", "method: full, epochs: 40").replace("0.01", "0.005"))
    entries = scores(carry_out(path, out=tmp_path / "out"), "extraction")
    assert entries["base"]["parse_rate"] < 0.5
    assert entries["specialist"]["parse_rate"] > 0.5
    assert entries["specialist"]["metrics"]["entity_f1"]["value"] > entries["majority"]["metrics"]["entity_f1"]["value"]


def test_labels_are_written_beside_their_likelihood(toy_base: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra="measure: {systems: [majority, base], generation: true}\n")
    out = carry_out(recipe, out=tmp_path / "out")
    entries = scores(out, "table")
    assert set(entries) == {"majority", "base", "specialist", "base-generated", "specialist-generated"}
    assert entries["base-generated"]["parse_rate"] < 1
    assert entries["specialist"]["parse_rate"] == 1
    assert set(entries["specialist-generated"]["against"]) == {"specialist", "base-generated"}
    assert set(entries["base-generated"]["against"]) == {"base"}
    found = read_predictions(out / "evidence" / "predictions" / "table.base-generated.parquet")
    wrong = [p for p in found if not p.parsed]
    assert wrong
    assert all(p.answer is None and not p.correct for p in wrong)
    page = (out / "report.html").read_text()
    assert "Chosen or written" in page
    assert "specialist-generated" in page
    table = tmp_path / "table.csv"  # the base's answers to other rows stay in the folder and are not asked for again
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join([*lines[:5], *lines[6:]]), encoding="utf-8")
    recipe.write_text(recipe.read_text().replace("[majority, base]", "[majority]").replace("epochs: 3", "steps: 1"))
    entries = scores(carry_out(recipe, out=tmp_path / "out"), "table")
    assert set(entries["specialist-generated"]["against"]) == {"specialist", "base-generated"}
    assert "base" not in entries["base-generated"].get("against", {})


@pytest.mark.parametrize("kind", KINDS)
def test_validate_reads_such_tables(toy_base: Path, tmp_path: Path, kind: str) -> None:
    found = preflight(recipe_for(tmp_path, toy_base, kind), data_root=None, offline=True)
    assert all(set(counts) == {"all"} for counts in found.balance().values())
    assert all(normalised_answer(e.target) for e in found.data.part("test"))
    if kind == "extraction":
        assert found.data.task.labels == ["ORG"]
        assert all(parse_entities(e.target) is not None for e in found.data.part("test"))


@pytest.mark.parametrize(
    ("change", "message"),
    [(("instruction: 'List the firms as ORG: name, or none.'", "labels: [a, b]"), "'labels' is for classification"),
     ((", instruction: 'List the firms as ORG: name, or none.'", ""), "needs an instruction"),
     (("text: sentence, label: told", "text: told, label: sentence"), "not a list of entities"),
     (("kind: extraction", "kind: extracting"), "extraction")],
)  # fmt: skip
def test_what_is_wrong_with_such_a_recipe_is_told(
    toy_base: Path, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = recipe_for(tmp_path, toy_base, "extraction")
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(MetierError, match=message):
        preflight(path, data_root=None, offline=True)


def test_a_base_that_was_not_trained_is_no_other_specialist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on behind a blank line, whoever asks it; what it says there is not its answer."""

    def goes_on(runner: Any, tokenizer: Any, prompts: Any, **_: Any) -> list[Written]:
        return [Written((1, 2), "1999\n\nIn which year", False) for _ in prompts]

    for module in ("metier.run.generative", "metier.inference.specialist"):
        monkeypatch.setattr(f"{module}.generate", goes_on)
    path = recipe_for(tmp_path, make_base(tmp_path / "plain", chat=False), "generation")
    path.write_text(re.sub(r"(?m)^adapt: .*", "adapt: {method: none}", path.read_text()))
    out = carry_out(path, out=tmp_path / "out")
    for system in ("base", "specialist"):
        found = read_predictions(out / "evidence" / "predictions" / f"generation.{system}.parquet")
        assert {p.answer for p in found} == {"1999"}
    assert Specialist.load(out).predict(["x"]) == [TextAnswer("1999", True)]
    rows = [{"text": text, "label": "1999"} for text, _ in sentences(6, seed=9)]
    write_table(tmp_path / "more.csv", rows, ["text", "label"])
    entries = evaluate(out, TaskChoice(file=str(tmp_path / "more.csv")), offline=True)[1]
    assert entries["specialist"]["metrics"]["exact_match"]["value"] == 1


def test_an_average_over_questions_is_scored_wherever_labels_are(tmp_path: Path) -> None:
    """Of labels that are written, and of another task that is mixed in."""
    task = Task(
        name="own", version=1, kind="classification", title="Own", labels=["no", "yes"], metric=AVERAGE,
        average_over="question", template=Template(input="{text} {question}"),
    )  # fmt: skip
    test = [Example(f"{n}", {"text": f"t{n}", "question": f"q{n % 2}"}, ("no", "yes")[n // 2 % 2]) for n in range(8)]
    rights = {
        "own.base": 4, "own.base-generated": 6, "own.specialist": 8, "own.specialist-generated": 8,
        "other.specialist": 8, "other.tfidf": 2,
    }  # fmt: skip
    for name, right in rights.items():
        answers = [e.target if n < right else "no" for n, e in enumerate(test)]
        found = [
            Prediction(example_id=e.id, split="test", text=e.text, gold=e.target, answer=answer, probabilities={},
                       parsed=True, tokens=1, seconds=0.0)
            for e, answer in zip(test, answers, strict=True)
        ]  # fmt: skip
        write_predictions(tmp_path / f"{name}.parquet", found)
    written = score_generated(tmp_path, task, ["base", "specialist"], test, 0)
    assert written["specialist-generated"]["against"]["base-generated"]["metric"] == AVERAGE
    mixed = score_labels(tmp_path, task, ["tfidf", "specialist"], test, 0, on="other")
    assert mixed["specialist"]["against"]["tfidf"]["metric"] == AVERAGE
    assert mixed["specialist"]["metrics"][AVERAGE]["value"] == 1


def test_what_is_no_list_of_entities_is_not_read_by_a_strategy_either() -> None:
    said = iter(["ORG: Alma", "I see none here"])

    class Writes:
        def encoder(self, task: Task, **_: Any) -> Any:
            return SimpleNamespace(prompt=lambda inputs: (1,))

        def write(self, encoder: Any, prompts: Any, **_: Any) -> list[Written]:
            return [Written((1,), next(said), True) for _ in prompts]

    task = Task(name="own", version=1, kind="extraction", title="Own", labels=["ORG"])
    examples = [Example(f"{n}", {"text": "x"}, "ORG: Alma") for n in range(2)]
    model: Any = Writes()
    found = [one.prediction for one in write_answer(model, task, examples).answered]
    assert [(p.answer, p.parsed) for p in found] == [("ORG: Alma", True), (None, False)]
