"""A long answer as the model writes it: what a chain of retrieval is compared with."""

from __future__ import annotations

import time
from collections.abc import Sequence

from metier.evaluation.scores import Prediction
from metier.inference.strategies.budget import UNLIMITED, Budget, Say, Spent, within
from metier.inference.strategies.model import Model
from metier.inference.strategies.samples import Answered, Sample, seed_of
from metier.inference.strategies.thought import Tick
from metier.tasks import Example, Task, parse_entities


def write_answer(
    model: Model,
    task: Task,
    examples: Sequence[Example],
    *,
    tokens: int = 256,
    seed: int = 0,
    budget: Budget = UNLIMITED,
    part: str = "test",
    name: str = "zero-shot",
    say: Say = lambda line: None,
    tick: Tick = lambda count: None,
) -> Spent:
    """One greedy answer a question, of at most ``tokens`` tokens.

    Errors: :class:`MetierError` for a budget too small for one question.
    """
    encoder = model.encoder(task, room=tokens)
    prompts = {example.id: encoder.prompt(example.inputs) for example in examples}

    def work(batch: Sequence[Example]) -> list[Answered]:
        start = time.perf_counter()
        seeds = [seed_of(seed, example.id, "answer", 0) for example in batch]
        asked = [prompts[example.id] for example in batch]
        written = model.write(encoder, asked, room=tokens, temperature=0.0, seeds=seeds)
        seconds = (time.perf_counter() - start) / len(batch)
        found = []
        for example, text in zip(batch, written, strict=True):
            answer = text.text.strip() or None
            if task.kind == "extraction" and answer and parse_entities(answer, task.labels) is None:
                answer = None  # no list of entities: it cannot be read
            cost = len(prompts[example.id]) + len(text.ids)
            sample = Sample(example.id, "answer", 0, text.text, text.ended, tokens=cost, seconds=seconds)
            prediction = Prediction(
                example_id=example.id, split=part, text=example.text, gold=example.target, answer=answer,
                probabilities={}, parsed=answer is not None, tokens=cost, seconds=seconds, output=text.text,
            )  # fmt: skip
            found.append(Answered(prediction, (sample,), {}))
        return found

    def bound(example: Example) -> int:
        return len(prompts[example.id]) + tokens

    return within(budget, examples, bound=bound, work=work, at_once=4, name=name, say=say, tick=tick)
