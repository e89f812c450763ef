"""Multiple choice by likelihood: of the options' letters where these are shown, else of the options' texts.

The likelihood of a text is divided by its characters, as lm-evaluation-harness does for ``acc_norm``: long options are
not punished, and bases with different tokenizers compare. A letter is one character: its likelihood stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from metier.evaluation.scores import Prediction
from metier.evaluation.scoring import normalise, score
from metier.models.encode import Encoder, Shot
from metier.models.forward import Runner
from metier.models.packed import Item
from metier.models.trunk import Trunk
from metier.tasks import Example
from metier.tasks.choices import asked
from metier.tasks.options import lettered


def option_items(encoder: Encoder, examples: Sequence[Example]) -> list[Item]:
    """Prompt and every option of each question, letters or texts as the template has it; none is given an end token.

    Errors: options that cannot be told apart, and another number of them than the task has.
    """
    return [option_item(encoder, shown) for shown in asked(encoder.task, examples)]


def option_item(encoder: Encoder, shown: Example) -> Item:
    """The same for a question as a model sees it."""
    return Item(encoder.prompt(shown.inputs), tuple(encoder.answer(text) for text in shown.choices))


def per_character(logprobs: np.ndarray, answers: Sequence[str]) -> np.ndarray:
    """Log-likelihoods ``(options,)``, each divided by the characters of its answer."""
    return np.asarray(logprobs / np.array([len(answer) for answer in answers], dtype=float))


def answer_choices(
    runner: Runner,
    encoder: Encoder,
    examples: Sequence[Example],
    tick: Callable[[int], None] | None = None,
    *,
    part: str = "test",
    trunk: Trunk | None = None,
    own_shots: Mapping[str, Sequence[Shot]] | None = None,
) -> list[Prediction]:
    """The likeliest option of each question, as predictions whose answers are places, from ``0``.

    Options are known by their place: the texts differ from question to question. ``own_shots`` are solved examples by
    the example's id.
    """
    shown, items = asked(encoder.task, examples), list[Item]()
    for example in shown:
        if own_shots:
            encoder.shots = own_shots[example.id]
        items.append(option_item(encoder, example))
    scored = score(runner, items, trunk=trunk, progress=tick)
    share = scored.seconds / max(1, len(items))
    found = []
    for example, seen, values, tokens in zip(examples, shown, scored.logprobs, scored.tokens, strict=True):
        each = per_character(values, seen.choices)
        names = [str(place) for place in range(len(each))]
        probabilities = dict(zip(names, normalise(each).tolist(), strict=True))
        text = f"{example.text}\n{lettered(example.choices)}"
        gold = str(example.choices.index(example.target))
        found.append(
            Prediction(example_id=example.id, split=part, text=text, gold=gold, answer=names[int(each.argmax())],
                       probabilities=probabilities, parsed=True, tokens=tokens, seconds=share)
        )  # fmt: skip
    return found


def without_options(text: str) -> str:
    """A question as evidence holds it, without the options below it."""
    return text[: text.rfind(f"\n{lettered([''])}")] if f"\n{lettered([''])}" in text else text


def places(predictions: Sequence[Prediction]) -> list[str]:
    """Names of all places that have a probability: ``0``, ``1``, …"""
    return sorted({name for p in predictions for name in p.probabilities}, key=int)
