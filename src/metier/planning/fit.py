"""Whether a plan fits memory, budget and data, and what would fit if it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

from metier.models.shapes import Shape
from metier.planning import laws, shapes
from metier.planning.budget import Budget
from metier.planning.hardware import THIS_MACHINE, Hardware, accelerator
from metier.planning.memory import Memory, training_memory
from metier.planning.plan import Plan
from metier.planning.shapes import ModelChoice
from metier.planning.words import amount, count, gigabytes

MOST_DEVICES = 16384
EPOCHS = 4  # of a text, nearly as good as new text: Muennighoff et al. 2023 (arXiv 2305.16264), abstract
ELSEWHERE = "h100-80gb"  # suggested where this machine is too small


@dataclass(frozen=True)
class Problem:
    """What does not fit, which field says so, and what would, each by itself."""

    what: str
    where: str
    remedies: list[str]


def problems(plan: Plan) -> list[Problem]:
    """All that does not fit."""
    return [*_memory(plan), *_budget(plan), *_data(plan)]


def notes(plan: Plan) -> list[str]:
    """What speaks against a plan even where it fits."""
    return [*_smallest(plan), *_little_text(plan)]


def _smallest(plan: Plan) -> list[str]:
    """A budget too small for the smallest shape there is."""
    model, shape = plan.request.model, plan.shape
    if model.layers is not None or shape.parameters <= 1.5 * plan.target:
        return []
    return [
        f"the law wants {count(plan.target)} parameters for this budget, and the smallest shape has "
        f"{count(shape.parameters)}, of which a vocabulary of {shape.vocabulary:,} takes {count(shape.embedding)}: "
        "sensible would be a smaller vocabulary, or a larger budget"
    ]


def _little_text(plan: Plan) -> list[str]:
    """More compute than the text can use, and what is sensible."""
    data, flops = plan.request.data, plan.budget_flops
    if not plan.data_limited or flops is None or data.tokens is None or data.available is None:
        return []
    wanted, most = plan.law.optimum(flops)[1], EPOCHS * data.tokens
    seen = f" ({count(data.tokens)} seen {data.epochs:g} times)" if data.epochs != 1 else ""
    ways = [
        f"fewer FLOPs: {laws.flops_for(plan.law, data.available):.2g} are compute-optimal for "
        f"{count(data.available)} tokens",
        f"more text: {count(wanted)} tokens for this budget",
    ]
    if data.epochs < EPOCHS:
        enough = "enough for this budget"
        if most < wanted:
            enough = f"for which {laws.flops_for(plan.law, most):.2g} FLOPs are compute-optimal"
        ways.append(
            f"up to {EPOCHS} epochs of the text ({count(most)} tokens, {enough}), nearly as good as new text: "
            "Muennighoff et al. 2023 (arXiv 2305.16264)"
        )
    return [
        f"the budget is more than this text can use: for {flops:.3g} FLOPs the law wants {count(wanted)} tokens, and "
        f"there are {count(data.available)}{seen}; the rest goes into size, {count(plan.parameters)} parameters on "
        f"{count(plan.tokens)} tokens",
        f"sensible would be {'; or '.join(ways)}",
    ]


def _memory(plan: Plan) -> Iterator[Problem]:
    hardware = plan.hardware
    if not plan.memory.fits(hardware):
        what = (
            f"a step needs {gigabytes(plan.memory.total)} on each {hardware.name}, of which "
            f"{gigabytes(hardware.usable_bytes)} can be used"
        )
        yield Problem(what, "hardware.device", list(_roomier(plan)))


def _needs(
    plan: Plan, hardware: Hardware, *, shape: Shape | None = None, checkpointing: bool, micro_batch: int
) -> Memory:
    return training_memory(
        shape or plan.shape, hardware, sequence_length=plan.schedule.sequence_length, micro_batch=micro_batch,
        checkpointing=checkpointing, attention=plan.request.attention,
    )  # fmt: skip


def _roomier(plan: Plan) -> Iterator[str]:
    """Changes that make a step fit, the cheapest first."""
    hardware, micro = plan.hardware, plan.request.schedule.micro_batch
    if not plan.checkpointing and plan.memories[True].fits(hardware):
        yield "activation checkpointing (a third more time)"
    if micro > 1:
        with_one = _needs(plan, hardware, checkpointing=plan.checkpointing, micro_batch=1)
        if with_one.fits(hardware):
            yield "a micro-batch of 1 sequence"
        elif not plan.checkpointing and _needs(plan, hardware, checkpointing=True, micro_batch=1).fits(hardware):
            yield "activation checkpointing with a micro-batch of 1 sequence"
    yield from _more_devices(plan)
    smaller = largest_that_fits(plan.request.model, plan)
    if smaller is not None:
        yield (
            f"a smaller model: at most {count(smaller.parameters)} parameters ({smaller.layers} layers of "
            f"{smaller.hidden:,}), with checkpointing and a micro-batch of 1 sequence"
        )


def _more_devices(plan: Plan) -> Iterator[str]:
    kinds = [plan.hardware] if plan.hardware.name != THIS_MACHINE else [accelerator(ELSEWHERE)]
    for kind in kinds:
        number = 1 if kind is not plan.hardware else plan.hardware.devices
        while number <= MOST_DEVICES:
            spread = kind.spread(number)
            if _needs(plan, spread, checkpointing=True, micro_batch=1).fits(spread):
                how = f", everything sharded over all {number}" if number > 1 else ""
                yield f"{number} × {kind.name}{how}, with checkpointing and a micro-batch of 1 sequence"
                break
            number *= 2


def largest_that_fits(model: ModelChoice, plan: Plan) -> Shape | None:
    """The largest shape whose training fits the plan's devices, with checkpointing and one sequence at once."""
    free = replace(
        model, parameters=None, layers=None, hidden=None, heads=None, ffn=None, kv_heads=None,
        vocabulary=plan.shape.vocabulary,
    )  # fmt: skip

    def fits(shape: Shape) -> bool:
        return _needs(plan, plan.hardware, shape=shape, checkpointing=True, micro_batch=1).fits(plan.hardware)

    found = list(takewhile(fits, shapes.sweep(free)))
    return found[-1] if found else None


def spent(plan: Plan, budget: Budget) -> float:
    """What the plan takes of a budget, in the budget's unit."""
    if budget.kind == "flops":
        return plan.flops_model
    if budget.kind == "dollars":
        return plan.device_hours * (plan.hardware.dollars_per_hour or 0.0)
    return plan.device_hours / (plan.hardware.devices if budget.kind == "hours" else 1)


def _budget(plan: Plan) -> Iterator[Problem]:
    budget = plan.request.budget
    if budget is None:
        return
    used, may = spent(plan, budget), budget.amount * (1 - budget.reserve)
    if used <= may * (1 + 1e-9):
        return
    kept = f" (a reserve of {budget.reserve:.0%} kept back)" if budget.reserve else ""
    what = f"the plan takes {amount(used)} {budget.unit}, the budget allows {amount(may)}{kept}"
    remedies = [f"a budget of {amount(used / (1 - budget.reserve))} {budget.unit}"]
    steps = _most_steps(plan, budget, may)
    if steps:
        remedies.append(f"{steps:,} steps ({count(plan.schedule.tokens(steps))} tokens) instead of {plan.steps:,}")
    if plan.hardware.seconds_per_step is None:
        smaller = plan.parameters * may / used
        remedies.append(f"a model of at most {count(smaller)} parameters on the same tokens")
    yield Problem(what, f"budget.{budget.kind}", remedies)


def _most_steps(plan: Plan, budget: Budget, may: float) -> int:
    low, high = 0, plan.steps
    while low < high:
        middle = (low + high + 1) // 2
        if spent(replace(plan, steps=middle), budget) <= may:
            low = middle
        else:
            high = middle - 1
    return low


def _data(plan: Plan) -> Iterator[Problem]:
    available = plan.request.data.available
    if available is None or plan.tokens <= available:
        return
    data = plan.request.data
    what = (
        f"{plan.steps:,} steps see {count(plan.tokens)} tokens, "
        f"there are {count(available)} ({data.epochs:g} epochs allowed)"
    )
    steps = plan.schedule.steps_within(available)
    remedies = [f"at most {steps:,} steps"] if steps else []
    remedies.append(f"epochs: {plan.tokens / (data.tokens or 1):.2f}")
    yield Problem(what, "data.tokens", remedies)
