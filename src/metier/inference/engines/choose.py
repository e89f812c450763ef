"""Which engine answers when the user leaves it open: measured, and said."""

from __future__ import annotations

from metier.errors import MetierError
from metier.inference.bundle import Bundle
from metier.inference.engines import Engine, median_seconds
from metier.inference.engines.openvino_engine import is_exported, load_engine
from metier.inference.engines.torch_engine import TorchEngine

# About as long as a sentence of company news.
_SENTENCES = (
    "Net sales of the group rose to EUR 48.3 million in the third quarter, from EUR 41.9 million a year earlier.",
    "The company will close its plant in the north and lay off about sixty people.",
    "The annual general meeting will be held in the town hall on Thursday, 14 April, at ten o'clock.",
)


TOGETHER = 8  # sentences of a batch in the trial of those who have many


def choose_engine(bundle: Bundle, reference: TorchEngine, *, many: bool = False) -> tuple[Engine, str]:
    """The faster engine, on sentences alone or (``many``) in batches, and why: torch where nothing else can be used."""
    if not is_exported(bundle):
        return reference, "torch: no other engine is exported"
    try:
        exported = load_engine(bundle)
    except MetierError as error:
        return reference, f"torch: {error.what}"
    return faster(reference, exported, many=many)


def faster(reference: TorchEngine, exported: Engine, *, many: bool = False) -> tuple[Engine, str]:
    """The engine that answers a sentence sooner, alone or in batches, and the times of both."""
    encoder = reference.encoder
    prompts = [encoder.prompt(dict.fromkeys(encoder.task.template.fields(), sentence)) for sentence in _SENTENCES]
    engines: list[Engine] = [reference, exported]
    rounds, together = (1, TOGETHER) if many else (3, 1)
    seconds = median_seconds(engines, prompts, rounds, together)
    order = sorted(range(len(engines)), key=seconds.__getitem__)
    fast, slow = (f"{engines[i].name} ({engines[i].about})" for i in order)
    times = [seconds[i] * 1000 for i in order]
    return engines[
        order[0]
    ], f"{fast}: {times[0]:.1f} ms a sentence {'in batches ' if many else ''}here, {slow} {times[1]:.1f} ms"
