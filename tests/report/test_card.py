"""The model card: its metadata block is what the hub reads, its code is what a user runs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from metier.files import write_json
from metier.report import write_card, write_report
from metier.report.prompt import prompt_view, template_of
from metier.report.read import read_run
from tests.report.rundir import HOSTILE, TASK, Case, build, manifest


def card(path: Path) -> ModelCard:
    return ModelCard(write_card(path).read_text("utf-8"))


def change(path: Path, **parts: dict[str, Any]) -> Path:
    found = json.loads((path / "manifest.json").read_text("utf-8"))
    for name, values in parts.items():
        found[name] |= values
    write_json(path / "manifest.json", found)
    return path


def code(text: str) -> str:
    return next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "PROMPT" in block)


def test_the_metadata_block_is_read_back_by_the_hub_library(tmp_path: Path) -> None:
    path = build(tmp_path)
    data = card(path).data
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert data.library_name == "peft"
    assert data.language == "en"
    assert data.datasets == ["takala/financial_phrasebank"]
    assert data.license == "other"
    assert data.to_dict()["license_name"] == "apache-2.0-base-cc-by-nc-sa-3.0-data"
    assert {"finance", "lora", "text-classification"} <= set(data.tags or [])
    score = read_run(path).score("specialist")
    results = data.eval_results or []
    first = results[0]
    assert score
    assert first.metric_type == "f1"
    assert first.metric_value == pytest.approx(score["value"], abs=1e-4)
    assert first.dataset_type == "takala/financial_phrasebank"
    assert "95 % interval" in str(first.metric_name)
    name, again = model_index_to_eval_results(data.to_dict()["model-index"])
    assert name == "finance-sentiment"
    assert len(again) == len(results)
    assert {r.dataset_type for r in again} >= {"wikipedia-passages", "piqa"}


def test_commercial_data_take_the_licence_of_the_base(tmp_path: Path) -> None:
    data = card(build(tmp_path, Case(commercial=True))).data
    assert data.license == "apache-2.0"
    assert "license_name" not in data.to_dict()


def test_an_unknown_licence_is_not_made_up(tmp_path: Path) -> None:
    path = change(build(tmp_path, Case(commercial=True)), base={"licence": None})
    assert card(path).data.to_dict()["license_name"].startswith("unknown-base")


def test_a_base_that_is_not_on_the_hub_is_not_claimed_to_be(tmp_path: Path) -> None:
    path = change(build(tmp_path), base={"ref": "/models/own", "homepage": None, "hub_name": None})
    made = card(path)
    assert made.data.base_model is None
    assert "'path/to/the/base'" in made.text


def test_a_hub_reference_names_the_base(tmp_path: Path) -> None:
    path = change(build(tmp_path), base={"ref": "hf:owner/name@abc", "homepage": None, "hub_name": None, "note": None})
    made = card(path)
    assert made.data.base_model == "owner/name"
    assert "4-bit" not in made.text


def test_the_body_says_what_must_be_said(tmp_path: Path) -> None:
    text = card(build(tmp_path)).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "not investment advice" in text
    assert "4-bit file (GGUF, Q4_1) made dense" in text
    assert "commercial use is not allowed" in text
    assert "TF-IDF + logistic regression | 240 |" in text
    assert "temperature of" in text
    assert "PIQA, accuracy:" in text


def test_medicine_has_its_own_caution(tmp_path: Path) -> None:
    assert "not medical advice" in card(change(build(tmp_path), task={"domain": "medicine"})).text


def test_a_failed_system_and_a_missing_measure_are_said(tmp_path: Path) -> None:
    made = card(build(tmp_path, Case(failed={"base": "no memory"}, retention=False)))
    assert "| Base, zero-shot | | failed: no memory |" in made.text
    assert "- Not measured: " in made.text


def test_a_specialist_that_failed_still_has_a_valid_card(tmp_path: Path) -> None:
    made = card(build(tmp_path, Case(failed={"specialist": "the loss is nan"}, retention=False)))
    assert "model-index" not in made.data.to_dict()
    assert "No verdict" in made.text


def test_a_bare_manifest_gives_a_card_that_claims_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"name": "bare", "task": {"name": "t", "labels": ["a", "b"]}})
    made = card(tmp_path)
    assert "None" not in made.content
    assert "Not measured: no system was scored." in made.text


def test_full_fine_tuning_needs_no_peft(tmp_path: Path) -> None:
    made = card(build(tmp_path, Case(method="full")))
    assert made.data.library_name == "transformers"
    assert made.data.to_dict()["base_model_relation"] == "finetune"
    assert "peft" not in code(made.text)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_code_is_valid_and_carries_the_exact_prompt(tmp_path: Path, method: str) -> None:
    source = code(card(build(tmp_path, Case(method=method))).text)
    tree = ast.parse(source)
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("PROMPT", "TEMPERATURE", "ANSWERS")
    }
    prompt = manifest(Case())["prompt"]
    assert values["PROMPT"].replace("{text}", prompt["inputs"]["text"]) == prompt["rendered"]
    assert values["ANSWERS"] == prompt["answer_ids"]
    assert values["TEMPERATURE"] == pytest.approx(read_run(tmp_path / "finance-sentiment").temperature, abs=1e-4)


def test_what_was_not_trained_has_no_weights_of_its_own(tmp_path: Path) -> None:
    made = card(build(tmp_path, Case(method="none")))
    assert "from_pretrained(BASE, dtype" in code(made.text)
    assert "AutoModelForCausalLM.from_pretrained(SPECIALIST" not in made.text
    assert "base_model_relation" not in made.data.to_dict()
    assert "Weights of its own: none." in made.text
    ast.parse(code(made.text))


def test_fields_that_python_or_the_code_itself_needs_get_other_names(tmp_path: Path) -> None:
    inputs = {"class": "a sedan", "model": "Volvo 240", "range": "400 km"}
    rendered = "Class: a sedan\nModel: Volvo 240\nRange: 400 km\n"
    source = code(card(change(build(tmp_path), prompt={"inputs": inputs, "rendered": rendered})).text)
    [function] = [
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) if node.name == "classify"
    ]
    assert [one.arg for one in function.args.args] == ["class_", "model_", "range_"]
    assert '.replace("{model}", plain(model_))' in source


def test_test_rows_that_were_learnt_are_said(tmp_path: Path) -> None:
    path = build(tmp_path)
    assert "nor any choice has seen. Intervals" in card(path).text
    splits = json.loads((path / "data" / "splits.json").read_text("utf-8"))
    splits["duplicates"]["test_rows_also_in_train"] = 3
    write_json(path / "data" / "splits.json", splits)
    assert "has seen, but for 3 rows that stand in train too" in card(path).text


def test_one_test_is_named(tmp_path: Path) -> None:
    path = build(tmp_path, Case(retention=False))
    scores = json.loads((path / "evidence" / "scores.json").read_text("utf-8"))
    assert "McNemar" in card(path).text
    scores[TASK]["specialist"]["groups"] = 40
    for pair in scores[TASK]["specialist"]["against"].values():
        pair["test"] = "exact sign-flip test over groups"
    write_json(path / "evidence" / "scores.json", scores)
    for text in (card(path).text, write_report(path).read_text("utf-8")):
        assert "sign-flip test over groups" in text
        assert "McNemar" not in text


def test_without_recorded_inputs_the_code_shows_the_example(tmp_path: Path) -> None:
    path = change(build(tmp_path), prompt={"inputs": None, "answer_ids": None})
    text = card(path).text
    assert "put your own text in the place of its text" in text
    ast.parse(code(text))


def test_hostile_names_stay_inside_their_cells(tmp_path: Path) -> None:
    path = change(build(tmp_path), task={"title": f"a | b {HOSTILE} ```\n# big", "description": HOSTILE})
    found = card(path)
    assert "<script>" not in found.text
    assert "\n# big" not in found.text
    assert found.data.eval_results


def test_several_inputs_become_several_fields() -> None:
    rendered = "Passage: It rained.\nQuestion: Did it rain?\nAnswer:"
    prompt = {"rendered": rendered, "inputs": {"question": "Did it rain?", "passage": "It rained."}}
    assert template_of(prompt) == "Passage: {passage}\nQuestion: {question}\nAnswer:"
    pieces = prompt_view(prompt)["pieces"]
    assert "".join(text for _, text in pieces) == rendered
    assert ("input", "Did it rain?") in pieces


def test_a_text_that_looks_like_a_token_stays_text() -> None:
    prompt = {
        "rendered": "<|im_start|>user\nsay <|im_end|> twice<|im_end|>",
        "inputs": {"text": "say <|im_end|> twice"},
    }
    assert prompt_view(prompt)["pieces"] == [
        ("token", "<|im_start|>"), ("", "user\n"), ("input", "say <|im_end|> twice"), ("token", "<|im_end|>"),
    ]  # fmt: skip


def test_an_input_that_is_not_in_the_prompt_gives_no_template() -> None:
    assert template_of({"rendered": "abc", "inputs": {"text": "xyz"}}) is None
    assert template_of({"rendered": "abc"}) is None
