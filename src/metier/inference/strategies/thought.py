"""Chains of thought: written first, and then the likeliest option behind them, so that nothing is unreadable.

The wording is ours; the two steps, to reason and then to ask for the answer behind the reasoning, are those of Kojima
et al. 2022 (arXiv 2205.11916, section 3), whose sentence also leads where a wording is kept to the letter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metier.evaluation.scores import Prediction
from metier.evaluation.scoring import normalise as softmax
from metier.inference.strategies.budget import UNLIMITED, Budget, Say, Spent, within
from metier.inference.strategies.likelihood import lengths
from metier.inference.strategies.model import Model, Prompt
from metier.inference.strategies.plurality import plurality
from metier.inference.strategies.presets import RATIONALE_TOKENS, SELF_CONSISTENCY_SAMPLES, TEMPERATURE
from metier.inference.strategies.questions import Form, Question, question, worded
from metier.inference.strategies.reading import read_choice
from metier.inference.strategies.samples import Answered, Sample, seed_of
from metier.models.encode import Encoder, Shot
from metier.models.packed import Item
from metier.tasks import Example, Task, Worked

THINK = (
    "First think step by step in a few sentences, whatever form of answer was asked for above. "
    "Say at the end: the answer is …"
)
LEAD = " Let's think step by step."  # Kojima et al. 2022
CONCLUSION = "\nSo the answer is"
TEXTS_AT_ONCE = 96

Tick = Callable[[int], None]


@dataclass(frozen=True)
class Setting:
    """How chains of thought are written.

    Attributes:
        samples: chains a question.
        temperature: 0 writes the likeliest token each time.
        tokens: the longest chain.
        answer: whether options are chosen by letter or by text; as the task's template has it if left out.
        seed: of the samples, together with question and number.
        worked: solved examples with their reasoning, put before every question (Wei et al. 2022).
    """

    samples: int = SELF_CONSISTENCY_SAMPLES
    temperature: float = TEMPERATURE
    tokens: int = RATIONALE_TOKENS
    answer: Form | None = None
    seed: int = 0
    worked: Sequence[Worked] = ()


SELF_CONSISTENCY = Setting()
GREEDY = Setting(samples=1, temperature=0.0)


def chain_of_thought(
    model: Model,
    task: Task,
    examples: Sequence[Example],
    setting: Setting = GREEDY,
    **options: Any,
) -> Spent:
    """One chain of thought, and the likeliest option behind it (Wei et al. 2022, arXiv 2201.11903).

    Options are those of :func:`self_consistency`.
    """
    return self_consistency(model, task, examples, setting, **{"name": "chain-of-thought", **options})


def self_consistency(
    model: Model,
    task: Task,
    examples: Sequence[Example],
    setting: Setting = SELF_CONSISTENCY,
    *,
    budget: Budget = UNLIMITED,
    part: str = "test",
    name: str = "self-consistency",
    say: Say = lambda line: None,
    tick: Tick = lambda count: None,
) -> Spent:
    """The plurality of sampled chains of thought (Wang et al. 2023, arXiv 2203.11171; Med-PaLM: 11).

    Probabilities are shares of the votes: the agreement that selective prediction goes by.

    Errors: :class:`MetierError` for a task without options, and for a budget too small for one question.
    """
    task = worded(task, setting.answer)
    asked = [question(task, example, setting.answer) for example in examples]
    thinking = thinking_encoder(model, thinking_task(task), setting, asked, say=say)
    prompts = {q.example.id: thinking.prompt(q.inputs) for q in asked}

    def bound(q: Question) -> int:
        return len(prompts[q.example.id]) + setting.samples * most_tokens(thinking, q, setting.tokens)

    def work(batch: Sequence[Question]) -> list[Answered]:
        start = time.perf_counter()
        written = reason(model, thinking, [(q, prompts[q.example.id]) for q in batch], setting, "rationale")
        share = (time.perf_counter() - start) / len(batch)
        return [
            elect(q, samples, samples, len(prompts[q.example.id]), part, share)
            for q, samples in zip(batch, written, strict=True)
        ]

    return within(
        budget, asked, bound=bound, work=work, at_once=questions_at_once(setting.samples), name=name, say=say, tick=tick
    )


def questions_at_once(samples: int) -> int:
    """Questions between two looks at a budget: a step of writing costs little more for many texts than for one."""
    return max(1, min(16, TEXTS_AT_ONCE // samples))


def thinking_task(task: Task, before: str = "") -> Task:
    """The task with a template that asks for reasoning; ``before`` is put in front of what the model is to do."""
    template = task.template
    text = f"{template.input}\n\n{before}{THINK}" if template.chat else f"{before}{template.input}{LEAD}"
    return task.model_copy(update={"template": template.model_copy(update={"input": text})})


def thinking_encoder(
    model: Model,
    thinking: Task,
    setting: Setting,
    asked: Sequence[Question],
    *,
    longer: int = 0,
    say: Say = lambda line: None,
) -> Encoder:
    """Prompts of a task that asks for reasoning, behind the worked examples, which take nothing from the question.

    Where a model reads too little for all of them and half of the longest prompt, the last ones are left out.

    Args:
        thinking: as :func:`thinking_task` gave it; fields besides the question's own are empty in worked examples.
        asked: the questions, whose options must fit behind a chain.
        longer: tokens beyond the longest prompt, for what is put in besides.
        say: is told how many were left out.
    """
    blank = dict.fromkeys(thinking.template.fields(), "")
    shots = [_solved(thinking, one, setting.answer, blank) for one in setting.worked]
    room = setting.tokens + max(16, _choice_tokens(model.encoder(thinking), asked))
    plain = model.encoder(thinking, room=room, longer=longer)

    def size(shown: Sequence[Shot]) -> int:
        return len(plain.tokenizer.encode(replace(plain, shots=shown).render(blank)))

    while shots:
        taken = size(shots) - size(())
        encoder = model.encoder(thinking, room=room, longer=longer + taken, shots=shots)
        if encoder.max_tokens - taken >= plain.max_tokens // 2:
            break
        shots = shots[:-1]
    if len(shots) < len(setting.worked):
        say(f"{len(shots)} of {len(setting.worked)} worked examples fit into the prompt")
    return encoder if shots else plain


def _solved(thinking: Task, one: Worked, form: Form | None, blank: Mapping[str, str]) -> Shot:
    asked = question(thinking, one.example, form)
    answer = asked.answers[asked.texts.index(one.example.target)]
    return {**blank, **asked.inputs}, f"{one.rationale}{CONCLUSION} {answer}."


def most_tokens(encoder: Encoder, asked: Question, room: int) -> int:
    """Tokens that one chain and the choice behind it can take."""
    return 2 * room + len(_conclusion(encoder)) + sum(len(a) for a in encoder.choices(asked.answers, lead=" "))


def reason(
    model: Model, encoder: Encoder, asks: Sequence[tuple[Question, Prompt]], setting: Setting, stage: str
) -> list[list[Sample]]:
    """``setting.samples`` chains of thought behind each prompt, each with the option chosen behind it."""
    start = time.perf_counter()
    flat = [(q, prompt, number) for q, prompt in asks for number in range(setting.samples)]
    written = model.write(
        encoder,
        [prompt for _, prompt, _ in flat],
        room=setting.tokens,
        temperature=setting.temperature,
        seeds=[seed_of(setting.seed, q.example.id, stage, number) for q, _, number in flat],
    )
    tail = _conclusion(encoder)
    candidates = {q.example.id: encoder.choices(q.answers, lead=" ") for q, _ in asks}
    items = [
        Item((*prompt, *text.ids, *tail), candidates[q.example.id])
        for (q, prompt, _), text in zip(flat, written, strict=True)
    ]
    scored = model.score(items)
    seconds = (time.perf_counter() - start) / len(flat)
    samples = []
    for (q, prompt, number), text, item, values in zip(flat, written, items, scored.logprobs, strict=True):
        chances = softmax(values / lengths(q, item, "none" if q.form == "letter" else "character"))
        best = int(chances.argmax())
        samples.append(
            Sample(question=q.example.id, stage=stage, number=number, text=text.text, ended=text.ended,
                   answer=q.names[best], probability=float(chances[best]), read=read_choice(text.text, q),
                   tokens=len(text.ids) + item.tokens - len(prompt), seconds=seconds)
        )  # fmt: skip
    return [samples[at : at + setting.samples] for at in range(0, len(samples), setting.samples)]


def elect(
    asked: Question, votes: Sequence[Sample], samples: Sequence[Sample], read: int, part: str, seconds: float
) -> Answered:
    """The plurality of ``votes`` as an answer; all ``samples`` are kept.

    Args:
        read: tokens of the prompts, each run once.
    """
    vote = plurality([str(sample.answer) for sample in votes])
    stated = [sample.read for sample in votes if sample.read is not None]
    prediction = Prediction(
        example_id=asked.example.id, split=part, text=asked.example.text, gold=asked.gold, answer=vote.answer,
        probabilities={name: vote.shares.get(name, 0.0) for name in _in_order(asked)}, parsed=True,
        tokens=read + sum(sample.tokens for sample in samples), seconds=seconds,
    )  # fmt: skip
    facts = {
        "tied": vote.tied,
        "agreement": vote.shares[vote.answer],
        "votes": len(votes),
        "stated": len(stated),
        "cut_off": sum(not sample.ended for sample in samples),
        "stated_answer": plurality(stated).answer if stated else None,
        "single_right": votes[0].answer == asked.gold,
    }
    return Answered(prediction, tuple(replace(sample) for sample in samples), facts)


def _in_order(asked: Question) -> list[str]:
    return sorted(asked.names, key=lambda name: (len(name), name)) if asked.example.choices else list(asked.names)


def _choice_tokens(encoder: Encoder, asked: Sequence[Question]) -> int:
    """Tokens behind a chain: the sentence that asks for the answer, and the longest answer."""
    shown = {q.answers for q in asked}
    longest = max((len(a) for answers in shown for a in encoder.choices(answers, lead=" ")), default=0)
    return len(_conclusion(encoder)) + longest


def _conclusion(encoder: Encoder) -> Prompt:
    return tuple(encoder.tokenizer.encode(CONCLUSION, add_special_tokens=False))
