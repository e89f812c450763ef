"""Chains of thought that vote: a simulated model of known accuracy and correlation, and the toy model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from metier.errors import MetierError
from metier.evaluation.asked import evaluate_asked, summary
from metier.inference.strategies import (
    Budget,
    Loaded,
    Setting,
    Spent,
    chain_of_thought,
    ensemble_refinement,
    self_consistency,
)
from metier.inference.strategies.thought import thinking_task
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.tasks import Task, Template, Worked
from tests.inference.strategies.theory import TASK, Simulated, correlated_accuracy, examples

QUESTIONS = examples(200)


@pytest.fixture(scope="module")
def tokenizer(toy_base: Path) -> Any:
    return load_tokenizer(toy_base)


@pytest.fixture(scope="module")
def toy(toy_base: Path) -> Runner:
    return Runner(load_model(toy_base, dtype=torch.float32, device="cpu"))


def accuracy(spent: Spent) -> float:
    return sum(a.prediction.correct for a in spent.answered) / len(spent.answered)


def plausible(found: float, truth: float, n: int) -> bool:
    """Whether a share of n lies in the binomial's central 99.9 %."""
    low, high = stats.binom(n, truth).interval(0.999)
    return bool(low <= round(found * n) <= high)


@pytest.mark.parametrize(("p", "correlation"), [(0.45, 0.0), (0.45, 0.3), (0.45, 0.98)])
def test_a_vote_gains_what_theory_says(tokenizer: Any, p: float, correlation: float) -> None:
    model = Simulated(tokenizer, QUESTIONS, p, correlation)
    spent = self_consistency(model, TASK, QUESTIONS, Setting(samples=5))
    truth = correlated_accuracy(p, correlation, 5, 4)
    assert plausible(accuracy(spent), truth, 200), (accuracy(spent), truth)
    single = sum(a.facts["single_right"] for a in spent.answered) / 200
    assert plausible(single, p, 200)
    if correlation == 0:
        assert truth > p + 0.07
    if correlation == 0.98:  # samples that repeat each other gain nothing
        assert abs(truth - p) < 0.01


def test_the_second_stage_votes_alone_and_is_conditioned_on_the_first(tokenizer: Any) -> None:
    few = QUESTIONS[:100]
    model = Simulated(tokenizer, few, 0.5)
    spent = ensemble_refinement(model, TASK, few, Setting(samples=2), second=5)
    assert plausible(accuracy(spent), correlated_accuracy(0.5, 0.0, 5, 4), 100)
    assert model.written == 100 * 7
    one = spent.answered[0]
    assert [s.stage for s in one.samples] == ["first"] * 2 + ["second"] * 5
    votes = [s.answer for s in one.samples if s.stage == "second"]
    assert one.prediction.probabilities[one.prediction.answer] == votes.count(one.prediction.answer) / 5
    first = [s.tokens for s in one.samples]
    assert one.prediction.tokens > sum(first)  # both prompts are paid for


def test_what_is_stated_in_words_is_reported_beside(tokenizer: Any) -> None:
    model = Simulated(tokenizer, QUESTIONS[:100], 0.6, stated=0.5)
    spent = self_consistency(model, TASK, QUESTIONS[:100], Setting(samples=3))
    predictions = [a.prediction for a in spent.answered]
    assert all(p.parsed for p in predictions)  # the likeliest option is always there
    about = summary(predictions, [a.facts or {} for a in spent.answered], not_asked=0, truncated=0, seed=0)
    stated = about["free_text"]
    assert stated["n"] == 100
    assert stated["low"] < 0.5 < stated["high"]
    assert all(s.read in (None, s.answer) for a in spent.answered for s in a.samples)
    assert about["free_text_accuracy"]["value"] <= sum(p.correct for p in predictions) / 100 + 0.2
    entry = evaluate_asked(TASK, predictions, seed=0, cost=about, reference=("zero", predictions))
    assert entry["against"]["zero"]["difference"]["value"] == 0
    assert entry["strategy"]["samples"] == 3


def test_a_sample_is_the_same_whatever_else_is_asked(toy: Runner, tokenizer: Any) -> None:
    model = Loaded(toy, tokenizer, 300)
    setting = Setting(samples=3, tokens=6, seed=4)
    all_ = self_consistency(model, TASK, QUESTIONS[:4], setting)
    alone = self_consistency(model, TASK, QUESTIONS[2:3], setting)
    texts = [[s.text for s in a.samples] for a in all_.answered]
    assert texts[2] == [s.text for s in alone.answered[0].samples]
    assert len({text for row in texts for text in row}) > 4
    other = self_consistency(model, TASK, QUESTIONS[2:3], Setting(samples=3, tokens=6, seed=5))
    assert texts[2] != [s.text for s in other.answered[0].samples]


def test_one_greedy_chain_and_the_option_that_the_model_itself_finds_likeliest(toy: Runner, tokenizer: Any) -> None:
    model = Loaded(toy, tokenizer, 300)
    spent = chain_of_thought(model, TASK, QUESTIONS[:3], Setting(samples=1, temperature=0.0, tokens=5))
    for question, answered in zip(QUESTIONS, spent.answered, strict=False):
        encoder = model.encoder(thinking_task(TASK))
        options = "\n".join(f"({letter}) {text}" for letter, text in zip("ABCD", question.choices, strict=True))
        prompt = encoder.render({**question.inputs, "options": options})
        assert "think step by step" in prompt
        text = prompt + answered.samples[0].text + "\nSo the answer is"
        expected = []
        for letter in "ABCD":
            ids = tokenizer.encode(text, add_special_tokens=False)
            after = tokenizer.encode(f" {letter}", add_special_tokens=False)
            with torch.inference_mode():
                rows = toy.model(torch.tensor([ids + after])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
            expected.append(float(rows[range(len(after)), after].sum()))
        assert answered.prediction.answer == str(expected.index(max(expected)))
        assert answered.prediction.tokens <= spent.at_most


class Listening(Simulated):
    """Keeps the prompts that it is given."""

    def write(self, encoder: Any, prompts: Any, **options: Any) -> Any:
        self.heard = [*getattr(self, "heard", []), *(encoder.tokenizer.decode(prompt) for prompt in prompts)]
        return super().write(encoder, prompts, **options)


def test_worked_examples_stand_before_every_chain(tokenizer: Any) -> None:
    worked = [Worked(e, f"I reckon with {e.id}.") for e in QUESTIONS[:2]]
    model = Listening(tokenizer, QUESTIONS, 0.5)
    plain = Listening(tokenizer, QUESTIONS, 0.5)
    setting = Setting(samples=2, tokens=8)
    for asked, shots in ((model, worked), (plain, [])):
        ensemble_refinement(asked, TASK, QUESTIONS[5:6], replace(setting, worked=shots), second=1)
    letter = "ABCD"[QUESTIONS[0].choices.index(QUESTIONS[0].target)]
    for with_them, without in zip(model.heard, plain.heard, strict=True):
        assert f"I reckon with q0.\nSo the answer is {letter}.<|im_end|>" in with_them
        assert with_them.count("think step by step") == 3
        assert with_them.endswith(without.removeprefix("<|im_start|>system\n"))
    assert [text.count("Others have thought") for text in model.heard] == [0, 0, 1]


def test_worked_examples_take_nothing_from_the_question(toy: Runner, tokenizer: Any) -> None:
    model = Loaded(toy, tokenizer, 200)
    worked = [Worked(e, "So it is, as anybody can see.") for e in QUESTIONS[:1]]
    self_consistency(model, TASK, QUESTIONS[5:7], Setting(samples=2, tokens=4, worked=worked))
    assert model.truncated == 0
    said: list[str] = []
    many = [Worked(e, "It is so, as anybody can see who looks.") for e in QUESTIONS[:4]]
    setting = Setting(samples=2, tokens=4, worked=many)
    self_consistency(Loaded(toy, tokenizer, 400), TASK, QUESTIONS[5:6], setting, say=said.append)
    assert said[0] == "1 of 4 worked examples fit into the prompt"  # the toy reads 512 tokens


def test_labels_are_options_too(toy: Runner, tokenizer: Any) -> None:
    task = Task(name="mood", version=1, kind="classification", title="Mood", labels=["bad", "good"],
                template=Template(instruction="Which?", input="{number}"))  # fmt: skip
    labelled = [type(e)(e.id, e.inputs, ("bad", "good")[n % 2]) for n, e in enumerate(QUESTIONS[:4])]
    spent = self_consistency(Loaded(toy, tokenizer, 300), task, labelled, Setting(samples=2, tokens=4))
    for example, answered in zip(labelled, spent.answered, strict=True):
        assert set(answered.prediction.probabilities) == {"bad", "good"}
        assert answered.prediction.gold == example.target


def test_what_has_no_options_is_refused(toy: Runner, tokenizer: Any) -> None:
    task = Task(name="essay", version=1, kind="generation", title="Essay", template=Template(input="{number}"))
    with pytest.raises(MetierError, match="not chosen among options"):
        self_consistency(Loaded(toy, tokenizer, 300), task, QUESTIONS[:1])
    with pytest.raises(MetierError, match="leave no room"):
        self_consistency(Loaded(toy, tokenizer, 300), TASK, QUESTIONS[:1], Setting(tokens=600))


def test_a_budget_is_kept_and_what_it_left_out_is_said(tokenizer: Any) -> None:
    said: list[str] = []
    model = Simulated(tokenizer, QUESTIONS[:20], 0.5)
    setting = Setting(samples=2, tokens=8)
    whole = self_consistency(model, TASK, QUESTIONS[:20], setting)
    budget = Budget(tokens=whole.at_most // 2)
    spent = self_consistency(model, TASK, QUESTIONS[:20], setting, budget=budget, say=said.append)
    assert spent.tokens <= budget.tokens
    assert spent.not_asked == 20 - len(spent.answered) > 0
    assert any("not asked" in line for line in said)
    assert "at most" in said[0]
    assert "of a budget of" in said[0]
    with pytest.raises(MetierError, match="too small for one question"):
        self_consistency(model, TASK, QUESTIONS[:20], setting, budget=Budget(tokens=20))
    with pytest.raises(MetierError, match="too small for one question"):
        self_consistency(model, TASK, QUESTIONS[:20], setting, budget=Budget(seconds=1e-9))
