"""What is forgotten: general tasks, measured on the base and on the specialist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metier.errors import MetierError
from metier.evaluation.choices import answer_choices
from metier.evaluation.evidence import evaluate_choices, read_predictions, write_predictions
from metier.evaluation.intervals import ratio, ratio_difference
from metier.evaluation.last_word import LAST_WORD, last_words
from metier.evaluation.retention import document_bits, read_bits, write_bits
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.recipe import Retention
from metier.run.progress import Tick
from metier.sources import Lock
from metier.tasks import Loaded, get, load_task, names


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
