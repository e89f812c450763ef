"""Strategies in recipes and on the command line, on the toy base."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from metier import Specialist
from metier.errors import MetierError
from metier.evaluation.evidence import read_predictions
from metier.inference.strategies import read_samples
from metier.recipe import load_recipe
from metier.recipe.strategies import parse_strategy
from metier.run import run as carry_out
from metier.run.strategies import with_reference
from tests.toy import sentences, write_recipe, write_table

Run = Callable[..., tuple[int, str, str]]
STRATEGIES = """measure: {systems: [majority, base, base-fewshot], shots: 2}
strategies:
  - {name: few-shot, k: 2}
  - {name: zero-shot, title: letters, answer: letter, shuffles: 2, questions: 9}
  - {name: self-consistency, samples: 3, tokens: 4, questions: 6}
  - {name: ensemble-refinement, samples: 2, second: 2, tokens: 4, questions: 2}
"""


@pytest.fixture(scope="session")
def measured(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that was measured and not trained."""
    folder = tmp_path_factory.mktemp("measured")
    recipe = write_recipe(folder, toy_base, extra=STRATEGIES)
    write_table(folder / "table.csv", 90)
    text = recipe.read_text()
    start = text.index("adapt:")
    recipe.write_text(text[:start] + "adapt: {method: none}\n" + text[text.index("\n", start) + 1 :])
    return carry_out(recipe, out=folder / "out")


def test_every_strategy_is_scored_beside_zero_shot(measured: Path) -> None:
    entries = json.loads((measured / "evidence" / "scores.json").read_text())["table"]
    asked = {name: entry for name, entry in entries.items() if "strategy" in entry}
    assert list(asked) == [
        "base-zero-shot", "base-few-shot", "base-letters", "base-self-consistency", "base-ensemble-refinement",
    ]  # fmt: skip
    assert [entry["strategy"]["asked"] for entry in asked.values()] == [19, 19, 9, 6, 2]
    for name, entry in asked.items():
        assert entry["metrics"]["accuracy"]["n"] == entry["strategy"]["asked"]
        assert entry["parse_rate"] == 1
        if name != "base-zero-shot":
            assert entry["against"]["base-zero-shot"]["accuracy"]["n"] == entry["strategy"]["asked"]
    assert entries["base-self-consistency"]["strategy"]["free_text"]["n"] == 6
    assert entries["base-letters"]["strategy"]["order_dependence"]["n"] == 9


def test_likelihoods_are_those_of_the_systems_measured_anyway(measured: Path) -> None:
    folder = measured / "evidence" / "predictions"
    for system, strategy in (("base", "base-zero-shot"), ("base-fewshot", "base-few-shot")):
        usual = {p.example_id: p for p in read_predictions(folder / f"table.{system}.parquet")}
        for p in read_predictions(folder / f"table.{strategy}.parquet"):
            assert p.answer == usual[p.example_id].answer
            assert p.probabilities == pytest.approx(usual[p.example_id].probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("few-shot, k: 900", "900 solved examples are wanted"),
        ("zero-shot, title: t, answer: text, shuffles: 2", "their order cannot matter"),
        ("chain-of-thought, exemplars: none.yaml", "no such file of worked examples"),
        ("chain-of-retrieval, corpus: none", "writes long answers"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_learnt(
    toy_base: Path, tmp_path: Path, command: Run, strategy: str, told: str
) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra=f"strategies: [{{name: {strategy}}}]\n")
    with pytest.raises(MetierError, match=told):
        carry_out(recipe, out=tmp_path / "out")
    assert not (tmp_path / "out" / "specialist").exists()
    written = strategy.replace("900", "9000").replace(", ", ":", 1).replace(", ", ",").replace(": ", "=")
    code, _, err = command("ask", "finance-starter", "--base", toy_base, "--strategy", written, "--out", tmp_path / "a")
    assert code == 2
    assert told.replace("900", "9000") in err
    assert not (tmp_path / "a").exists()


def test_every_sample_is_kept(measured: Path) -> None:
    folder = measured / "evidence" / "samples"
    samples = read_samples(folder / "table.base-self-consistency.parquet")
    assert [s.number for s in samples] == [0, 1, 2] * 6
    assert all(s.tokens and s.seconds and s.answer for s in samples)
    refined = read_samples(folder / "table.base-ensemble-refinement.parquet")
    assert [s.stage for s in refined] == ["first", "first", "second", "second"] * 2
    assert not (folder / "table.base-zero-shot.parquet").exists()


def test_a_base_that_was_only_measured_still_answers(measured: Path, command: Run) -> None:
    assert not list((measured / "specialist").glob("*.safetensors"))
    assert Specialist.load(measured).predict(["profit rose"])[0].label in ("negative", "neutral", "positive")
    page = (measured / "report.html").read_text()
    assert "Nothing was trained" in page
    assert "Ways of asking" in page
    assert "Self-consistency, base" in page


def test_a_second_run_asks_nothing_again(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (measured / "evidence" / "samples" / "table.base-self-consistency.parquet").stat().st_mtime_ns
    carry_out(measured.parent / "recipe.yaml", out=measured)
    assert "strategy-base-self-consistency: done before" in capsys.readouterr().err
    assert (measured / "evidence" / "samples" / "table.base-self-consistency.parquet").stat().st_mtime_ns == before


def test_a_specialist_and_its_base_are_asked(toy_base: Path, command: Run, tmp_path: Path) -> None:
    extra = "measure: {systems: [majority]}\nstrategies:\n  - {name: few-shot, k: 2, model: both, questions: 12}\n"
    recipe = write_recipe(tmp_path, toy_base, extra=extra)
    recipe.write_text(recipe.read_text().replace("epochs: 3", "epochs: 1"))
    write_table(tmp_path / "table.csv", 60)
    out = carry_out(recipe, out=tmp_path / "run")
    entries = json.loads((out / "evidence" / "scores.json").read_text())["table"]
    assert [name for name in entries if "strategy" in entries[name]] == [
        "base-zero-shot", "base-few-shot", "specialist-zero-shot", "specialist-few-shot",
    ]  # fmt: skip
    folder = out / "evidence" / "predictions"
    own = {p.example_id: p for p in read_predictions(folder / "table.specialist.parquet")}
    base = {p.example_id: p for p in read_predictions(folder / "table.base-zero-shot.parquet")}
    for p in read_predictions(folder / "table.specialist-zero-shot.parquet"):
        assert p.probabilities == pytest.approx(own[p.example_id].probabilities, rel=1e-3)
        assert p.probabilities != pytest.approx(base[p.example_id].probabilities, rel=1e-2)
    code, printed, err = command(
        "ask", out, "--strategy", "chain-of-thought:tokens=3", "--questions", 4, "--out", tmp_path / "asked", "--json"
    )
    assert code == 0, err
    found = json.loads(printed)
    assert list(found) == ["specialist-zero-shot", "specialist-chain-of-thought"]
    assert found["specialist-chain-of-thought"]["strategy"]["asked"] == 4


def test_a_long_answer_from_documents(toy_base: Path, tmp_path: Path) -> None:
    rows = [(text, f"because {label}") for text, label in sentences(30)]
    with open(tmp_path / "essays.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "firms.txt").write_text("Alma makes profit.\n\nOrders of Borel shrank in May.\n")
    recipe = tmp_path / "essay.yaml"
    recipe.write_text(
        f"name: essay\nbase: {toy_base}\ndtype: float32\nadapt: {{method: none}}\nmeasure: {{systems: [majority]}}\n"
        "max_tokens: 300\ntask: {file: essays.csv, kind: generation, instruction: Say why}\nstrategies:\n"
        "  - {name: chain-of-retrieval, corpus: docs, tokens: 6, step_tokens: 3, questions: 2, split_on: blank-line}\n"
    )
    out = carry_out(recipe, out=tmp_path / "out")
    entry = json.loads((out / "evidence" / "scores.json").read_text())["essays"]["base-chain-of-retrieval"]
    assert entry["strategy"]["cited"]["n"] == 2
    assert "exact_match" in entry["metrics"]
    stages = {s.stage for s in read_samples(out / "evidence" / "samples" / "essays.base-chain-of-retrieval.parquet")}
    assert {"draft", "claims", "answer"} <= stages


def test_what_was_not_trained_is_asked_anew_behind_another_prompt(toy_base: Path, command: Run, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra="measure: {systems: []}\n")
    text = re.sub(r"(?m)^adapt: .*", "adapt: {method: none}", recipe.read_text())
    found = []
    for wording in ("How is the mood?", "What is the mood of this sentence?"):
        recipe.write_text(text.replace("label: mood}", f"label: mood, instruction: '{wording}'}}"))
        carry_out(recipe, out=tmp_path / "run")
        code, printed, err = command(
            "ask", tmp_path / "run", "--strategy", "zero-shot", "--questions", 4, "--out", tmp_path / "asked", "--json"
        )
        assert code == 0, err
        found.append(json.loads(printed)["specialist-zero-shot"]["strategy"]["tokens"])
    assert found[0] < found[1]


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("self-consistenc", "did you mean 'self-consistency'"),
        ("self-consistency:sample=3", "did you mean 'samples'"),
        ("self-consistency:samples=0", "samples"),
        ("few-shot:k=200000", "to choose from"),
        ("zero-shot:shuffles=2", "order cannot matter"),
        ("chain-of-retrieval:corpus=x", "writes long answers"),
        ("chain-of-retrieval", "needs a corpus"),
        ("zero-shot:title=[", "the value of 'title' cannot be read"),
    ],
)
def test_faults_on_the_command_line(measured: Path, command: Run, tmp_path: Path, strategy: str, told: str) -> None:
    (Path(tmp_path) / "x").mkdir()
    (tmp_path / "x" / "a.txt").write_text("words")
    strategy = strategy.replace("corpus=x", f"corpus={tmp_path / 'x'}")
    code, _, err = command("ask", measured, "--strategy", strategy, "--questions", 3, "--out", tmp_path / "out")
    assert code == 2
    assert told in err


def test_the_zero_shot_that_nobody_asked_for_keeps_to_the_budget_too() -> None:
    within = [parse_strategy("few-shot", budget={"tokens": most, "seconds": 9}) for most in (700, 900)]
    reference = with_reference(within)[0]
    assert reference.called == "zero-shot"
    assert (reference.budget.tokens, reference.budget.seconds) == (900, 9)
    free = with_reference([*within, parse_strategy("few-shot")])[0]
    assert (free.budget.tokens, free.budget.seconds) == (None, None)
    own = parse_strategy("zero-shot", budget={"tokens": 5})
    assert with_reference([*within, own])[0].budget.tokens == 5


def test_more_faults(measured: Path, command: Run, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    code, _, err = command("ask", "arc-eas", *out)
    assert (code, "did you mean 'arc-easy'" in err) == (2, True), err
    code, _, err = command("ask", measured, "--strategy", "chain-of-thought", "--budget-tokens", 5, *out)
    assert (code, "too small for one question" in err) == (2, True), err
    code, _, err = command("ask", measured, "--strategy", "zero-shot", "--strategy", "zero-shot", *out)
    assert (code, "two strategies are called" in err) == (2, True), err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- {name: self-consistency, sample: 5}", ["line 4", "unknown field 'sample'", "did you mean 'samples'"]),
        ("- {name: self-consistenc}", ["line 4", "did you mean 'self-consistency'"]),
        ("- {samples: 3}", ["line 4", "a strategy has no name"]),
        ("- {name: few-shot}\n  - {name: few-shot}", ["two strategies are called 'few-shot'"]),
        ("- {name: few-shot, budget: {second: 3}}", ["unknown field 'second'", "line 4"]),
    ],
)
def test_faults_in_recipes(tmp_path: Path, text: str, told: list[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: toy\ntask: {{file: t.csv, label: m}}\nstrategies:\n  {text}\n")
    with pytest.raises(MetierError) as error:
        load_recipe(recipe)
    for part in told:
        assert part in str(error.value)
    recipe.write_text("name: toy\ntask: {file: t.csv}\nadapt: {method: none}\nseeds: [1, 2]\n")
    with pytest.raises(MetierError, match="nothing is trained: leave out seeds"):
        load_recipe(recipe)


def test_worked_examples_on_the_command_line(measured: Path, command: Run, tmp_path: Path) -> None:
    file = tmp_path / "worked.yaml"
    file.write_text("- {text: profit rose, rationale: More is good., answer: positive}\n")
    ask = ("ask", measured, "--questions", 2, "--out", tmp_path / "out")
    chain = ("--strategy", "chain-of-thought:tokens=3", "--exemplars", file)
    code, printed, err = command(*ask, *chain, "--json")
    assert code == 0, err
    settings = json.loads(printed)["specialist-chain-of-thought"]["strategy"]["settings"]
    assert settings["exemplars"] == str(file)
    assert "done before" in command(*ask, *chain)[2]
    file.write_text("- {text: profit fell, rationale: Less is bad., answer: negative}\n")
    assert "specialist-chain-of-thought: done before" not in command(*ask, *chain)[2]  # the file says something else
    code, _, err = command(*ask, "--exemplars", file)
    assert (code, "no strategy writes any" in err) == (2, True), err
    file.write_text("- {text: profit fell, rationale: Less is bad., answer: negativ}\n")
    code, _, err = command(*ask, *chain)
    assert (code, "worked.yaml, row 1, column 'answer'" in err) == (2, True), err


def test_a_recipe_finds_worked_examples_beside_it(tmp_path: Path) -> None:
    (tmp_path / "worked.jsonl").write_text("{}\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: toy\ntask: {file: t.csv}\nstrategies:\n"
        "  - {name: chain-of-thought, exemplars: worked.jsonl}\n  - {name: self-consistency, exemplars: usmle}\n"
    )
    found = [getattr(choice, "exemplars", None) for choice in load_recipe(recipe).strategies or []]
    assert found == [str(tmp_path / "worked.jsonl"), "usmle"]


def test_a_wrong_name_leaves_no_folder_behind(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, told = command("ask", "nothing", "--strategy", "zero-shot", "--out", tmp_path / "out")
    assert code == 2
    assert "there is no task 'nothing'" in told
    assert not (tmp_path / "out").exists()
