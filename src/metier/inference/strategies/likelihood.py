"""Zero-shot and few-shot: the likeliest option, in one order or in several."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from metier.errors import MetierError
from metier.evaluation.scores import Prediction
from metier.evaluation.scoring import normalise as softmax
from metier.inference.strategies.budget import UNLIMITED, Budget, Say, Spent, within
from metier.inference.strategies.model import Model
from metier.inference.strategies.questions import Form, Question, orders, question, worded
from metier.inference.strategies.samples import Answered
from metier.models.encode import Encoder
from metier.models.packed import Item
from metier.tasks import Example, Task

Normalise = Literal["auto", "none", "token", "character", "byte"]
Shots = Callable[[Example], Sequence[Example]]
"""The solved examples in front of an example's prompt."""

AT_ONCE = 16  # questions between two looks at a budget


def zero_shot(model: Model, task: Task, examples: Sequence[Example], **options: Any) -> Spent:
    """The option that is likeliest behind the prompt. Options as in :func:`few_shot`."""
    return few_shot(model, task, examples, lambda example: (), **options)


def few_shot(
    model: Model,
    task: Task,
    examples: Sequence[Example],
    shots: Shots,
    *,
    answer: Form | None = None,
    normalise: Normalise = "auto",
    unconditional: bool = False,
    shuffles: int = 1,
    seed: int = 0,
    budget: Budget = UNLIMITED,
    part: str = "test",
    name: str = "few-shot",
    say: Say = lambda line: None,
    tick: Callable[[int], None] = lambda count: None,
) -> Spent:
    """The option that is likeliest behind solved examples and the prompt.

    Args:
        shots: chooses the solved examples of each question.
        answer: the option's ``letter`` or its ``text``; as the task's template has it if left out.
        normalise: divide the log-likelihood by the answer's tokens, characters or UTF-8 bytes; ``auto`` by characters
            for multiple choice and not for labels, as everywhere in metier.
        unconditional: first take off the answer's log-likelihood behind the prompt without its question, so that an
            answer is not chosen because it is likely anywhere: p(a|q)/p(a|"Answer:"), Brown et al. 2020,
            section 2.4; Wu et al. 2023, section 5.1.
        shuffles: orders of the options that the probabilities are averaged over, the task's own first.
        seed: of the orders.

    Errors: :class:`MetierError` for options that cannot be asked, orders where none is shown, a budget too small.
    """
    task = worded(task, answer)
    if shuffles > 1 and task.template.options != "lettered":
        raise MetierError(
            f"the options of '{task.name}' are not listed in its prompt: their order cannot matter",
            fix="use answer: letter, which lists them, or leave shuffles out",
        )
    chosen: Normalise = normalise
    if normalise == "auto":
        chosen = "character" if task.kind == "multiple_choice" else "none"
    encoders: dict[bool, Encoder] = {}

    def encoder(solved: Sequence[Example]) -> Encoder:
        many = bool(solved)
        if many not in encoders:  # solved examples may take as much again as the question
            encoders[many] = model.encoder(task, longer=model.max_tokens if many else 0)
        encoders[many].shots = [_solved(task, shot, answer) for shot in solved]
        return encoders[many]

    def items(example: Example) -> list[tuple[Question, Item]]:
        own = encoder(shots(example))
        count = len(example.choices or task.labels)
        asked = [question(task, example, answer, order) for order in orders(count, shuffles, seed, example.id)]
        return [(q, _item(own, q)) for q in asked]

    prepared = [items(example) for example in examples]
    blank = [_blank_item(encoder(()), pairs[0][0]) for pairs in prepared] if unconditional else []
    places = {example.id: place for place, example in enumerate(examples)}

    def bound(example: Example) -> int:  # each prompt whole, also what questions share and is run once for all
        place = places[example.id]
        return sum(item.tokens for _, item in prepared[place]) + (blank[place].tokens if unconditional else 0)

    def work(batch: Sequence[Example]) -> list[Answered]:
        start = time.perf_counter()
        mine = [places[example.id] for example in batch]
        scored = model.score([item for place in mine for _, item in prepared[place]])
        without = model.score([blank[place] for place in mine]) if unconditional else None
        found, at = [], 0
        for row, place in enumerate(mine):
            pairs = prepared[place]
            by_order = []
            prior = dict(zip(pairs[0][0].names, without.logprobs[row], strict=True)) if without else None
            for (asked, item), values in zip(pairs, scored.logprobs[at : at + len(pairs)], strict=True):
                by_order.append(_chances(asked, item, values, chosen, prior))
            tokens = bound(examples[place])
            found.append((pairs[0][0], by_order, tokens))
            at += len(pairs)
        share = (time.perf_counter() - start) / len(batch)
        return [_answered(asked, by_order, part, tokens, share) for asked, by_order, tokens in found]

    limited = budget.tokens is not None or budget.seconds is not None
    if not limited:  # one batch, as everywhere else: batches decide how sums are rounded in 16 bits
        return _all_at_once(examples, bound, work, say, tick, name)
    return within(budget, examples, bound=bound, work=work, at_once=AT_ONCE, name=name, say=say, tick=tick)


def _all_at_once(
    examples: Sequence[Example],
    bound: Callable[[Example], int],
    work: Callable[[Sequence[Example]], list[Answered]],
    say: Say,
    tick: Callable[[int], None],
    name: str,
) -> Spent:
    if not examples:
        raise MetierError("there is no question to ask", fix="check the task's test part and the number of questions")
    most = sum(bound(example) for example in examples)
    say(f"{name}: {len(examples):,} questions, at most {most:,} tokens")
    start = time.perf_counter()
    answered = work(examples)
    tick(len(examples))
    seconds = time.perf_counter() - start
    return Spent(answered, 0, most, seconds, sum(a.prediction.tokens for a in answered), seconds)


def _solved(task: Task, shot: Example, form: Form | None) -> tuple[Mapping[str, str], str]:
    asked = question(task, shot, form)
    return asked.inputs, asked.answers[asked.texts.index(shot.target)]


def _item(encoder: Encoder, asked: Question) -> Item:
    """Prompt and answers, as they are scored where nothing but the likelihood is measured."""
    if encoder.task.kind == "multiple_choice":
        return Item(encoder.prompt(asked.inputs), tuple(encoder.answer(text) for text in asked.answers))
    return encoder.choice_item(asked.inputs, asked.answers)


def _blank_item(encoder: Encoder, asked: Question) -> Item:
    """The answers behind the prompt without its question and options."""
    return _item(encoder, replace(asked, inputs=dict.fromkeys(asked.inputs, "")))


def _chances(
    asked: Question, item: Item, values: np.ndarray, normalise: Normalise, prior: Mapping[str, float] | None
) -> dict[str, float]:
    """Probabilities by the candidates' names, in the order of the names that the first order had."""
    # without the question a letter is as likely whatever it stands for: the prior goes with the place shown
    adjusted = values - np.array(list(prior.values())) if prior and asked.form == "letter" else values
    if prior and asked.form == "text":
        adjusted = values - np.array([prior[name] for name in asked.names])
    return dict(zip(asked.names, softmax(adjusted / lengths(asked, item, normalise)).tolist(), strict=True))


def lengths(asked: Question, item: Item, normalise: Normalise) -> np.ndarray:
    """What each answer's log-likelihood is divided by, ``(candidates,)``."""
    if normalise == "token":
        return np.array([len(answer) for answer in item.answers])
    if normalise == "character":
        return np.array([len(answer) for answer in asked.answers])
    if normalise == "byte":
        return np.array([len(answer.encode()) for answer in asked.answers])
    return np.ones(len(item.answers))


def _answered(asked: Question, by_order: list[dict[str, float]], part: str, tokens: int, seconds: float) -> Answered:
    names = list(asked.names)
    mean = {name: float(np.mean([chances[name] for chances in by_order])) for name in names}
    best = max(names, key=lambda name: mean[name])
    facts: dict[str, Any] = {}
    if len(by_order) > 1:
        each = [max(names, key=lambda name, chances=chances: chances[name]) for chances in by_order]  # type: ignore[misc]
        facts = {"orders": len(by_order), "depends_on_order": len(set(each)) > 1,
                 "right": [answer == asked.gold for answer in each]}  # fmt: skip
    prediction = Prediction(
        example_id=asked.example.id, split=part, text=asked.example.text, gold=asked.gold, answer=best,
        probabilities=mean, parsed=True, tokens=tokens, seconds=seconds,
    )  # fmt: skip
    return Answered(prediction, (), facts)
