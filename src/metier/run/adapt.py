"""From a base and training examples to trained weights: attach what trains, run the loop, keep the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metier.models.adapters import attach_lora, train_everything
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.layers import lowest_layer
from metier.models.load import parameters
from metier.models.soft_prompt import attach_prompt
from metier.recipe import Adapt, Recipe
from metier.run.answers import label_trunk, validation_metrics
from metier.run.choices import choice_metrics
from metier.run.data import Data
from metier.run.describe import training_summary
from metier.run.generative import answer_room, validation_loss
from metier.run.mixture import Mixture
from metier.run.progress import bar, console
from metier.tasks.choices import asked
from metier.training.loop import Progress, Schedule, train
from metier.training.prompts import Prompts

LOOKS = 10
"""At validation, where a recipe gives steps and no epochs."""


def train_specialist(
    recipe: Recipe,
    data: Data,
    mixture: Mixture | None,
    encoder: Encoder,
    model: Any,
    *,
    packing: bool | None,
    folder: Path,
    log: Path,
    key: str,
) -> tuple[Runner, dict[str, Any], int | None]:
    """Train ``model`` as the recipe says; a checkpoint in ``folder`` with the same ``key`` is continued.

    Returns:
        The trained model, what the manifest says of the training, and the tokens that an answer may need where answers
        are written out.
    """
    adapt = recipe.adapt
    lowest = lowest_layer(adapt.lowest_layer, model)
    runner = Runner(_attach(adapt, model, encoder, recipe.seed, lowest), packing=packing)
    examples = asked(data.task, mixture.train if mixture else data.part("train"))
    soft = adapt.soft_labels
    items = [encoder.training_item(e.inputs, e.target, e.agreement if soft else None) for e in examples]
    weights = Weights([e.weight or 1.0 for e in examples]) if any(e.weight for e in examples) else None
    steps, epochs = adapt.updates(len(items)), adapt.passes(len(items))
    trainable, everything = parameters(runner.model)
    console.print(
        f"  adapt {adapt.method}: {trainable:,} of {everything:,} weights, "
        f"{len(items)} examples × {epochs:g} epochs = {steps} steps, peak rate {adapt.rate:g}"
        + (f", layers below {lowest} computed once" if lowest else "")
    )
    if weights and weights.heavy:
        console.print(f"  {weights.heavy} examples weigh more: {weights.share_seen:.0%} of what is seen")
    validate = _validation(runner, encoder, [data, *(mixture.others if mixture else ())], lowest, folder)
    with bar("adapt", steps) as advance:
        work = Prompts(
            runner, items, epochs=math.ceil(epochs), steps=steps, batch_size=adapt.batch_size,
            micro_batch_tokens=adapt.micro_batch_tokens, weights=weights.values if weights else None, seed=recipe.seed,
            lowest_layer=lowest, showing=bar,
        )  # fmt: skip
        schedule, report = schedule_of(adapt, steps, recipe.seed), _reporting(advance)
        result = train(
            work, schedule, folder=folder, log=log, key=key, validate=validate, report=report,
            say=lambda text: console.print(f"  {text}"),
        )  # fmt: skip
    summary = training_summary(result, adapt.method, trainable, everything, epochs, len(items))
    summary |= {"lowest_layer": lowest, "truncated": encoder.truncated}
    if weights and weights.heavy:
        summary["weighted"] = {"examples": weights.heavy, "share_seen": round(weights.share_seen, 4)}
    if runner.soft_tokens:
        summary["soft_tokens"] = runner.soft_tokens
    return runner, summary, answer_room(encoder, examples) if data.task.written else None


@dataclass(frozen=True)
class Weights:
    """How many times as often as others each example is seen."""

    values: list[float]

    @property
    def heavy(self) -> int:
        """Examples that are seen more often than once for each time of others."""
        return sum(value > 1 for value in self.values)

    @property
    def share_seen(self) -> float:
        """The share of what is seen that these make up."""
        return sum(value for value in self.values if value > 1) / sum(self.values)


def _reporting(advance: Callable[..., None]) -> Callable[[Progress, int, float, float], None]:
    """Moves a progress bar to the step that the loop has reached."""
    shown = 0

    def report(progress: Progress, total: int, loss: float, rate: float) -> None:
        nonlocal shown
        speed = progress.examples / progress.seconds
        advance(progress.step - shown, f"loss {loss:.3f} · {speed:.1f} examples/s")
        shown = progress.step

    return report


def _attach(adapt: Adapt, model: Any, encoder: Encoder, seed: int, lowest: int) -> Any:
    if adapt.method == "full":
        return train_everything(model, lowest)
    if adapt.method == "prompt":
        return attach_prompt(
            model,
            encoder.tokenizer,
            length=adapt.length,
            start=adapt.init,
            text=adapt.init_text or encoder.task.template.instruction,
            spread=adapt.init_spread,
            seed=seed,
        )
    return attach_lora(
        model,
        rank=adapt.rank,
        alpha=adapt.scale,
        dropout=adapt.dropout,
        targets=adapt.targets,
        seed=seed,
        lowest=lowest,
    )


def _validation(
    runner: Runner, encoder: Encoder, tasks: list[Data], lowest: int, folder: Path
) -> Callable[[], dict[str, float]]:
    """What the loop looks at: of a mixture the mean over its tasks, however large each is."""
    written = tasks[0].task.written
    parts = [data.part("validation") for data in tasks]
    spill = folder / "validation-trunk"
    trunks = [None if written else label_trunk(runner, encoder, part, lowest, spill) for part in parts]
    look = validation_loss if written else validation_metrics
    look = choice_metrics if tasks[0].task.kind == "multiple_choice" else look

    def validate() -> dict[str, float]:
        with bar("validation", sum(map(len, parts)), lines=False) as tick:
            found = [look(runner, encoder, part, trunk, tick) for part, trunk in zip(parts, trunks, strict=True)]
        mean = {name: sum(metrics[name] for metrics in found) / len(found) for name in found[0]}
        if "standard_error" in mean:  # of a mean of independent figures
            mean["standard_error"] = math.hypot(*(metrics["standard_error"] for metrics in found)) / len(found)
        return mean

    return validate


def schedule_of(adapt: Adapt, steps: int, seed: int) -> Schedule:
    """The loop's schedule for a recipe's ``adapt`` and so many optimizer steps."""
    return Schedule(
        learning_rate=adapt.rate,
        warmup=adapt.warmup,
        weight_decay=adapt.weight_decay,
        clip=adapt.clip,
        validate_every=math.ceil(steps / (LOOKS if adapt.steps else adapt.epochs * adapt.validations_per_epoch)),
        patience=adapt.patience,
        checkpoint_every=adapt.checkpoint_every,
        seed=seed,
    )
