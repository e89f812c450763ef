"""Systems that write their answer: what they wrote, and how it was read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from metier.evaluation.parsing import parse_label
from metier.evaluation.scores import Prediction
from metier.evaluation.scoring import score
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.generate import first_paragraph, generate
from metier.models.trunk import Trunk
from metier.run.progress import Tick
from metier.tasks import Example, Task, parse_entities

MOST_TOKENS = 512  # of an answer, however long those of the training part are
UNKNOWN_TOKENS = 256  # of an answer where no right one may be looked at


def answer_room(encoder: Encoder, train: Sequence[Example]) -> int:
    """Tokens an answer may take: a quarter more than the longest that is known, and eight for what is said around it.

    Known are the labels of a classification, else the answers of the training part; where that is empty, nothing is.
    """
    task = encoder.task
    texts = {e.target for e in train} if task.written else set(task.labels)
    if not texts:
        return UNKNOWN_TOKENS
    longest = max(len(encoder.answer(text)) for text in texts)
    return min(MOST_TOKENS, longest + longest // 4 + 8)


def read_answer(task: Task, text: str) -> str | None:
    """The answer that a text stands for, None if it cannot be read.

    A label for classification; for extraction the text, if it is a list of entities; any text that is not blank for
    generation.
    """
    if task.kind == "classification":
        return parse_label(text, task.labels)
    stripped = text.strip()
    if task.kind == "extraction" and parse_entities(stripped, task.labels) is None:
        return None
    return stripped or None


def answer_in_words(
    runner: Runner,
    encoder: Encoder,
    examples: Sequence[Example],
    part: str,
    *,
    room: int,
    trained: bool,
    tick: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """What the model writes for each example, greedily, as predictions.

    Args:
        room: most tokens of an answer.
        trained: whether it was trained to end its answers. A base without a chat template was not: its answer is the
            first paragraph.
    """
    prompts = [encoder.prompt(example.inputs) for example in examples]
    ends = list(dict.fromkeys([encoder.end, int(encoder.tokenizer.eos_token_id)]))
    start = time.perf_counter()
    found = generate(runner, encoder.tokenizer, prompts, ends=ends, max_new_tokens=room, progress=tick)
    seconds = (time.perf_counter() - start) / max(1, len(examples))
    goes_on = not trained and not encoder.tokenizer.chat_template
    predictions = []
    for example, prompt, written in zip(examples, prompts, found, strict=True):
        text = first_paragraph(written.text) if goes_on else written.text
        answer = read_answer(encoder.task, text)
        predictions.append(
            Prediction(example_id=example.id, split=part, text=example.text, gold=example.target, answer=answer,
                       probabilities={}, parsed=answer is not None, tokens=len(prompt) + len(written.ids),
                       seconds=seconds, output=written.text)
        )  # fmt: skip
    return predictions


def answer_the_same(train: Sequence[Example], examples: Sequence[Example], part: str) -> tuple[str, list[Prediction]]:
    """The majority baseline of written answers: the most frequent one of the training part, the first of equals by
    spelling.
    """
    counts = Counter(example.target for example in train)
    answer = min(counts, key=lambda text: (-counts[text], text))
    return answer, [
        Prediction(example_id=e.id, split=part, text=e.text, gold=e.target, answer=answer, probabilities={},
                   parsed=True, tokens=0, seconds=0.0)
        for e in examples
    ]  # fmt: skip


def validation_loss(
    runner: Runner,
    encoder: Encoder,
    examples: Sequence[Example],
    trunk: Trunk | None = None,
    tick: Tick | None = None,
) -> dict[str, float]:
    """Loss in nats a right answer, its end token counted; ``metric`` is what the best checkpoint has most of."""
    items = [encoder.training_item(example.inputs, example.target) for example in examples]
    loss = -float(np.mean([values[0] for values in score(runner, items, trunk=trunk, progress=tick).logprobs]))
    return {"metric": -loss, "log_likelihood": -loss, "loss": loss}
