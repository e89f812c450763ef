"""From a budget or a model to a plan: size, shape, tokens, steps, FLOPs, time, memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from metier.errors import MetierError
from metier.models.shapes import Shape
from metier.planning import laws, schedule, shapes
from metier.planning.budget import Budget
from metier.planning.hardware import THIS_MACHINE, Hardware, HardwareChoice, resolve
from metier.planning.laws import RECOMPUTE, Law, training_flops
from metier.planning.memory import Attention, Memory, training_memory
from metier.planning.schedule import Schedule, ScheduleChoice
from metier.planning.shapes import ModelChoice
from metier.planning.words import count

MOST_FLOPS = 1e40
PRICED = "a100-40gb"  # where GPU-hours or dollars are given and no device: BloombergGPT's


@dataclass(frozen=True, kw_only=True)
class DataChoice:
    """Distinct tokens there are, None if more than are needed, and how often they may be seen."""

    tokens: float | None = None
    epochs: float = 1.0

    @property
    def available(self) -> float | None:
        """Tokens that may be trained on."""
        return None if self.tokens is None else self.tokens * self.epochs


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that a plan is made from; what is left out is for the plan to choose."""

    budget: Budget | None = None
    hardware: HardwareChoice = field(default_factory=HardwareChoice)
    model: ModelChoice = field(default_factory=ModelChoice)
    data: DataChoice = DataChoice()
    schedule: ScheduleChoice = field(default_factory=ScheduleChoice)
    law: str = laws.DEFAULT
    checkpointing: bool | None = None
    attention: Attention = "fused"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be trained, on what and for how long. ``target`` is the size aimed at, ``why`` says where from."""

    request: Request
    hardware: Hardware
    law: Law
    shape: Shape
    target: float
    why: str
    data_limited: bool
    schedule: Schedule
    steps: int
    checkpointing: bool
    memories: dict[bool, Memory] = field(repr=False)

    @property
    def parameters(self) -> int:
        """N, by the closed formula."""
        return self.shape.parameters

    @property
    def tokens(self) -> int:
        """D, all tokens seen."""
        return self.schedule.tokens(self.steps)

    @property
    def flops_model(self) -> float:
        """C = 6·N·D."""
        return training_flops(self.parameters, self.tokens)

    @property
    def flops_run(self) -> float:
        """8·N·D where layers are run again, else 6·N·D."""
        return self.flops_model * (RECOMPUTE if self.checkpointing else 1)

    @property
    def seconds(self) -> float:
        """From beginning to end: by the measured step where one is given, else by FLOPs and rate."""
        measured = self.hardware.seconds_per_step
        return self.flops_run / self.hardware.flops if measured is None else self.steps * measured

    @property
    def flops(self) -> float:
        """What the devices do in that time at their rate."""
        return self.seconds * self.hardware.flops

    @property
    def full_step_seconds(self) -> float:
        """A step after the batch warm-up, by FLOPs and rate."""
        recompute = RECOMPUTE if self.checkpointing else 1
        return training_flops(self.parameters, self.schedule.batch_tokens) * recompute / self.hardware.flops

    @property
    def device_hours(self) -> float:
        """Hours × devices."""
        return self.seconds / 3600 * self.hardware.devices

    @property
    def dollars(self) -> float | None:
        """None where no price is known."""
        price = self.hardware.dollars_per_hour
        return None if price is None else self.device_hours * price

    @property
    def kwh(self) -> float | None:
        """At the devices' power limit, host and cooling not counted; None where it is not known."""
        return None if self.hardware.watts is None else self.device_hours * self.hardware.watts / 1000

    @property
    def memory(self) -> Memory:
        """At the peak on one device."""
        return self.memories[self.checkpointing]

    @property
    def budget_flops(self) -> float | None:
        """Training FLOPs that the budget pays for."""
        budget = self.request.budget
        return None if budget is None else budget.training_flops(self.hardware, checkpointing=self.checkpointing)


def make_plan(request: Request, machine: Hardware | None) -> Plan:
    """Choose what is left open. Without a word about checkpointing it is used only where nothing else fits.

    Args:
        request: what is known.
        machine: this machine as measured, None if its rate is not known.

    Errors: :class:`MetierError` for a request that says too little, or sizes that do not divide. A plan that does not
    fit is still a plan: see :func:`metier.planning.fit.problems`.
    """
    usual = PRICED if request.budget and request.budget.kind in ("gpu_hours", "dollars") else THIS_MACHINE
    hardware = resolve(request.hardware, machine, usual=usual)
    if request.checkpointing is not None:
        return _plan(request, hardware, request.checkpointing)
    plain = _plan(request, hardware, False)
    return plain if plain.memory.fits(hardware) else _plan(request, hardware, True)


def _plan(request: Request, hardware: Hardware, checkpointing: bool) -> Plan:
    law = laws.law(request.law)
    budget = None
    if request.budget is not None:
        budget = request.budget.training_flops(hardware, checkpointing=checkpointing)
        _refuse_out_of_reach(request.budget, budget)
    target, why, limited = _size(request, law, budget)
    shape = _shape(request, target, law, budget if limited else None)
    chosen, steps = _schedule(request, shape, law, budget, hardware)
    return Plan(
        request=request, hardware=hardware, law=law, shape=shape, target=target, why=why, data_limited=limited,
        schedule=chosen, steps=steps, checkpointing=checkpointing,
        memories={
            kept: training_memory(
                shape, hardware, sequence_length=chosen.sequence_length, micro_batch=request.schedule.micro_batch,
                checkpointing=kept, attention=request.attention,
            )
            for kept in (False, True)
        },
    )  # fmt: skip


def _size(request: Request, law: Law, budget: float | None) -> tuple[float, str, bool]:
    """Parameters to aim at, where they come from, and whether the data decided."""
    model = request.model
    if model.layers is not None:
        size = float(shapes.build(model, model.layers).parameters)
        return size, f"given: {model.layers} layers", False
    if model.parameters is not None:
        return model.parameters, "given", False
    if budget is None:
        raise MetierError(
            "nothing to plan from",
            where="budget, model",
            fix="give a budget (gpu_hours, flops, dollars or hours), or model.parameters, or model.layers",
        )
    parameters, tokens = law.optimum(budget)
    available = request.data.available
    if available is not None and tokens > available:
        if available < 1:
            raise _too_little_text(available, math.inf, law, budget)
        # all tokens are used; what they leave of the budget makes the model larger (Wu et al. 2023, section 3.2)
        return budget / laws.FLOPS_PER_PARAMETER_TOKEN / available, "C / (6·tokens there are): data-limited", True
    return parameters, law.formula, False


def _shape(request: Request, target: float, law: Law, limited: float | None) -> Shape:
    """The shape aimed at; ``limited`` is the budget where it is the data that decides the size."""
    model = request.model
    if model.layers is not None:
        return shapes.build(model, model.layers)
    found = shapes.closest(model, target)
    if target > 1.5 * found.parameters:
        if limited is not None:
            raise _too_little_text(request.data.available or 0.0, target, law, limited)
        raise MetierError(
            f"no shape has {target:.3g} parameters: the largest, of {shapes.MOST_LAYERS} layers, has "
            f"{found.parameters:.3g}",
            where="model.parameters" if request.budget is None or model.parameters else f"budget.{request.budget.kind}",
            fix="give less, or layers, hidden and heads of your own",
        )
    if model.parameters is not None and found.parameters > 1.5 * target:
        raise MetierError(
            f"no shape has {target:.3g} parameters: the smallest, one layer of {found.hidden:,} and a vocabulary of "
            f"{found.vocabulary:,}, has {found.parameters:.3g}, of which the vocabulary takes {found.embedding:.3g}",
            where="model.parameters",
            fix="give more, or a smaller vocabulary, or layers, hidden and heads of your own",
        )
    return found


def _too_little_text(available: float, target: float, law: Law, budget: float) -> MetierError:
    return MetierError(
        f"the text is too little for this budget: {count(available)} tokens leave a model of {target:.3g} parameters, "
        "and no shape has so many",
        where="data.tokens",
        fix=f"give more text ({count(law.optimum(budget)[1])} tokens for this budget), or a smaller budget "
        f"({laws.flops_for(law, available):.2g} FLOPs are compute-optimal for this text)",
    )


def _refuse_out_of_reach(budget: Budget, flops: float) -> None:
    """A budget beyond all reckoning: its powers would overflow."""
    if not 1 <= flops <= MOST_FLOPS:
        raise MetierError(
            f"{budget.amount:g} {budget.unit} pay for {flops:.3g} FLOPs, which no training takes",
            where=f"budget.{budget.kind}",
            fix=f"give what pays for 1 to {MOST_FLOPS:g} FLOPs",
        )


def _schedule(
    request: Request, shape: Shape, law: Law, budget: float | None, hardware: Hardware
) -> tuple[Schedule, int]:
    choice = request.schedule
    tokens = choice.tokens if choice.tokens is not None else _tokens(request, shape, law, budget)
    sequences = choice.sequences or schedule.whole_batches(
        laws.batch_tokens(training_flops(shape.parameters, tokens)),
        choice.sequence_length, hardware.devices, choice.micro_batch,
    )  # fmt: skip
    found = Schedule(choice.sequence_length, sequences, tuple(choice.warmup))
    schedule.check(found, hardware.devices, choice.micro_batch)
    steps = choice.steps or found.steps_within(tokens)
    if steps < 1:
        short = (
            f"{tokens:,.0f} tokens are less than one step of {found.batch_tokens:,} "
            f"({sequences:,} sequences of {choice.sequence_length:,})"
        )
        available = request.data.available
        if choice.tokens is None and available is not None and available < found.batch_tokens:
            fix = "give more text, let it be seen more often (epochs), or give a smaller budget or shorter sequences"
            raise MetierError(short, where="data.tokens", fix=fix)
        raise MetierError(
            short,
            where=f"budget.{request.budget.kind}" if request.budget and choice.tokens is None else "schedule",
            fix="give a larger budget, a smaller model or vocabulary, fewer sequences or shorter ones",
        )
    return found, steps


def _tokens(request: Request, shape: Shape, law: Law, budget: float | None) -> float:
    """D: what the budget pays for with this shape, else what the law wants; never more than there is."""
    if budget is not None:
        tokens = budget / laws.FLOPS_PER_PARAMETER_TOKEN / shape.parameters
    else:
        tokens = law.tokens_for(shape.parameters)
    available = request.data.available
    return tokens if available is None else min(tokens, available)
