"""What belongs to which way of adapting, and settings that were published."""

from __future__ import annotations

from typing import Any

PROMPT_ONLY = ("length", "init", "init_text", "init_spread", "preset")
NOT_FOR_PROMPT = ("rank", "alpha", "dropout", "targets", "lowest_layer")

OF_INIT = {"init_text": "text", "init_spread": "uniform"}

PRESETS: dict[str, dict[str, Any]] = {
    # Singhal et al. 2023 (Med-PaLM, arXiv 2212.13138), instruction prompt tuning of a 540B model with AdamW from 40
    # exemplars. Warm-up, schedule and clipping are not known to us: metier's own are used, and so is its choice of the
    # best checkpoint, by validation, where clinicians ranked answers.
    "med-palm": {
        "method": "prompt",
        "length": 100,
        "init": "uniform",
        "init_spread": 0.5,
        "learning_rate": 0.003,
        "weight_decay": 0.00001,
        "batch_size": 32,
        "steps": 200,
    },
}

GRIDS: dict[str, list[dict[str, Any]]] = {
    "med-palm": [
        {"adapt": {"learning_rate": rate, "weight_decay": decay}}
        for rate in (0.001, 0.003, 0.01)
        for decay in (0.001, 0.00001)
    ],
}


def fits(field: str, method: str) -> bool:
    """Whether a field of ``adapt`` means something for a method."""
    return field not in (NOT_FOR_PROMPT if method == "prompt" else PROMPT_ONLY)


def refuse_misplaced(method: str, given: set[str], init: str) -> None:
    """Say which field that was given means nothing, as :class:`ValueError`."""
    for field in sorted(given):
        if not fits(field, method) and method == "prompt":
            raise ValueError(
                f"'{field}' is not for prompt tuning: a soft prompt stands in front of the whole base and has only a "
                f"'length'; leave {field} out"
            )
        if not fits(field, method):
            raise ValueError(f"'{field}' is for prompt tuning: write method: prompt, or leave it out")
    for field, wanted in OF_INIT.items():
        if field in given and init != wanted:
            raise ValueError(f"'{field}' is for init: {wanted}, not for init: {init}")
    if {"steps", "epochs"} <= given:
        raise ValueError("give 'epochs' or 'steps', not both")


def unnamed(method: str, init: str, steps: int | None, given: set[str]) -> set[str]:
    """Fields that a resolved recipe does not list: left out by its author, they mean nothing for its method."""
    foreign = {field for field in (*PROMPT_ONLY, *NOT_FOR_PROMPT) if not fits(field, method)}
    foreign |= {field for field, wanted in OF_INIT.items() if init != wanted}
    foreign |= {"steps"} if steps is None else {"epochs", "validations_per_epoch"}
    return foreign - given
