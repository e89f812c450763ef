"""What this machine could train: in memory, and in the time one has."""

from __future__ import annotations

from dataclasses import replace

from metier.errors import MetierError
from metier.models.device import Device
from metier.planning.budget import Budget
from metier.planning.fit import largest_that_fits
from metier.planning.hardware import THIS_MACHINE, Hardware, HardwareChoice
from metier.planning.plan import DataChoice, Plan, Request, make_plan
from metier.planning.schedule import ScheduleChoice
from metier.planning.shapes import ModelChoice

HOURS = (1, 8, 24)
RECOMMENDED = 8  # overnight


def this_machine(device: Device, *, share: float, watts: float) -> Hardware | None:
    """This machine as measured; None where the probe has no rate (a GPU: name it, or give tflops).

    Args:
        device: as :func:`metier.models.device.choose_device` found it.
        share: of the measured matmul rate that training reaches.
        watts: of the whole machine while it works, an assumption.
    """
    if not device.gflops:
        return None
    return Hardware(
        name=THIS_MACHINE,
        tflops=device.gflops * share / 1000,
        tflops_source=f"{share:.0%} of the {device.gflops:.0f} GFLOP/s in {device.dtype} measured now "
        f"({device.threads} threads)",
        memory_gb=device.memory_gb,
        compute_bytes=4 if device.dtype == "float32" else 2,
        watts=watts,
        watts_source=f"assumed: {watts:g} W for the whole machine",
    )


def recommend(machine: Hardware, hours: float, like: Request) -> Plan | None:
    """The plan for so many hours on this machine, in the family asked for; None where not one step is possible.

    A size that memory does not hold is cut to the largest that it holds, and sees more tokens.
    """
    request = Request(
        budget=Budget(kind="hours", amount=hours), hardware=HardwareChoice(device=THIS_MACHINE),
        model=ModelChoice(family=like.model.family), data=DataChoice(),
        schedule=ScheduleChoice(sequence_length=like.schedule.sequence_length), law=like.law, attention=like.attention,
    )  # fmt: skip
    try:
        plan = make_plan(request, machine)
        if plan.memory.fits(machine):
            return plan
        largest = largest_that_fits(request.model, plan)
        if largest is None:
            return None
        model = replace(request.model, layers=largest.layers, vocabulary=largest.vocabulary)
        return make_plan(replace(request, model=model, checkpointing=True), machine)
    except MetierError:  # not one step in that time
        return None
