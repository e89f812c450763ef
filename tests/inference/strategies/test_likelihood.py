"""Zero-shot and few-shot: token for token as everywhere in metier; corrections and orders by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metier.errors import MetierError
from metier.evaluation.choices import answer_choices
from metier.evaluation.scoring import Scored
from metier.inference.strategies import Budget, Loaded, few_shot, zero_shot
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.models.packed import Item
from metier.run.answers import answer_labels
from metier.tasks import Example, Task, Template
from tests.toy import LABELS, sentences

HIDDEN = Task(name="hidden", version=1, kind="multiple_choice", title="Hidden", template=Template(input="{text}"))
LETTERED = HIDDEN.model_copy(update={"template": Template(input="{text}\n{options}", options="lettered")})
MOOD = Task(name="mood", version=1, kind="classification", title="Mood", labels=list(LABELS),
            template=Template(instruction="Which mood? One word: negative, neutral or positive."))  # fmt: skip
CHOICES = ("profit", "a heavy loss in Turku", "nothing at all")
ASKED = [
    Example(f"e{n}", {"text": text}, CHOICES[n % 3], CHOICES[n % 2 :] + CHOICES[: n % 2])
    for n, (text, _) in enumerate(sentences(9, seed=2))
]
LABELLED = [Example(f"l{n}", {"text": text}, label) for n, (text, label) in enumerate(sentences(9, seed=2))]


class Watched(Loaded):
    """Remembers what was scored."""

    def score(self, items: Sequence[Item]) -> Scored:
        self.seen = [*getattr(self, "seen", []), *items]
        return super().score(items)


@pytest.fixture(scope="module")
def runner(toy_base: Path) -> Runner:
    return Runner(load_model(toy_base, dtype=torch.float32, device="cpu"))


@pytest.fixture
def model(runner: Runner, toy_base: Path) -> Watched:
    return Watched(runner, load_tokenizer(toy_base), 256)


def encoder(model: Loaded, task: Task, shots: Any = (), max_tokens: int = 256) -> Encoder:
    return Encoder(model.tokenizer, task, max_tokens, shots)


def test_zero_shot_is_what_is_measured_everywhere(model: Watched) -> None:
    for task, examples, measure in ((HIDDEN, ASKED, None), (MOOD, LABELLED, "labels")):
        model.seen: list[Item] = []
        found = [a.prediction for a in zero_shot(model, task, examples, name="zero-shot").answered]
        own = encoder(model, task)
        choices = [e.choices or tuple(task.labels) for e in examples]
        assert model.seen == [own.choice_item(e.inputs, c) for e, c in zip(examples, choices, strict=True)]
        if measure:
            expected = answer_labels(model.runner, own, examples, "test")
        else:
            expected = answer_choices(model.runner, own, examples)
        for a, b in zip(found, expected, strict=True):
            assert (a.example_id, a.gold, a.answer) == (b.example_id, b.gold, b.answer)
            assert list(a.probabilities.values()) == pytest.approx(list(b.probabilities.values()), abs=1e-12)


def test_few_shot_is_what_base_fewshot_measures(model: Watched) -> None:
    shots = LABELLED[6:9]
    model.seen = []
    found = [a.prediction for a in few_shot(model, MOOD, LABELLED[:6], lambda e: shots).answered]
    own = encoder(model, MOOD, [(s.inputs, s.target) for s in shots], 512)
    assert model.seen == [own.choice_item(e.inputs, LABELS) for e in LABELLED[:6]]
    expected = answer_labels(model.runner, own, LABELLED[:6], "test")
    assert [p.answer for p in found] == [p.answer for p in expected]


def test_lengths_and_the_unconditional_correction_by_hand(model: Watched) -> None:
    own = encoder(model, HIDDEN)
    for normalise, unconditional in (
        ("none", False),
        ("token", False),
        ("byte", False),
        ("none", True),
        ("byte", True),
        ("auto", True),  # the prior is taken off alone
    ):
        found = zero_shot(model, HIDDEN, ASKED, normalise=normalise, unconditional=unconditional).answered
        for example, answered in zip(ASKED, found, strict=True):
            values = model.score([own.choice_item(example.inputs, example.choices)]).logprobs[0]
            if unconditional:
                values = values - model.score([own.choice_item({"text": ""}, example.choices)]).logprobs[0]
            answers = [own.answer(choice) for choice in example.choices]
            size = {
                "none": [1] * 3,
                "auto": [1] * 3,
                "token": [len(a) for a in answers],
                "byte": [len(c) for c in example.choices],
            }
            values = values / np.array(size[normalise])
            expected = np.exp(values) / np.exp(values).sum()
            assert list(answered.prediction.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_orders_are_averaged_and_what_depends_on_them_is_counted(model: Watched) -> None:
    one = zero_shot(model, LETTERED, ASKED).answered
    six = zero_shot(model, LETTERED, ASKED, shuffles=6).answered
    more = zero_shot(model, LETTERED, ASKED, shuffles=50).answered  # there are no more than six orders
    assert [a.prediction for a in six] != [a.prediction for a in one]
    for example, a, b in zip(ASKED, six, more, strict=True):
        assert (a.facts or {})["orders"] == (b.facts or {})["orders"] == 6
        assert a.prediction.probabilities == pytest.approx(b.prediction.probabilities)
        assert sum(a.prediction.probabilities.values()) == pytest.approx(1)
        assert a.prediction.gold == str(example.choices.index(example.target))
    # over all orders each option stood once at each place as often as the others: turning the options turns the answer
    turned = [Example(e.id, e.inputs, e.target, e.choices[1:] + e.choices[:1]) for e in ASKED]
    again = zero_shot(model, LETTERED, turned, shuffles=6).answered
    for a, b in zip(six, again, strict=True):
        values = list(a.prediction.probabilities.values())
        assert list(b.prediction.probabilities.values()) == pytest.approx([*values[1:], values[0]], abs=1e-5)


def test_letters_are_listed_where_they_are_asked_for(model: Watched) -> None:
    model.seen = []
    found = zero_shot(model, MOOD, LABELLED[:2], answer="letter", unconditional=True).answered
    assert set(found[0].prediction.probabilities) == set(LABELS)
    text = model.tokenizer.decode(model.seen[0].trunk)
    assert "(A) negative\n(B) neutral\n(C) positive" in text
    assert "letter" in text
    with pytest.raises(MetierError, match="order cannot matter"):
        zero_shot(model, HIDDEN, ASKED, shuffles=2)
    kept = MOOD.model_copy(update={"template": Template(input="{text} Answer:", chat=False)})
    with pytest.raises(MetierError, match="kept as published"):
        zero_shot(model, kept, LABELLED, answer="letter")


def test_a_budget_of_likelihoods(model: Watched) -> None:
    whole = zero_shot(model, HIDDEN, ASKED)
    assert whole.tokens == whole.at_most == sum(a.prediction.tokens for a in whole.answered)
    spent = zero_shot(model, HIDDEN, ASKED, budget=Budget(tokens=whole.at_most // 2))
    assert spent.tokens <= whole.at_most // 2
    assert 0 < len(spent.answered) < 9
    assert spent.not_asked == 9 - len(spent.answered)
    same = [a.prediction.answer for a in whole.answered][: len(spent.answered)]
    assert [a.prediction.answer for a in spent.answered] == same
    with pytest.raises(MetierError, match="too small for one question"):
        zero_shot(model, HIDDEN, ASKED, budget=Budget(tokens=3))
    with pytest.raises(MetierError, match="no question"):
        zero_shot(model, HIDDEN, [])
