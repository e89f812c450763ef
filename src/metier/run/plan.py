"""``metier plan``: from a recipe, or from a few numbers, to a plan beside what this machine can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from metier.errors import MetierError
from metier.models.device import Device, choose_device
from metier.planning import fit, laws, machine
from metier.planning.budget import Budget
from metier.planning.derivation import Line, law_flops, lines
from metier.planning.hardware import THIS_MACHINE, Hardware, HardwareChoice
from metier.planning.memory import kv_cache, training_memory
from metier.planning.plan import DataChoice, Plan, Request, make_plan
from metier.planning.schedule import ScheduleChoice, Warmup
from metier.planning.shapes import ModelChoice, count_on_meta, levine_width
from metier.recipe import PlanChoice, load_recipe, place
from metier.recipe.words import told
from metier.run.describe import WATTS
from metier.run.preflight import SHARE


@dataclass(frozen=True)
class Here:
    """This machine: what it is, whether the plan runs on it, and what it could train instead."""

    device: Device
    rate: Hardware | None
    fits: bool | None
    seconds: float | None
    recommended: dict[int, Plan]

    def to_json(self) -> dict[str, Any]:
        """The probe, the plan here, and a plan for each number of hours."""
        return {
            **self.device.to_json(),
            "training_tflops": self.rate.tflops if self.rate else None,
            "plan_fits": self.fits,
            "plan_seconds": self.seconds,
            "recommended_hours": machine.RECOMMENDED if machine.RECOMMENDED in self.recommended else None,
            "by_hours": {
                str(hours): {
                    **plan.shape.to_json(), "parameters": plan.parameters, "tokens": plan.tokens, "steps": plan.steps,
                    "sequences": plan.schedule.sequences, "checkpointing": plan.checkpointing,
                    "memory_bytes": plan.memory.total,
                }
                for hours, plan in self.recommended.items()
            },
        }  # fmt: skip


@dataclass(frozen=True)
class Planned:
    """A plan with its parameters counted, what does not fit, and every number's formula."""

    name: str
    plan: Plan
    counted: int
    problems: list[fit.Problem]
    lines: list[Line]
    here: Here
    named: Callable[[str], str]

    @property
    def ratios(self) -> dict[str, float]:
        """Tokens a parameter that each law wants at this budget."""
        optima = {name: law.optimum(law_flops(self.plan)) for name, law in laws.LAWS.items()}
        return {name: tokens / parameters for name, (parameters, tokens) in optima.items()}

    @property
    def notes(self) -> list[str]:
        """What speaks against the plan though it may fit."""
        return fit.notes(self.plan)

    def refuse(self) -> None:
        """Raise what does not fit, with what would.

        Errors: :class:`MetierError` that names the field.
        """
        if self.problems:
            first = self.problems[0]
            more = "".join(f"; {problem.what}" for problem in self.problems[1:])
            ways = [way for problem in self.problems for way in problem.remedies]
            raise MetierError(
                f"the plan does not fit: {first.what}{more}",
                where=self.named(first.where),
                fix="; or ".join(ways) or "nothing that was tried fits",
            )

    def to_json(self) -> dict[str, Any]:
        """Everything, in plain numbers: bytes, seconds, FLOPs."""
        plan, schedule = self.plan, self.plan.schedule
        return {
            "name": self.name, "parameters": self.counted, "parameters_by_formula": plan.parameters,
            "hidden_levine": round(levine_width(plan.shape.layers)), **plan.shape.to_json(),
            "tokens": plan.tokens, "steps": plan.steps, "sequence_length": schedule.sequence_length,
            "sequences": schedule.sequences, "warmup": [asdict(phase) for phase in schedule.warmup],
            "flops": plan.flops, "flops_model": plan.flops_model, "flops_with_recomputation": plan.flops_run,
            "gpu_hours": plan.device_hours, "seconds": plan.seconds, "full_step_seconds": plan.full_step_seconds,
            "dollars": plan.dollars, "kwh": plan.kwh, "tokens_per_parameter": plan.tokens / plan.parameters,
            "budget": asdict(plan.request.budget) if plan.request.budget else None,
            "budget_training_flops": plan.budget_flops, "data_limited": plan.data_limited, "law": plan.law.name,
            "laws": {name: self._law(law) for name, law in laws.LAWS.items()},
            "checkpointing": plan.checkpointing, "hardware": asdict(plan.hardware),
            "memory": {
                "usable": int(plan.hardware.usable_bytes), "kept": plan.memories[False].to_json(),
                "checkpointed": plan.memories[True].to_json(), "kv_cache_per_token": kv_cache(plan.shape),
            },
            "notes": self.notes, "fits": not self.problems, "problems": [asdict(problem) for problem in self.problems],
            "this_machine": self.here.to_json(), "derivation": [asdict(line) for line in self.lines],
        }  # fmt: skip

    def _law(self, law: laws.Law) -> dict[str, Any]:
        flops = law_flops(self.plan)
        parameters, tokens = law.optimum(flops)
        found = {
            "flops": flops,
            "parameters": parameters,
            "tokens": tokens,
            "tokens_per_parameter": tokens / parameters,
        }
        loss = law.loss(self.plan.parameters, self.plan.tokens) if isinstance(law, laws.Parametric) else None
        return {**found, "loss_of_plan": loss, "source": law.source, "formula": law.formula}


def plan_recipe(path: Path) -> Planned:
    """The plan of a recipe.

    Errors: :class:`MetierError` with file, line and field.
    """
    recipe = load_recipe(path)
    if recipe.plan is None:
        raise MetierError(
            f"the recipe '{recipe.name}' has no plan", where=f"{path}, field 'plan'",
            fix="add a plan, such as `plan: {budget: {hours: 8}}`; see metier new bloomberggpt-50b",
        )  # fmt: skip
    return _work_out(
        recipe.name, recipe.plan, lambda field: place(path, f"plan.{field}"), choose_device(recipe.device, recipe.dtype)
    )


def plan_options(values: dict[str, Any]) -> Planned:
    """The plan of a few numbers, nested as in a recipe's ``plan``.

    Errors: :class:`MetierError` that names the option.
    """
    try:
        choice = PlanChoice.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        what, fix = told([first])
        if fix is None:  # a sentence of our own: it says how to mend it behind its semicolon, if anywhere
            what, _, fix = first["msg"].removeprefix("Value error, ").partition("; ")
            what += "" if isinstance(first["input"], dict | PlanChoice) else f", found {first['input']!r}"
        usual = "metier plan --hours 8, or metier plan --parameters 10e6; metier plan --help lists all options"
        if name == "budget":
            usual = "keep one of --gpu-hours, --flops, --dollars and --hours"
        raise MetierError(what, where=_option(name), fix=fix or usual) from error
    return _work_out("plan", choice, _option, choose_device())


def _option(field: str) -> str:
    """The option of the command line that a field of the plan is."""
    if field in ("", *PlanChoice.model_fields) and field != "law":
        return "the options"
    return "option --" + ("data-tokens" if field == "data.tokens" else field.split(".")[-1].replace("_", "-"))


def _request(choice: PlanChoice) -> Request:
    budget = None
    if choice.budget:
        kind, amount = choice.budget.given
        budget = Budget(kind=kind, amount=amount, reserve=choice.budget.reserve)
    schedule = choice.schedule.model_dump(exclude={"warmup"})
    return Request(
        budget=budget, hardware=HardwareChoice(**choice.hardware.model_dump()),
        model=ModelChoice(**choice.model.model_dump()), data=DataChoice(**choice.data.model_dump()),
        schedule=ScheduleChoice(**schedule, warmup=[Warmup(p.steps, p.sequences) for p in choice.schedule.warmup]),
        law=choice.law, checkpointing=None if choice.checkpointing == "auto" else choice.checkpointing,
        attention=choice.attention,
    )  # fmt: skip


def _work_out(name: str, choice: PlanChoice, named: Callable[[str], str], device: Device) -> Planned:
    request, rate = _request(choice), machine.this_machine(device, share=SHARE, watts=WATTS)
    try:
        plan = make_plan(request, rate)
        counted = count_on_meta(plan.shape)
        return Planned(name, plan, counted, fit.problems(plan), lines(plan, counted), _here(plan, device, rate), named)
    except MetierError as error:
        where = ", ".join(dict.fromkeys(named(part) for part in (error.where or "model").split(", ")))
        raise MetierError(error.what, where=where, fix=error.fix) from error
    except OverflowError as error:
        raise MetierError(
            "a number is too large to reckon with",
            where=named("model"),
            fix="count the zeros: no model and no machine is so large",
        ) from error


def _here(plan: Plan, device: Device, rate: Hardware | None) -> Here:
    if rate is None:
        return Here(device, None, None, None, {})
    memory = training_memory(
        plan.shape, rate, sequence_length=plan.schedule.sequence_length, micro_batch=1, checkpointing=True,
        attention=plan.request.attention,
    )  # fmt: skip
    hours = {*machine.HOURS} | ({_deadline(plan)} if plan.hardware.name == THIS_MACHINE else set())
    found = {h: machine.recommend(rate, h, plan.request) for h in sorted(hours) if h}
    seconds = plan.flops_run / rate.flops
    return Here(device, rate, memory.fits(rate), seconds, {h: p for h, p in found.items() if p is not None})


def _deadline(plan: Plan) -> int:
    """Whole hours of a deadline, 0 if there is none."""
    budget = plan.request.budget
    return int(budget.amount) if budget and budget.kind == "hours" else 0
