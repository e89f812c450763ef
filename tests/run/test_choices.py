"""Multiple choice from a table to a report: letters and texts, every verb, and what is wrong with such tables."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metier import Specialist
from metier.errors import MetierError
from metier.evaluation.choices import without_options
from metier.evaluation.evidence import read_predictions
from metier.inference.choices import ChoiceAnswer
from metier.models.encode import Encoder
from metier.report import write_card
from metier.run import run as carry_out
from metier.run.preflight import preflight
from metier.sources import read_table, write_table
from tests.toy import BAD, FIRMS, GOOD

Run = Callable[..., tuple[int, str, str]]
COLUMNS = ["question", "A", "B", "C", "answer"]


def questions(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Which of three news is good: the right one is good news, the others are bad."""
    generator, rows = random.Random(seed), {}
    while len(rows) < count:
        place = generator.randrange(3)
        options = generator.sample(BAD, 3)
        options[place] = generator.choice(GOOD)
        text = f"{generator.choice(FIRMS)} in {1990 + generator.randint(0, 30)}: which news is good?"
        rows[text] = {"question": text, **dict(zip("ABC", options, strict=True)), "answer": "ABC"[place]}
    return list(rows.values())


def recipe_for(folder: Path, base: Path, *, answers: str = "letter", extra: str = "", epochs: int = 1) -> Path:
    write_table(folder / "news.csv", questions(60), COLUMNS)
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: news\nbase: {base}\n"
        "task: {file: news.csv, kind: multiple_choice, text: question, options: [A, B, C], label: answer, "
        f"answers: {answers}}}\n"
        f"adapt: {{epochs: {epochs}, batch_size: 16, learning_rate: 0.01, lowest_layer: auto}}\n"
        "retention: null\ndtype: float32\n" + extra
    )
    return path


@pytest.fixture(scope="module")
def finished(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = {}
    for answers in ("letter", "text"):
        folder = tmp_path_factory.mktemp(answers)
        out[answers] = carry_out(recipe_for(folder, toy_base, answers=answers), out=folder / "out")
    return out


def entries(out: Path, task: str = "news") -> dict[str, Any]:
    return dict(json.loads((out / "evidence" / "scores.json").read_text())[task])


@pytest.mark.parametrize("answers", ["letter", "text"])
def test_a_table_becomes_a_measured_specialist(finished: dict[str, Path], answers: str) -> None:
    out = finished[answers]
    found = entries(out)
    assert set(found) == {"majority", "tfidf", "base", "base-fewshot", "specialist"}
    assert found["tfidf"]["status"] == "not applicable"
    for name in set(found) - {"tfidf"}:
        score = found[name]["metrics"]["accuracy"]
        assert score["low"] <= score["value"] <= score["high"]
        assert score["n"] == 12
        assert found[name]["parse_rate"] == 1
    assert set(found["specialist"]["against"]) == {"majority", "base", "base-fewshot"}
    assert {"calibration", "risk_coverage"} <= set(found["specialist"])
    predictions = read_predictions(out / "evidence" / "predictions" / "news.specialist.parquet")
    assert {p.split for p in predictions} == {"validation", "test"}
    assert all(set(p.probabilities) == {"0", "1", "2"} for p in predictions)
    majority = read_predictions(out / "evidence" / "predictions" / "news.majority.parquet")
    assert len({p.answer for p in majority}) == 1
    splits = json.loads((out / "data" / "splits.json").read_text())
    assert {part: sum(counts.values()) for part, counts in splits["counts"].items()} == {
        "train": 42, "validation": 6, "test": 12,
    }  # fmt: skip


@pytest.mark.parametrize("answers", ["letter", "text"])
def test_the_prompt_shows_the_options_or_hides_them(finished: dict[str, Path], command: Run, answers: str) -> None:
    out = finished[answers]
    prompt = json.loads((out / "manifest.json").read_text())["prompt"]
    assert ("(A) " in prompt["rendered"]) == (answers == "letter")
    assert (prompt["answer"] in "ABC") == (answers == "letter")
    code, shown, _ = command("show", out, prompt["inputs"]["text"])
    assert code == 0
    expected = prompt["rendered"].replace(prompt["inputs"].get("options", "{options}"), "{options}")
    assert shown == expected + "\n"


@pytest.mark.parametrize("answers", ["letter", "text"])
def test_predict_gives_what_was_measured(finished: dict[str, Path], command: Run, tmp_path: Path, answers: str) -> None:
    out, source, target = finished[answers], tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = questions(60)
    write_table(source, rows, COLUMNS)
    code, printed, err = command(
        "predict", out, "--in", source, "--column", "question", "--options", "A", "--options", "B", "--options", "C",
        "--out", target,
    )  # fmt: skip
    assert code == 0, err
    assert "60 rows" in printed
    answered = {row.values["question"]: row.values for row in read_table(target)}
    for p in read_predictions(out / "evidence" / "predictions" / "news.specialist.parquet"):
        row = answered[p.text.splitlines()[0]]
        assert row["label"] == "ABC"[int(str(p.answer))]
        assert row["metier_answer"] == row[str(row["label"])]
    listed = [{"text": row["question"], "choices": json.dumps([row["A"], row["B"], row["C"]])} for row in rows[:5]]
    write_table(source, listed, ["text", "choices"])
    code, _, err = command("predict", out, "--in", source, "--options", "choices", "--out", target)
    assert code == 0, err
    assert [row.values["label"] for row in read_table(target)] == [answered[r["question"]]["label"] for r in rows[:5]]
    [answer] = Specialist.load(out).predict(
        [{"text": rows[0]["question"], "options": [rows[0][letter] for letter in "ABC"]}]
    )
    assert isinstance(answer, ChoiceAnswer)
    assert (answer.label, answer.text) == ("ABC"["ABC".index(answer.label)], rows[0][answer.label])
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    spaced = {"text": rows[0]["question"], "options": [f" {rows[0][letter]}\n" for letter in "ABC"]}
    assert Specialist.load(out).predict([spaced]) == [answer]
    with pytest.raises(MetierError, match="an option is empty"):
        Specialist.load(out).predict([{**spaced, "options": ["up", " ", "down"]}])


def test_what_prediction_cannot_do_is_told(finished: dict[str, Path], command: Run, tmp_path: Path) -> None:
    out, source, target = finished["letter"], tmp_path / "in.csv", tmp_path / "out.csv"
    code, _, err = command("predict", out, "which news is good?")
    assert code == 2
    assert "--options" in err
    for rows, message in [
        ([{"text": "x", "A": "up", "B": ""}], "row 2, column 'B'"),
        ([{"text": "x", "A": "up", "B": "up"}], "two options are the same: 'up'"),
        ([{"text": "x", "A": "up", "B": "down"}], "has 2 options where 'news' has 3"),
    ]:
        write_table(source, rows, ["text", "A", "B"])
        code, _, err = command("predict", out, "--in", source, "--options", "A", "--options", "B", "--out", target)
        assert code == 2
        assert message in err
        assert "in.csv, row 2" in err
        assert not target.exists()
    code, _, err = command("predict", out, "--in", source, "--out", target)
    assert code == 2
    assert "--options" in err
    code, _, err = command("export", out)
    assert code == 2
    assert "a specialist for multiple choice has none" in err


def test_evaluate_elsewhere_leaves_out_what_was_learnt(finished: dict[str, Path], command: Run, tmp_path: Path) -> None:
    write_table(tmp_path / "other.csv", [*questions(60), *questions(20, seed=9)], COLUMNS)
    arguments = ["--in", tmp_path / "other.csv", "--column", "question", "--gold", "answer", "--options", "A",
                 "--options", "B", "--options", "C"]  # fmt: skip
    code, printed, err = command("evaluate", finished["letter"], *arguments, "--json")
    assert code == 0, err
    found = json.loads(printed)
    assert found["counts"]["in_training"] >= 48
    assert found["other"]["specialist"]["metrics"]["accuracy"]["n"] == found["counts"]["scored"]
    assert set(found["other"]) == {"majority", "specialist"}
    code, printed, _ = command("evaluate", finished["letter"], *arguments)
    assert "accuracy" in printed
    asked = [p.text for p in read_predictions(finished["letter"] / "evidence/predictions/other.specialist.parquet")]
    (tmp_path / "corpus.txt").write_text("\n".join(without_options(text) for text in asked[:3]), "utf-8")
    code, printed, err = command("overlap", finished["letter"], "--corpus", tmp_path / "corpus.txt", "--json")
    assert code == 0, err
    found = json.loads(printed)["tasks"]["other"]
    assert found["overlap"]["whole question"] == 3  # the options are left out, as of the run's own questions
    assert found["definitions"]["whole question or 512 characters"]["accuracy"]["specialist"]["overlapping"]["n"] == 3


def test_the_report_and_the_card_speak_of_options(finished: dict[str, Path], toy_base: Path) -> None:
    for out in finished.values():
        page, card = (out / "report.html").read_text(), write_card(out).read_text()
        assert "an option&#39;s place is no class" in page
        assert "not applicable" in page
        assert "multiple-choice" in card
        assert "0-way" not in card
        assert "--options" in card
        assert_card_agrees(out, card, toy_base)


def assert_card_agrees(out: Path, card: str, toy_base: Path) -> None:
    code = card.split("```python\nimport torch")[1].split("```")[0]
    compile("import torch" + code, "card", "exec")
    space: dict[str, Any] = {}
    code = code.replace("path/to/the/base", str(toy_base)).replace(
        'SPECIALIST = "."', f"SPECIALIST = {str(out / 'specialist')!r}"
    )
    exec("import torch" + code, space)
    options = ["profit rose", "profit fell", "costs rose"]
    [answer] = Specialist.load(out).predict([{"text": "Alma in 1999: which news is good?", "options": options}])
    assert isinstance(answer, ChoiceAnswer)
    found = space["choose"]("Alma in 1999: which news is good?", options)
    # the card's temperature is rounded to four digits
    assert list(found.values()) == pytest.approx(list(answer.probabilities.values()), abs=1e-3), out


@pytest.mark.parametrize("answers", ["letter", "text"])
def test_the_cards_code_with_a_soft_prompt(toy_base: Path, tmp_path: Path, answers: str) -> None:
    path = recipe_for(tmp_path, toy_base, answers=answers, extra="measure: {systems: [majority]}\n")
    written = path.read_text()
    adapt = next(line for line in written.splitlines() if line.startswith("adapt:"))
    path.write_text(
        written.replace(adapt, "adapt: {method: prompt, length: 6, epochs: 4, batch_size: 16, learning_rate: 0.5}")
    )
    out = carry_out(path, out=tmp_path / "out")
    assert_card_agrees(out, write_card(out).read_text(), toy_base)


def test_validate_and_a_second_run(finished: dict[str, Path], command: Run, capsys: Any) -> None:
    recipe = finished["letter"].parent / "recipe.yaml"
    code, printed, _ = command("validate", recipe)
    assert code == 0
    assert "are read by their letter" in printed
    carry_out(recipe, out=finished["letter"])
    assert "specialist: done before" in capsys.readouterr().err


def test_it_learns(tmp_path: Path, toy_base: Path) -> None:
    path = recipe_for(tmp_path, toy_base, answers="text", extra="measure: {systems: [majority]}\n", epochs=8)
    easy = [{**row, row["answer"]: "orders grew"} for row in questions(100)]
    write_table(tmp_path / "news.csv", easy, COLUMNS)
    path.write_text(path.read_text().replace("adapt: {", "adapt: {method: full, ").replace(", lowest_layer: auto", ""))
    found = entries(carry_out(path, out=tmp_path / "out"))
    assert found["specialist"]["metrics"]["accuracy"]["value"] > 0.8


def test_options_stay_whole_when_a_text_is_too_long(finished: dict[str, Path]) -> None:
    encoder: Encoder = Specialist.load(finished["letter"]).encoder
    encoder.max_tokens = 200
    options = "(A) up\n(B) down\n(C) " + "level " * 4
    text = encoder.tokenizer.decode(encoder.prompt({"text": "begin " + "word " * 400, "options": options}))
    assert encoder.truncated == 1
    assert options in text


@pytest.mark.parametrize(
    ("row", "message", "where"),
    [
        ({"B": ""}, "an option is missing", "news.csv, row 2, column 'B'"),
        ({"B": "x", "C": "x"}, "two options are the same: 'x'", "news.csv, row 2, columns A, B, C"),
        ({"answer": "D"}, "the answer 'D' is not the letter of one of the options", "news.csv, row 2, column 'answer'"),
        ({"answer": ""}, "the label is empty", "news.csv, row 2, column 'answer'"),
    ],
)
def test_faults_name_file_row_and_column(
    toy_base: Path, tmp_path: Path, row: dict[str, str], message: str, where: str
) -> None:
    path, rows = recipe_for(tmp_path, toy_base), questions(60)
    write_table(tmp_path / "news.csv", [{**rows[0], **row}, *rows[1:]], COLUMNS)
    with pytest.raises(MetierError, match=message) as error:
        preflight(path, data_root=None, offline=True)
    assert where in str(error.value.where)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("options: [A, B, C], ", ""), "needs to know where the options are"),
        (("kind: multiple_choice, ", ""), "are for multiple choice"),
        (("options: [A, B, C]", "options: [A, B, D]"), "there is no column 'D'"),
        (("retention: null", "retention: null\nmeasure: {generation: true}"), "'measure.generation' is for classes"),
        (
            ("retention: null", "retention: null\nstrategies: [{name: few-shot, k: 900}]"),
            "900 solved examples are wanted",
        ),
        (("retention: null", "retention: null\nstrategies: [{name: self-consistency, exemplars: no.yaml}]"), "no.yaml"),
        (("retention: null", "retention: null\nmix: {tasks: [{name: finance-starter}]}"), "'mix' is for classes"),
    ],
)
def test_what_a_recipe_cannot_ask(toy_base: Path, tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = recipe_for(tmp_path, toy_base)
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(MetierError, match=message):
        preflight(path, data_root=None, offline=True)


def test_a_demand_and_sets_are_of_a_questions_options(toy_base: Path, tmp_path: Path, command: Run) -> None:
    extra = "selective: {accuracy: 0.9}\nmeasure: {systems: [majority]}\n"
    out = carry_out(recipe_for(tmp_path, toy_base, answers="text", extra=extra), out=tmp_path / "out")
    found = read_predictions(out / "evidence" / "predictions" / "news.specialist.parquet")
    held = [p for p in found if p.split == "calibration"]
    about = json.loads((out / "specialist" / "calibration.json").read_text())
    assert about["selective"]["n"] == len(held) == 3
    assert about["selective"]["threshold"] is None, "three examples cannot show an accuracy of 0.9"
    entry = entries(out)["specialist"]
    assert {one["coverage"]["n"] for one in entry["conformal"]} == {12}
    specialist = Specialist.load(out)
    rows = [{"text": r["question"], "options": [r["A"], r["B"], r["C"]]} for r in questions(60)]
    assert all(answer.abstained for answer in specialist.predict(rows))
    answers = specialist.predict(rows, abstain_below=0.0, sets=0.5)
    assert not any(answer.abstained for answer in answers)
    assert {type(answer) for answer in answers} == {ChoiceAnswer}
    assert all(answer.label in answer.set <= {"A", "B", "C"} for answer in _with_sets(answers))
    tables = (tmp_path / "in.csv", tmp_path / "out.csv")
    write_table(tables[0], questions(5), COLUMNS)
    options = [part for name in "ABC" for part in ("--options", name)]
    code, _, told = command(
        "predict", out, "--in", tables[0], "--column", "question", *options, "--sets", 0.5, "--out", tables[1]
    )
    assert code == 0, told
    written = [row.values for row in read_table(tables[1])]
    assert all(set(str(row["set"]).split("|")) <= {"A", "B", "C"} for row in written)


def _with_sets(answers: Any) -> list[Any]:
    return [replace(answer, set=set(answer.set)) for answer in answers]


def test_the_report_speaks_of_an_accuracy(finished: dict[str, Path]) -> None:
    assert "the specialist scores an accuracy of" in (finished["letter"] / "report.html").read_text("utf-8")
