"""Ensemble refinement (Med-PaLM 2: Singhal et al. 2025, arXiv 2305.09617): reason often, then weigh the reasons.

The first stage samples explanations and answers. The second is given the question and all of them, and reasons again,
several times; the plurality of the second stage is the answer. In the paper 11 and then 33 samples.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from metier.inference.strategies.budget import UNLIMITED, Budget, Say, Spent, within
from metier.inference.strategies.model import Model, Prompt
from metier.inference.strategies.presets import REFINEMENT_FIRST, REFINEMENT_SECOND
from metier.inference.strategies.questions import Question, question, worded
from metier.inference.strategies.samples import Answered, Sample
from metier.inference.strategies.thought import (
    Setting,
    Tick,
    elect,
    most_tokens,
    questions_at_once,
    reason,
    thinking_encoder,
    thinking_task,
)
from metier.models.encode import Encoder
from metier.tasks import Example, Task

WEIGH = "Others have thought about this question:\n\n{}\n\nWeigh what they say; they may be wrong. "
FIELD = "reasonings"  # empty in worked examples, which nobody thought about before
FIRST_STAGE = Setting(samples=REFINEMENT_FIRST)


def ensemble_refinement(
    model: Model,
    task: Task,
    examples: Sequence[Example],
    setting: Setting = FIRST_STAGE,
    second: int = REFINEMENT_SECOND,
    *,
    budget: Budget = UNLIMITED,
    part: str = "test",
    name: str = "ensemble-refinement",
    say: Say = lambda line: None,
    tick: Tick = lambda count: None,
) -> Spent:
    """Plurality of ``second`` samples, each conditioned on the question and all first-stage generations.

    Args:
        setting: of the first stage; temperature, length and seed are those of the second too.

    Errors: :class:`MetierError` for a task without options, and for a budget too small for one question.
    """
    task = worded(task, setting.answer)
    asked = [question(task, example, setting.answer) for example in examples]
    first = thinking_encoder(model, thinking_task(task), setting, asked, say=say)
    longer = setting.samples * (setting.tokens + 8) + 32
    refining = thinking_encoder(model, thinking_task(task, f"{{{FIELD}}}"), setting, asked, longer=longer)
    prompts = {q.example.id: first.prompt(q.inputs) for q in asked}

    def bound(q: Question) -> int:
        each = most_tokens(first, q, setting.tokens)
        prompt = len(prompts[q.example.id])
        again = min(refining.max_tokens, prompt + longer + 64)
        return prompt + again + (setting.samples + second) * each

    def work(batch: Sequence[Question]) -> list[Answered]:
        start = time.perf_counter()
        begun = reason(model, first, [(q, prompts[q.example.id]) for q in batch], setting, "first")
        again, shortened = [], []
        for q, drafts in zip(batch, begun, strict=True):
            before = refining.truncated
            again.append(refining_prompt(refining, q, drafts))
            shortened.append(refining.truncated > before)
        ended = reason(
            model, refining, list(zip(batch, again, strict=True)), replace(setting, samples=second), "second"
        )
        share = (time.perf_counter() - start) / len(batch)
        found = []
        for q, drafts, votes, prompt, short in zip(batch, begun, ended, again, shortened, strict=True):
            read = len(prompts[q.example.id]) + len(prompt)
            answered = elect(q, votes, [*drafts, *votes], read, part, share)
            more = {"shortened": short, "single_right": drafts[0].answer == q.gold}
            found.append(replace(answered, facts={**(answered.facts or {}), **more}))
        return found

    at_once = questions_at_once(max(setting.samples, second))
    return within(budget, asked, bound=bound, work=work, at_once=at_once, name=name, say=say, tick=tick)


def refining_prompt(encoder: Encoder, asked: Question, drafts: Sequence[Sample]) -> Prompt:
    """The question with all first-stage generations, in the order they were sampled.

    Where they do not fit, the middle of the longest field is left out, and the encoder counts it.
    """
    texts = "\n\n".join(f"[{number}] {' '.join(draft.text.split())}" for number, draft in enumerate(drafts, 1))
    return encoder.prompt({**asked.inputs, FIELD: WEIGH.format(texts)})
