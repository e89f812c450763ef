"""Systems that answer: chosen by likelihood among labels or options, or written out, as the task's kind has it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from metier.evaluation.averaged import Slices, average_weighted_f1
from metier.evaluation.choices import answer_choices, option_items
from metier.evaluation.scores import Prediction
from metier.evaluation.scoring import normalise, score
from metier.models.encode import Encoder, Shot, split_prefix
from metier.models.forward import Runner
from metier.models.trunk import Trunk, compute_trunk
from metier.run.generative import answer_in_words
from metier.run.progress import Tick, bar
from metier.tasks import Example


def answer(
    runner: Runner,
    encoder: Encoder,
    examples: Sequence[Example],
    part: str,
    *,
    room: int | None,
    trained: bool,
    tick: Tick,
    own_shots: Mapping[str, Sequence[Shot]] | None = None,
) -> list[Prediction]:
    """What a model answers, as predictions.

    Args:
        room: most tokens of an answer that is written out; None where it is chosen.
        trained: whether the model was trained to end what it writes.
        own_shots: solved examples by the example's id, where each has its own.
    """
    if room is not None:
        return answer_in_words(runner, encoder, examples, part, room=room, trained=trained, tick=tick)
    if encoder.task.kind == "multiple_choice":
        return answer_choices(runner, encoder, examples, tick, part=part, own_shots=own_shots)
    return answer_labels(runner, encoder, examples, part, tick, own_shots=own_shots)


def answer_labels(
    runner: Runner,
    encoder: Encoder,
    examples: Sequence[Example],
    part: str,
    tick: Tick | None = None,
    trunk: Trunk | None = None,
    own_shots: Mapping[str, Sequence[Shot]] | None = None,
) -> list[Prediction]:
    """Label likelihoods for each example, as predictions; ``own_shots`` are solved examples by the example's id."""
    labels, items = encoder.task.labels, []
    for example in examples:
        if own_shots:
            encoder.shots = own_shots[example.id]
        items.append(encoder.choice_item(example.inputs, labels))
    scored = score(runner, items, trunk=trunk, progress=tick)
    share = scored.seconds / max(1, len(items))
    return [
        label_prediction(example, part, labels, normalise(values), tokens=tokens, seconds=share)
        for example, values, tokens in zip(examples, scored.logprobs, scored.tokens, strict=True)
    ]


def label_trunk(
    runner: Runner, encoder: Encoder, examples: Sequence[Example], lowest: int, spill: Path
) -> Trunk | None:
    """What the frozen layers give for ``examples`` and the answers that validation scores; ``None`` if there is nothing
    to keep.
    """
    if encoder.task.written:
        items = [encoder.training_item(example.inputs, example.target) for example in examples]
    elif encoder.task.kind == "multiple_choice":
        items = option_items(encoder, examples)
    else:
        items = [encoder.choice_item(example.inputs, encoder.task.labels) for example in examples]
    return compute_trunk(runner, lowest, *split_prefix(items), spill=spill, showing=partial(bar, lines=False))


def validation_metrics(
    runner: Runner,
    encoder: Encoder,
    examples: Sequence[Example],
    trunk: Trunk | None = None,
    tick: Tick | None = None,
) -> dict[str, float]:
    """Loss in nats an answer, weighted F1 and the task's own metric on the validation part.

    ``standard_error`` is that of the accuracy, which the others' is near to.
    """
    from sklearn.metrics import accuracy_score, f1_score

    found = answer_labels(runner, encoder, examples, "validation", tick, trunk=trunk)
    golds, answers = [p.gold for p in found], [p.answer for p in found]
    weighted = float(f1_score(golds, answers, average="weighted", labels=encoder.task.labels, zero_division=0))
    slices = Slices.of(encoder.task, examples)
    own = average_weighted_f1(found, encoder.task.labels, slices, seed=0, resamples=1).value if slices else weighted
    loss = float(np.mean([-np.log(max(p.probabilities[p.gold], 1e-12)) for p in found]))
    accuracy = float(accuracy_score(golds, answers))
    return {
        "metric": own,
        "weighted_f1": weighted,
        "accuracy": accuracy,
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / len(found)),
        "loss": loss,
    }


def label_prediction(
    example: Example, part: str, labels: Sequence[str], probabilities: np.ndarray, *, tokens: int, seconds: float
) -> Prediction:
    """The likeliest of ``labels`` as the answer; ``probabilities`` is (labels,)."""
    return Prediction(
        example_id=example.id,
        split=part,
        text=example.text,
        gold=example.target,
        answer=labels[int(probabilities.argmax())],
        probabilities=dict(zip(labels, probabilities.tolist(), strict=True)),
        parsed=True,
        tokens=tokens,
        seconds=seconds,
    )
