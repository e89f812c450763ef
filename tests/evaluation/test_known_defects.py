"""Defects found in published code of this field (FinGPT's), as tests that metier does not have them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from metier.evaluation.evidence import evaluate_classification
from metier.evaluation.scores import Prediction
from metier.files import sha256_file
from metier.models.adapters import train_everything
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.models.packed import Item
from metier.recipe import Recipe
from metier.run import run
from metier.run.data import prepare_data
from metier.tasks import PARTS, Task
from metier.tasks.prepare import key_of
from metier.tasks.task import Template
from metier.training.prompts import accumulate
from tests.toy import LABELS, sentences

TASK = Task(
    name="t", version=1, kind="classification", title="t", labels=list(LABELS), template=Template(instruction="Mood?")
)  # fmt: skip


# 1. Rows were repeated before the validation part was cut, so that three quarters of it were trained on.


@pytest.mark.parametrize("copies", [1, 6, 21])
def test_repeated_rows_never_stand_in_two_parts(tmp_path: Path, copies: int) -> None:
    lines = ["text,label"]
    for number in range(copies):
        for text, label in sentences(80):
            shown = (text, text.upper(), f"  {text} !")[number % 3]
            lines.append(f'"{shown}",{label}')
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    recipe = Recipe.model_validate({"name": "x", "task": {"file": str(tmp_path / "t.csv"), "text": "text"}})
    data = prepare_data(recipe, data_root=None, lock=None, offline=True)
    keys = [{key_of(example) for example in data.part(part)} for part in PARTS]
    assert sum(map(len, keys)) == len(set().union(*keys)) == sum(len(data.part(part)) for part in PARTS) == 80


@pytest.mark.parametrize("task", ["financial-phrasebank", "fiqa-sentiment", "twitter-financial-news", "financial-ner"])
def test_no_published_row_stands_in_two_parts(data_root: Path, task: str) -> None:
    recipe = Recipe.model_validate({"name": "x", "task": {"name": task}})
    data = prepare_data(recipe, data_root=data_root, lock=None, offline=True)
    keys = [{key_of(example) for example in data.part(part)} for part in PARTS]
    assert sum(map(len, keys)) == len(set().union(*keys)) == sum(len(data.part(part)) for part in PARTS)


# 2. Prompt and padding carried loss, which taught the model to emit padding; the end token is what must be learnt.


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("packing", [True, False])
def test_only_the_answer_and_its_end_carry_loss(toy_base: Path, packing: bool) -> None:
    """The gradient is that of the published model with every target ignored but the answer's and its end's."""
    encoder = Encoder(load_tokenizer(toy_base), TASK, 256)
    items = [encoder.training_item({"text": text}, label) for text, label in sentences(4)]
    assert len({len(item.trunk) for item in items}) > 1  # so that shorter ones are padded where rows are padded
    assert all(item.answers[0][-1] == encoder.end for item in items)
    ours = train_everything(load_model(toy_base, dtype=torch.float32, device="cpu"))
    ours.train()
    accumulate(Runner(ours, packing=packing), (), items, 1 << 20)
    reference = LlamaForCausalLM.from_pretrained(toy_base, dtype=torch.float32)
    tokens = sum(len(item.answers[0]) for item in items)
    for item in items:
        ids = torch.tensor([[*item.trunk, *item.answers[0]]])
        labels = ids.clone()
        labels[:, : len(item.trunk)] = -100
        (reference(input_ids=ids, labels=labels).loss * len(item.answers[0]) / tokens).backward()
    found, expected = gradients(ours), gradients(reference)
    cosine = torch.nn.functional.cosine_similarity(found, expected, dim=0)
    assert cosine > 0.99999
    assert encoder.tokenizer.pad_token_id not in {token for item in items for token in item.answers[0]}


def test_the_company_in_a_batch_changes_no_loss(toy_base: Path) -> None:
    runner = Runner(load_model(toy_base, dtype=torch.float32, device="cpu"), packing=False)
    short, long = Item((1, 5, 6), ((30, 2),)), Item(tuple(range(1, 60)), ((31, 32, 2),))
    alone = runner.logprobs([short])[0]
    together, owner = runner.logprobs([short, long])
    torch.testing.assert_close(together[owner == 0], alone, atol=1e-5, rtol=1e-4)


# 3. Output that could not be read was counted as the most frequent class.


def unreadable(text: str, gold: str) -> Prediction:
    return Prediction(example_id=text, split="test", text=text, gold=gold, answer=None, probabilities={}, parsed=False,
                      tokens=1, seconds=0.0)  # fmt: skip


def test_a_system_that_says_nothing_readable_scores_nothing() -> None:
    golds = ["neutral"] * 60 + ["positive"] * 30 + ["negative"] * 10
    entry = evaluate_classification(LABELS, [unreadable(str(i), gold) for i, gold in enumerate(golds)], seed=0)
    assert entry["majority"] == 0.6
    assert entry["parse_rate"] == 0.0
    assert {name: score["value"] for name, score in entry["metrics"].items()} == dict.fromkeys(entry["metrics"], 0.0)
    assert sum(map(sum, entry["confusion"]["matrix"])) == 0


def test_each_unreadable_answer_costs() -> None:
    golds = [label for label, count in Counter(neutral=60, positive=30, negative=10).items() for _ in range(count)]
    right = [
        Prediction(example_id=str(i), split="test", text="t", gold=gold, answer=gold, probabilities={}, parsed=True,
                   tokens=1, seconds=0.0)
        for i, gold in enumerate(golds)
    ]  # fmt: skip
    found = [
        evaluate_classification(LABELS, [*[unreadable(str(i), golds[i]) for i in range(n)], *right[n:]], seed=0)
        for n in (0, 10, 20)
    ]
    assert [entry["parse_rate"] for entry in found] == [1.0, 0.9, 0.8]
    assert [entry["metrics"]["accuracy"]["value"] for entry in found] == [1.0, 0.9, 0.8]
    values = [entry["metrics"]["weighted_f1"]["value"] for entry in found]
    assert values == sorted(values, reverse=True)


# 4. Settings and weights were chosen by what they were tested on.


def test_the_labels_of_the_test_part_choose_nothing(toy_base: Path, tmp_path: Path) -> None:
    other = dict(zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True))
    found = []
    for name, change in (("true", False), ("false", True)):
        lines = ["text,label,part"]
        for place, (text, label) in enumerate(sentences(150)):
            part = ("train", "train", "train", "validation", "test")[place % 5]
            lines.append(f'"{text}",{other[label] if change and part == "test" else label},{part}')
        folder = tmp_path / name
        folder.mkdir()
        (folder / "t.csv").write_text("\n".join(lines) + "\n")
        (folder / "recipe.yaml").write_text(
            f"name: toy\nbase: {toy_base}\ntask: {{file: t.csv, text: text, label: label, split: part}}\n"
            "adapt: {epochs: 2, batch_size: 16, learning_rate: 0.01}\nretention: null\ndtype: float32\n"
            "measure: {systems: [majority, tfidf, base-fewshot], shots: 3}\n"
        )
        out = run(folder / "recipe.yaml", out=folder / "out", offline=True)
        manifest = json.loads((out / "manifest.json").read_text())
        chosen = {system: manifest["stages"][system]["setting"] for system in ("majority", "tfidf")}
        chosen["shots"] = manifest["stages"]["base-fewshot"]["shots"]
        chosen |= {key: manifest["training"][key] for key in ("best_step", "best_validation", "stopped")}
        files = ("adapter_model.safetensors", "calibration.json")
        score = json.loads((out / "evidence/scores.json").read_text())["t"]["specialist"]["metrics"]["accuracy"][
            "value"
        ]
        found.append(({file: sha256_file(out / "specialist" / file) for file in files}, chosen, score))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] != found[1][2]  # the change was seen where it should be: in the score
