"""A finished specialist on something else, with all the statistics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from metier.errors import MetierError
from metier.evaluation.averaged import Slices
from metier.evaluation.calibration import Temperature
from metier.evaluation.evidence import evaluate_classification, merge_scores, write_predictions
from metier.evaluation.scores import Prediction
from metier.evaluation.scoring import normalise
from metier.inference.specialist import Specialist
from metier.recipe import Recipe, TaskChoice
from metier.run.data import Data, load, prepare_data
from metier.run.measure import classical_answers
from metier.sources import Lock
from metier.tasks import Example, prepare
from metier.tasks.prepare import key_of


def evaluate(
    run: Path, choice: TaskChoice, *, data_root: Path | None = None, offline: bool = False, seed: int = 0
) -> tuple[str, dict[str, Any], dict[str, int]]:
    """Score a run's specialist on other labelled data, beside majority and TF-IDF fitted on the run's own train part.

    Rows whose text stood in the run's train or validation part are left out and counted.

    Returns:
        ``(task name, entries a system as in scores.json, counts)``; also written to the run's evidence.
    """
    specialist = Specialist.load(run, offline=offline, engine="torch")
    if specialist.writes:
        raise MetierError(
            f"only classification is scored elsewhere; this specialist is one for {specialist.bundle.task.kind}",
            where=str(run),
            fix="answer the rows with metier predict --in FILE --out FILE, and compare",
        )
    loaded = load(choice, data_root=data_root, lock=None, offline=offline)
    prepared = prepare(loaded.examples)
    labels = specialist.labels
    _check_labels(prepared.examples, labels, loaded.where)
    data = _training_data(run, data_root, offline)
    seen = {_text_key(e) for part in ("train", "validation") for e in data.part(part)}
    examples = [e for e in prepared.examples if _text_key(e) not in seen]
    if not examples:
        raise MetierError("every row was already in the run's training data", where=loaded.where)
    name = loaded.task.name + (f"-{choice.variant}" if choice.variant else "")
    if name == data.task.name:
        name += "-elsewhere"
    logprobs, seconds = specialist.score_examples(examples)
    found = _predictions(examples, labels, normalise(logprobs), seconds / len(examples))
    others = classical_answers(data, examples)
    evidence = run / "evidence"
    for system, predictions in {**others, "specialist": found}.items():
        write_predictions(evidence / "predictions" / f"{name}.{system}.parquet", predictions)
    slices = Slices.of(loaded.task, examples)
    temperature = Temperature(specialist.bundle.temperature, False, 0.0, 0.0, 0)
    entries = {system: evaluate_classification(labels, p, seed=seed, slices=slices) for system, p in others.items()}
    entries["specialist"] = evaluate_classification(
        labels, found, seed=seed, others=others, temperature=temperature, slices=slices
    )
    for system, entry in entries.items():
        merge_scores(evidence / "scores.json", name, system, entry)
    counts = {
        "rows": len(loaded.examples),
        "duplicates": len(loaded.examples) - len(prepared.examples),
        "in_training": len(prepared.examples) - len(examples),
        "scored": len(examples),
    }
    return name, entries, counts


def _check_labels(examples: list[Example], labels: list[str], where: str) -> None:
    strange = sorted({e.target for e in examples} - set(labels))
    if strange:
        row = next(e.source_row for e in examples if e.target == strange[0])
        raise MetierError(
            f"the label '{strange[0]}' is not one the specialist knows",
            where=f"{where}, {row}",
            fix=f"it knows {', '.join(labels)}: map yours onto these",
        )


def _training_data(run: Path, data_root: Path | None, offline: bool) -> Data:
    try:
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        kept = json.loads((run / "data" / "splits.json").read_text(encoding="utf-8"))["hash"]
        recipe = Recipe.model_validate(manifest["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetierError(
            f"the record of the training data cannot be read: {error}",
            where=str(run),
            fix="give the whole run directory that `metier run` wrote; if it is damaged, run its recipe again",
        ) from error
    data = prepare_data(recipe, data_root=data_root, lock=Lock.load(run / "lock.json"), offline=offline)
    if data.to_json()["hash"] != kept:
        raise MetierError("the run's training data has changed since", where=str(run), fix="run the recipe again")
    return data


def _text_key(example: Example) -> tuple[str, ...]:
    return key_of(example)


def _predictions(
    examples: list[Example], labels: list[str], probabilities: np.ndarray, seconds: float
) -> list[Prediction]:
    return [
        Prediction(
            example_id=example.id,
            split="test",
            text=example.text,
            gold=example.target,
            answer=labels[int(row.argmax())],
            probabilities=dict(zip(labels, row.tolist(), strict=True)),
            parsed=True,
            tokens=0,
            seconds=seconds,
        )
        for example, row in zip(examples, probabilities, strict=True)
    ]
