"""Systems that answer, and what they answered, as evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metier.errors import MetierError
from metier.evaluation import baselines
from metier.evaluation.averaged import Slices, average_weighted_f1
from metier.evaluation.calibration import Temperature, fit_temperature
from metier.evaluation.choices import answer_choices as answer_choices
from metier.evaluation.choices import option_items
from metier.evaluation.evidence import (
    evaluate_choices,
    evaluate_classification,
    read_predictions,
    read_scores,
    write_predictions,
)
from metier.evaluation.intervals import ratio, ratio_difference
from metier.evaluation.last_word import LAST_WORD, last_words
from metier.evaluation.retention import document_bits, read_bits, write_bits
from metier.evaluation.scores import Prediction
from metier.evaluation.scoring import normalise, score
from metier.files import write_json
from metier.models.encode import Encoder, Shot, split_prefix
from metier.models.forward import Runner
from metier.models.trunk import Trunk, compute_trunk
from metier.recipe import Retention
from metier.run.data import Data
from metier.sources import Lock
from metier.tasks import Example, Loaded, get, load_task, names

Tick = Callable[[int], None]


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
        _prediction(example, part, labels, normalise(values), tokens, share)
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
    return compute_trunk(runner, lowest, *split_prefix(items), spill=spill)


def validation_metrics(
    runner: Runner, encoder: Encoder, examples: Sequence[Example], trunk: Trunk | None = None
) -> dict[str, float]:
    """Loss in nats an answer, weighted F1 and the task's own metric on the validation part."""
    from sklearn.metrics import accuracy_score, f1_score

    found = answer_labels(runner, encoder, examples, "validation", trunk=trunk)
    golds, answers = [p.gold for p in found], [p.answer for p in found]
    weighted = float(f1_score(golds, answers, average="weighted", labels=encoder.task.labels, zero_division=0))
    slices = Slices.of(encoder.task, examples)
    own = average_weighted_f1(found, encoder.task.labels, slices, seed=0, resamples=1).value if slices else weighted
    loss = float(np.mean([-np.log(max(p.probabilities[p.gold], 1e-12)) for p in found]))
    return {
        "metric": own,
        "weighted_f1": weighted,
        "accuracy": float(accuracy_score(golds, answers)),
        "loss": loss,
    }


def _prediction(
    example: Example, part: str, labels: Sequence[str], probabilities: np.ndarray, tokens: int, seconds: float
) -> Prediction:
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


def retention_data(
    choice: Retention, seed: int, *, data_root: Path | None, lock: Lock, offline: bool
) -> tuple[list[Loaded], dict[str, str]]:
    """The general tasks of a recipe, each cut to a seeded sample; and those that cannot be had, with the reason.

    Errors: :class:`MetierError` for a task that does not exist; one out of reach does not stop the run.
    """
    found, absent = [], {}
    for name in choice.tasks:
        kind = get(name).kind
        if kind not in ("multiple_choice", "perplexity"):
            raise MetierError(
                f"'{name}' is a task of kind {kind}: what is kept is measured on multiple choice or plain text",
                where="recipe, retention.tasks",
                fix=f"name one of {', '.join(n for n in names() if get(n).kind in ('multiple_choice', 'perplexity'))}",
            )
        try:
            loaded = load_task(name, data_root=data_root, lock=lock, offline=offline)
        except MetierError as error:
            absent[name] = error.what + (f" ({error.where})" if error.where else "")
            continue
        asked = [e for e in loaded.examples if e.split in (None, "test")]  # what may be learnt from is no evaluation
        loaded = replace(loaded, examples=asked)
        bits = loaded.task.kind == "perplexity" and loaded.task.metric != LAST_WORD
        count = choice.documents if bits else choice.questions
        order = np.random.default_rng(seed).permutation(len(loaded.examples))[:count]
        found.append(Loaded(loaded.task, [loaded.examples[i] for i in sorted(order)], loaded.where))
    return found, absent


def measure_retention(
    runner: Runner, tokenizer: Any, general: Loaded, path: Path, max_tokens: int, tick: Tick | None = None
) -> None:
    """One general task, written as evidence to ``path``."""
    if general.task.metric == LAST_WORD:
        write_predictions(
            path, last_words(runner, Encoder(tokenizer, general.task, max_tokens), general.examples, tick)
        )
    elif general.task.kind == "perplexity":
        texts = [example.inputs["text"] for example in general.examples]
        bits, sizes = document_bits(runner, tokenizer, texts, tick)
        write_bits(path, [example.id for example in general.examples], bits, sizes)
    else:
        encoder = Encoder(tokenizer, general.task, max_tokens)
        write_predictions(path, answer_choices(runner, encoder, general.examples, tick))


def score_retention(folder: Path, general: Loaded, seed: int) -> dict[str, Any]:
    """Entries of ``scores.json`` for a general task: before, after, and the paired difference."""
    name = general.task.name
    before, after = (folder / f"{name}.{system}.parquet" for system in ("base", "specialist"))
    if general.task.kind != "perplexity" or general.task.metric == LAST_WORD:
        old, new = read_predictions(before), read_predictions(after)
        return {
            "base": evaluate_choices(old, seed=seed, deferral=False),
            "specialist": evaluate_choices(new, seed=seed, others={"base": old}, deferral=False),
        }
    (old_bits, sizes), (new_bits, _) = read_bits(before), read_bits(after)
    change = ratio_difference(new_bits, old_bits, sizes, seed=seed).to_json()
    entries: dict[str, Any] = {
        system: {"status": "ok", "metrics": {"bits_per_byte": ratio(bits, sizes, seed=seed).to_json()}}
        for system, bits in (("base", old_bits), ("specialist", new_bits))
    }
    entries["specialist"]["against"] = {"base": {"metric": "bits_per_byte", "difference": change}}
    return entries


def classical_answers(data: Data, examples: Sequence[Example]) -> dict[str, list[Prediction]]:
    """Majority and TF-IDF with logistic regression, fitted on a task's own train part, on any ``examples``."""
    train, validation = data.part("train"), data.part("validation")
    models: dict[str, Any] = {
        "majority": baselines.majority([e.target for e in train], data.task.labels),
        "tfidf": baselines.tfidf(
            [e.text for e in train],
            [e.target for e in train],
            [e.text for e in validation],
            [e.target for e in validation],
            data.task.labels,
        ),
    }
    ids, texts, golds = ([getattr(e, name) for e in examples] for name in ("id", "text", "target"))
    return {
        name: baselines.predict(model, ids=ids, texts=texts, golds=golds, split="test")
        for name, model in models.items()
    }


def fit_calibration(predictions: Sequence[Prediction], labels: Sequence[str]) -> Temperature:
    """Temperature from the validation part's probabilities."""
    logprobs = np.log(np.array([[max(p.probabilities[label], 1e-30) for label in labels] for p in predictions]))
    return fit_temperature(logprobs, np.array([list(labels).index(p.gold) for p in predictions]))


_RIVALS = ("base", "base-fewshot", "tfidf", "majority", "alone")


def write_task_scores(
    evidence: Path,
    task: str,
    labels: Sequence[str],
    metric: str,
    systems: Sequence[str],
    seed: int,
    fit_on: str | None = None,
    slices: Slices | None = None,
) -> dict[str, Any]:
    """Score every system on the test part from its predictions file; returns the task's entries.

    The specialist's temperature is fitted on its validation answers to ``fit_on``, the task itself if left out.
    """
    folder = evidence / "predictions"
    found = {
        name: [p for p in read_predictions(folder / f"{task}.{name}.parquet") if p.split == "test"] for name in systems
    }
    entries: dict[str, Any] = {}
    for name in systems:
        temperature = None
        others: dict[str, list[Prediction]] = {}
        if name == "specialist":
            everything = read_predictions(folder / f"{fit_on or task}.{name}.parquet")
            held_out = [p for p in everything if p.split == "validation"]
            temperature = fit_calibration(held_out, labels) if held_out else None
            others = {other: found[other] for other in _RIVALS if other in found}
        entries[name] = evaluate_classification(
            labels, found[name], seed=seed, others=others, metric=metric, temperature=temperature, slices=slices
        )
    scores = read_scores(evidence / "scores.json")
    write_json(evidence / "scores.json", {**scores, task: entries})
    return entries
