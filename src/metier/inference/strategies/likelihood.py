"""Zero-shot and few-shot: the likeliest option, in one order or in several."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
            for multiple choice and not for labels, as everywhere in metier, and not where ``unconditional``.
        unconditional: first take off the answer's log-likelihood behind the prompt without its question, so that an
            answer is not chosen because it is likely anywhere: p(a|q)/p(a|"Answer:"), Brown et al. 2020,
            section 2.4; Wu et al. 2023, section 5.1.
        shuffles: orders of the options that the probabilities are averaged over, the task's own first.
        seed: of the orders.

    Errors: :class:`MetierError` for options that cannot be asked, orders where none is shown, a budget too small.
    """
    task = in_orders(task, answer, shuffles)
    chosen: Normalise = normalise
    if normalise == "auto":
        # Brown and Wu correct by the prior or by the length, not by both: together they favour short answers
        chosen = "character" if task.kind == "multiple_choice" and not unconditional else "none"
    encoders = _Encoders(model, task, answer, examples)

    def prepared(example: Example) -> Prepared:
        own, count = encoders.behind(shots(example)), len(example.choices or task.labels)
        asked = [question(task, example, answer, order) for order in orders(count, shuffles, seed, example.id)]
        items = [_item(own, q) for q in asked]
        return Prepared(asked, items, _blank_item(encoders.behind(()), asked[0]) if unconditional else None)

    def work(batch: Sequence[Prepared]) -> list[Answered]:
        return _answers(model, batch, chosen, part)

    questions = [prepared(example) for example in examples]
    limited = budget.tokens is not None or budget.seconds is not None
    if not limited:  # one batch, as everywhere else: batches decide how sums are rounded in 16 bits
        return _all_at_once(questions, work, say, tick, name)
    return within(
        budget, questions, bound=lambda q: q.tokens, work=work, at_once=AT_ONCE, name=name, say=say, tick=tick
    )


def in_orders(task: Task, answer: Form | None, shuffles: int) -> Task:
    """The task as :func:`worded` gives it, for so many orders of its options.

    Errors: :class:`MetierError` for options that cannot be asked, and for orders where none is shown.
    """
    task = worded(task, answer)
    if shuffles > 1 and task.template.options != "lettered":
        raise MetierError(
            f"the options of '{task.name}' are not listed in its prompt: their order cannot matter",
            fix="use answer: letter, which lists them, or leave shuffles out",
        )
    return task


@dataclass(frozen=True)
class Prepared:
    """A question as it is scored.

    Attributes:
        asked: the question in each order of its options.
        items: prompt and answers of each.
        blank: the answers behind the prompt without its question, where they are to be taken off.
    """

    asked: list[Question]
    items: list[Item]
    blank: Item | None

    @property
    def tokens(self) -> int:
        """Each prompt whole, also what questions share and is run once for all."""
        return sum(item.tokens for item in self.items) + (self.blank.tokens if self.blank else 0)


class _Encoders:
    """One encoder for questions alone, and one for those behind solved examples, which may take as much again."""

    def __init__(self, model: Model, task: Task, form: Form | None, examples: Sequence[Example]) -> None:
        self.model, self.task, self.form = model, task, form
        self.made: dict[bool, Encoder] = {}
        probe = model.encoder(task)
        answers = {answer for example in examples for answer in question(task, example, form).answers}
        self.longest = max((len(probe.answer(answer)) + 1 for answer in answers), default=0)  # and its end token

    def behind(self, solved: Sequence[Example]) -> Encoder:
        many = bool(solved)
        if many not in self.made:
            longer = self.model.max_tokens if many else 0
            self.made[many] = self.model.encoder(self.task, longer=longer, answer=self.longest)
        self.made[many].shots = [_solved(self.task, shot, self.form) for shot in solved]
        return self.made[many]


def _answers(model: Model, batch: Sequence[Prepared], normalise: Normalise, part: str) -> list[Answered]:
    """The likeliest option of each question; the time taken is shared evenly."""
    start = time.perf_counter()
    scored = iter(model.score([item for one in batch for item in one.items]).logprobs)
    blanks = [one.blank for one in batch if one.blank]
    without = iter(model.score(blanks).logprobs if blanks else ())
    found = []
    for one in batch:
        prior = dict(zip(one.asked[0].names, next(without), strict=True)) if one.blank else None
        pairs = zip(one.asked, one.items, strict=True)
        found.append([_chances(asked, item, next(scored), normalise, prior) for asked, item in pairs])
    share = (time.perf_counter() - start) / len(batch)
    return [
        _answered(one.asked[0], by_order, part, one.tokens, share) for one, by_order in zip(batch, found, strict=True)
    ]


def _all_at_once(
    questions: Sequence[Prepared],
    work: Callable[[Sequence[Prepared]], list[Answered]],
    say: Say,
    tick: Callable[[int], None],
    name: str,
) -> Spent:
    if not questions:
        raise MetierError("there is no question to ask", fix="check the task's test part and the number of questions")
    most = sum(one.tokens for one in questions)
    say(f"{name}: {len(questions):,} questions, at most {most:,} tokens")
    start = time.perf_counter()
    answered = work(questions)
    tick(len(questions))
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
