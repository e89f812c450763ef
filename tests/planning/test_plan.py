"""Plans: budgets that are spent and not overspent, BloombergGPT's figures, what would fit where nothing does."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.planning import fit
from metier.planning.budget import Budget, Kind
from metier.planning.hardware import THIS_MACHINE, Hardware, HardwareChoice, accelerator, catalogue
from metier.planning.laws import LAWS, training_flops
from metier.planning.machine import recommend
from metier.planning.plan import DataChoice, Plan, Request, make_plan
from metier.planning.schedule import ScheduleChoice, Warmup
from metier.planning.shapes import ModelChoice

HERE = Hardware(name=THIS_MACHINE, tflops=0.1, tflops_source="measured", memory_gb=16, compute_bytes=4)
BLOOMBERG = Request(
    budget=Budget(kind="gpu_hours", amount=1.3e6),
    hardware=HardwareChoice(device="a100-40gb", devices=512, shard=128, tflops=102),
    model=ModelChoice(family="bloom", layers=70, head_dim=192, vocabulary=131072),
    data=DataChoice(tokens=709e9),
    schedule=ScheduleChoice(sequences=2048, warmup=[Warmup(7200, 1024)], micro_batch=4, steps=139_200),
    checkpointing=True,
    law="bloomberggpt-a1",
)


def of_flops(flops: float, **more: object) -> Request:
    device = HardwareChoice(device="a100-80gb")
    return Request(budget=Budget(kind="flops", amount=flops), hardware=device, **more)  # type: ignore[arg-type]


def test_a_full_step_of_bloomberggpt_takes_what_its_authors_measured() -> None:
    # 8·N·batch at 102 TFLOP/s on 512 GPUs: the paper's 32.5 s come out without being put in
    plan = make_plan(BLOOMBERG, None)
    assert plan.full_step_seconds == pytest.approx(32.5, abs=0.05)
    assert plan.flops_run == pytest.approx(2.30e23, rel=1e-3)
    assert plan.memory.fits(plan.hardware)
    assert not plan.memories[False].fits(plan.hardware)
    assert fit.problems(plan) == []


def test_bloomberggpts_budget_pays_for_the_regressions_sizes() -> None:
    plan = make_plan(BLOOMBERG, None)
    assert plan.budget_flops == pytest.approx(0.75 * 1.3e6 * 3600 * 102e12)
    chosen = make_plan(replace(BLOOMBERG, model=replace(BLOOMBERG.model, layers=None), data=DataChoice(),
                               schedule=replace(BLOOMBERG.schedule, steps=None)), None)  # fmt: skip
    assert (chosen.shape.layers, chosen.shape.hidden) == (70, 7680)  # the sweep around 53B by A1
    assert chosen.tokens > 1e12


@given(st.floats(1e15, 1e26), st.sampled_from(list(LAWS)), st.sampled_from(["bloom", "llama"]), st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_budget_is_spent_to_the_last_step(flops: float, law: str, family: str, checkpointing: bool) -> None:
    model = ModelChoice(family="bloom" if family == "bloom" else "llama", vocabulary=8192)
    plan = make_plan(of_flops(flops, law=law, model=model, checkpointing=checkpointing), None)
    step = training_flops(plan.parameters, plan.schedule.batch_tokens)
    assert flops - step <= plan.flops_model <= flops * (1 + 1e-9)
    assert plan.shape.hidden == plan.shape.heads * plan.shape.head_dim
    assert not list(fit._budget(plan))


@given(st.floats(1e16, 1e25), st.floats(1.1, 100))
@settings(deadline=None, max_examples=40)
def test_a_larger_budget_never_makes_a_smaller_model(flops: float, times: float) -> None:
    model = ModelChoice(vocabulary=32768)
    small, large = (make_plan(of_flops(c, model=model), None) for c in (flops, flops * times))
    assert small.parameters <= large.parameters
    assert small.flops_model < large.flops_model


@given(st.floats(1e18, 1e24), st.floats(0.05, 0.9))
@settings(deadline=None, max_examples=40)
def test_little_text_makes_a_larger_model_that_sees_all_of_it_once(flops: float, share: float) -> None:
    free = make_plan(of_flops(flops), None)
    bound = make_plan(of_flops(flops, data=DataChoice(tokens=free.law.optimum(flops)[1] * share)), None)
    assert bound.data_limited
    assert bound.target > free.target
    available = bound.request.data.available
    assert available is not None
    assert bound.tokens <= available
    twice = make_plan(of_flops(flops, data=DataChoice(tokens=available, epochs=2 / share)), None)
    assert not twice.data_limited


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_budget_is_used_up_and_kept_to(kind: Kind) -> None:
    amount = {"gpu_hours": 1000.0, "hours": 1000 / 8, "dollars": 4100.0, "flops": 3.6e6 * 312e12 * 102 / 312}[kind]
    request = Request(
        budget=Budget(kind=kind, amount=amount),
        hardware=HardwareChoice(device="a100-40gb", devices=8), checkpointing=False,
    )  # fmt: skip
    plan = make_plan(request, None)
    assert plan.device_hours == pytest.approx(1000, rel=0.01)
    kept = replace(request, budget=Budget(kind=kind, amount=amount, reserve=0.25))
    assert make_plan(kept, None).device_hours == pytest.approx(750, rel=0.01)
    most = 1000 * (4 / 3 if kind == "flops" else 1)  # FLOPs are those of training: running layers again comes on top
    assert make_plan(replace(request, checkpointing=True), None).device_hours <= most * (1 + 1e-9)


def test_checkpointing_is_used_only_where_it_is_needed() -> None:
    model = ModelChoice(parameters=1e9)
    roomy = make_plan(Request(model=model, hardware=HardwareChoice(device="h100-80gb", devices=8)), None)
    assert not roomy.checkpointing
    batch = ScheduleChoice(micro_batch=16)
    tight = make_plan(Request(model=model, hardware=HardwareChoice(device="a100-40gb"), schedule=batch), None)
    assert tight.checkpointing
    assert tight.memory.fits(tight.hardware)


def applied(plan: Plan, **changes: object) -> Plan:
    return make_plan(replace(plan.request, **changes), HERE)  # type: ignore[arg-type]


def test_what_is_said_to_fit_does_fit() -> None:
    plan = make_plan(Request(
        model=ModelChoice(parameters=7e9), hardware=HardwareChoice(device="a100-40gb", devices=2),
        schedule=ScheduleChoice(sequences=32, micro_batch=8),
    ), None)  # fmt: skip
    [problem] = fit.problems(plan)
    assert problem.where == "hardware.device"
    devices, smaller = problem.remedies
    number = int(devices.split(" ")[0])
    one = replace(plan.request.schedule, micro_batch=1)
    more = applied(plan, hardware=HardwareChoice(device="a100-40gb", devices=number), schedule=one)
    assert fit.problems(more) == []
    fewer = applied(plan, hardware=HardwareChoice(device="a100-40gb", devices=number // 2), schedule=one)
    assert [found.where for found in fit.problems(fewer)] == ["hardware.device"]
    layers = int(smaller.split("(")[1].split(" ")[0])
    assert fit.problems(applied(plan, model=ModelChoice(layers=layers), schedule=one)) == []
    assert fit.problems(applied(plan, model=ModelChoice(layers=layers + 1), schedule=one)) != []


def test_a_budget_too_small_for_what_is_asked_says_what_would_do() -> None:
    tight = replace(BLOOMBERG, budget=Budget(kind="gpu_hours", amount=500_000))
    [problem] = fit.problems(make_plan(tight, None))
    assert problem.where == "budget.gpu_hours"
    budget, steps, size = problem.remedies
    assert "a budget of 626," in budget
    assert "50.56B" not in size
    number = int(steps.split(" ")[0].replace(",", ""))
    assert fit.problems(make_plan(replace(tight, schedule=replace(tight.schedule, steps=number)), None)) == []
    assert fit.problems(make_plan(replace(tight, schedule=replace(tight.schedule, steps=number + 1)), None)) != []


def test_more_tokens_than_there_are_is_a_problem() -> None:
    [problem] = fit.problems(make_plan(replace(BLOOMBERG, data=DataChoice(tokens=400e9)), None))
    assert problem.where == "data.tokens"
    assert "epochs: 1.42" in problem.remedies


@pytest.mark.parametrize(
    ("request_", "where", "told"),
    [
        (Request(hardware=HardwareChoice(device="l4")), "budget, model", "nothing to plan from"),
        (of_flops(1), "budget.flops", "less than one step"),
        (of_flops(1e20, data=DataChoice(tokens=1e6)), "data.tokens", "less than one step"),
        (of_flops(1e38), "budget.flops", "no shape has"),
        (of_flops(1e300), "budget.flops", "which no training takes"),
        (of_flops(1e17, data=DataChoice(tokens=1)), "data.tokens", "the text is too little"),
        (of_flops(1e17, data=DataChoice(tokens=1, epochs=1e-320)), "data.tokens", "the text is too little"),
        (Request(model=ModelChoice(parameters=1e5), hardware=HardwareChoice(device="l4")), "model.parameters",
         "the smallest, one layer of 192 and a vocabulary of 4,096, has 1.23e+06"),
        (Request(model=ModelChoice(parameters=1e7, vocabulary=10**6), hardware=HardwareChoice(device="l4")),
         "model.parameters", "of which the vocabulary takes 1.92e+08"),
        (Request(hardware=HardwareChoice(device="a100")), "hardware.device", "did you mean 'a100-"),
        (Request(model=ModelChoice(parameters=1e7)), "hardware.tflops", "not measured"),
        (Request(budget=Budget(kind="dollars", amount=9), hardware=HardwareChoice(device="l4")),
         "hardware.dollars_per_hour", "no price"),
        (replace(BLOOMBERG, hardware=HardwareChoice(device="a100-40gb", devices=500)), "schedule.sequences", "500"),
        (replace(BLOOMBERG, hardware=HardwareChoice(device="l4", devices=512, shard=100)), "hardware.shard", "100"),
        (replace(BLOOMBERG, schedule=replace(BLOOMBERG.schedule, micro_batch=5)), "schedule.micro_batch", "at most 4"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_names_the_field(request_: Request, where: str, told: str) -> None:
    with pytest.raises(MetierError) as error:
        make_plan(request_, None)
    assert error.value.where == where
    assert told in str(error.value)


@given(st.floats(1e5, 1e13), st.sampled_from([None, 256, 50_000, 10**6]))
@settings(deadline=None, max_examples=60)
def test_a_size_that_is_asked_for_is_kept_to_or_refused(parameters: float, vocabulary: int | None) -> None:
    model = ModelChoice(parameters=parameters, vocabulary=vocabulary)
    with contextlib.suppress(MetierError):
        plan = make_plan(Request(model=model, hardware=HardwareChoice(device="l4")), None)
        assert 1 / 1.5 <= plan.parameters / parameters <= 1.5


@pytest.mark.parametrize(("flops", "told"), [(1e12, True), (1e17, False)])
def test_a_budget_below_the_smallest_shape_is_told(flops: float, told: bool) -> None:
    notes = fit.notes(make_plan(of_flops(flops), None))
    assert notes == ([notes[0]] if told else [])
    assert all("the smallest shape has 1.23M" in note for note in notes)


def test_the_catalogue_has_a_source_for_every_figure() -> None:
    for name, entry in catalogue().items():
        assert {"tflops", "memory_gb", "watts", "source"} <= set(entry)
        assert ("dollars_per_hour" in entry) == ("price" in entry), name
    assert accelerator("a100-40gb").tflops == pytest.approx(102)


def test_this_machine_is_given_sizes_that_fit_and_grow_with_the_time() -> None:
    found = [recommend(HERE, hours, Request(law="bloomberggpt-a1")) for hours in (1, 8, 24, 1000)]
    plans = [plan for plan in found if plan is not None]
    assert len(plans) == 4
    assert [plan.parameters for plan in plans] == sorted(plan.parameters for plan in plans)
    for plan, hours in zip(plans, (1, 8, 24, 1000), strict=True):
        assert plan.memory.fits(HERE)
        assert plan.seconds <= hours * 3600
        assert plan.seconds > 0.9 * hours * 3600
    small = replace(HERE, memory_gb=2.0)
    held = recommend(small, 10_000, Request())
    assert held is not None
    assert held.memory.fits(small)
    assert held.tokens > 20 * held.parameters  # the time left over goes into tokens
    assert recommend(HERE, 1e-9, Request()) is None
