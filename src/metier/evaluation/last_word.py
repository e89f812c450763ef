"""Whether greedy writing ends a passage with its own last word (Paperno et al. 2016, LAMBADA)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from metier.evaluation.scores import Prediction
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.generate import generate
from metier.tasks import Example

LAST_WORD = "last_word_accuracy"


def last_words(
    runner: Runner, encoder: Encoder, examples: Sequence[Example], tick: Callable[[int], None] | None = None
) -> list[Prediction]:
    """What the model writes greedily where the last word stands: right if its tokens are the word's, one by one.

    That is lm-evaluation-harness's ``acc`` of ``lambada_openai``: the word's likelihood is that of the greedy path.
    """
    prompts = [encoder.prompt(example.inputs) for example in examples]
    words = [encoder.answer(example.target) for example in examples]
    start = time.perf_counter()
    room = max(len(word) for word in words)
    found = generate(runner, encoder.tokenizer, prompts, ends=[encoder.end], max_new_tokens=room, progress=tick)
    seconds = (time.perf_counter() - start) / max(1, len(examples))
    predictions = []
    for example, prompt, word, written in zip(examples, prompts, words, found, strict=True):
        right = written.ids[: len(word)] == word
        # a word that looks the same but is cut into other tokens is not the likeliest path
        answer = example.target if right else f"{encoder.tokenizer.decode(written.ids[: len(word)]).strip()} (not it)"
        predictions.append(
            Prediction(example_id=example.id, split="test", text=example.text, gold=example.target, answer=answer,
                       probabilities={}, parsed=True, tokens=len(prompt) + len(word), seconds=seconds)
        )  # fmt: skip
    return predictions
