"""Texts longer than a prompt may be: their middle is left out, which is counted and told with file, row and field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from metier.errors import MetierError
from metier.models.encode import Encoder
from metier.run.data import Data, Shots
from metier.tasks import Example
from metier.tasks.choices import PLACE, asked

KEPT_SAMPLES = 10


def cut_texts(encoder: Encoder, data: Data) -> dict[str, Any]:
    """Which examples lose their middle in the prompt.

    A token is one byte or more, so that texts with fewer bytes than ``max_tokens`` need not be tokenized.

    Returns:
        ``{"max_tokens", "counts": {part: examples}, "samples": [{"where", "field", "tokens"}]}``.

    Errors: :class:`MetierError` with file and row where the options alone are too long.
    """
    probe = replace(encoder, truncated=0, _answers={})
    around = len(probe.render(dict.fromkeys(encoder.task.template.fields(), "")).encode("utf-8"))
    counts, samples = dict.fromkeys(data.split.parts, 0), list[dict[str, Any]]()
    for part in data.split.parts:
        for example in _long(asked(data.task, data.part(part)), encoder.max_tokens - around):
            before = probe.truncated
            try:
                probe.prompt(example.inputs)
            except MetierError as error:
                raise MetierError(error.what, where=example.source_row, fix=error.fix) from error
            if probe.truncated == before:
                continue
            counts[part] += 1
            if len(samples) < KEPT_SAMPLES:
                tokens = len(encoder.tokenizer.encode(probe.render(example.inputs), add_special_tokens=False))
                field = max(example.inputs, key=lambda name: (name != PLACE, len(example.inputs[name])))
                samples.append({"where": example.source_row, "field": field, "tokens": tokens})
    return {"max_tokens": encoder.max_tokens, "counts": counts, "samples": samples}


def _long(examples: Sequence[Example], room: int) -> list[Example]:
    return [e for e in examples if sum(len(text.encode("utf-8")) for text in e.inputs.values()) > room]


def fitting_shots(encoder: Encoder, shots: Shots) -> Shots:
    """As many of the solved examples, from the first, as take half of the longest prompt: the rest of it is
    for the question.
    """
    blank = dict.fromkeys(encoder.task.template.fields(), "")
    kept = list(shots)
    while kept:
        text = replace(encoder, shots=kept, _answers={}).render(blank)
        if len(encoder.tokenizer.encode(text, add_special_tokens=False)) <= encoder.max_tokens // 2:
            break
        kept.pop()
    return kept


def told_of(cut: dict[str, Any], allowed: int) -> str | None:
    """The warning, None where nothing is cut; ``allowed`` tokens are the recipe's limit, the base's may be lower."""
    if not any(cut["counts"].values()):
        return None
    parts = ", ".join(f"{part} {count}" for part, count in cut["counts"].items() if count)
    first, lower = cut["samples"][0], cut["max_tokens"] < allowed
    fix = "this base reads no more (max_tokens is higher)" if lower else "raise max_tokens if the base can read more"
    return (
        f"the middle of {sum(cut['counts'].values())} texts is left out ({parts}): their prompts are longer than "
        f"{cut['max_tokens']} tokens, such as {first['where']}, field '{first['field']}', {first['tokens']} tokens; "
        f"{fix}"
    )
