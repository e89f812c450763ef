"""Every number of a plan with its formula and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from metier.planning import laws, shapes
from metier.planning.hardware import Hardware
from metier.planning.memory import ACTIVATIONS_SOURCE, STATES, STATES_SOURCE, kv_cache
from metier.planning.plan import Plan
from metier.planning.words import amount, count, duration, gigabytes

BLOOMBERG = "Wu et al. 2023 (arXiv 2303.17564)"
LEARNING_RATE_WARMUP = 1800 / 139200  # of the steps, as BloombergGPT


@dataclass(frozen=True)
class Line:
    """One derived number."""

    section: str
    name: str
    value: str
    formula: str
    source: str


def lines(plan: Plan, counted: int) -> list[Line]:
    """All of a plan, in the order in which one follows from another; ``counted`` is N on the meta device."""
    return [*_budget(plan), *_laws(plan), *_model(plan, counted), *_tokens(plan), *_time(plan), *_memory(plan)]


def law_flops(plan: Plan) -> float:
    """The budget at which the laws are compared: the plan's own where none is given."""
    return plan.budget_flops or plan.flops_model


def _budget(plan: Plan) -> Iterator[Line]:
    budget, flops = plan.request.budget, plan.budget_flops
    if budget is None or flops is None:
        return
    given = f"{amount(budget.amount)} {budget.unit}"
    yield Line("budget", "given", given, "", "the recipe or the command line")
    yield Line(
        "budget", "training FLOPs C", f"{flops:.3g}", budget.formula(checkpointing=plan.checkpointing),
        f"0.75 = 6/8, the rest recomputes: {BLOOMBERG}, 3.2" if plan.checkpointing else "",
    )  # fmt: skip
    data, available = plan.request.data, plan.request.data.available
    if available is None:
        return
    seen = f" × {data.epochs:g} epochs = {count(available)}" if data.epochs != 1 else ""
    wanted = plan.law.optimum(flops)[1]
    yield Line(
        "budget", "tokens there are", count(data.tokens or 0) + seen, f"the law wants {count(wanted)}",
        "data-limited: more compute than text" if wanted > available else "enough",
    )  # fmt: skip
    if wanted > available:
        largest = flops / laws.FLOPS_PER_PARAMETER_TOKEN / available
        yield Line(
            "budget", "largest N that sees them all", count(largest), "C / (6·tokens)",
            f"after {BLOOMBERG}, 3.2, which kept about 30 % back",
        )  # fmt: skip


def _laws(plan: Plan) -> Iterator[Line]:
    flops = law_flops(plan)
    for law in laws.LAWS.values():
        parameters, tokens = law.optimum(flops)
        chosen = " (chosen)" if law is plan.law else ""
        yield Line(
            f"laws at C = {flops:.3g}", law.name + chosen,
            f"N {count(parameters)}, D {count(tokens)}, D/N {tokens / parameters:.1f}", law.formula, law.source,
        )  # fmt: skip


def _model(plan: Plan, counted: int) -> Iterator[Line]:
    shape, choice = plan.shape, plan.request.model
    yield Line("model", "parameters aimed at", count(plan.target), plan.why, "")
    depth = "given" if choice.layers else "of all depths the size nearest to the aim"
    yield Line("model", "layers", str(shape.layers), depth, "" if choice.layers else f"sweep as {BLOOMBERG}, 3.2")
    yield Line(
        "model", "width by Levine's rule", f"{shapes.levine_width(shape.layers):,.0f}", "exp(5.039)·exp(0.0555·L)",
        "Levine et al. 2020 (arXiv 2006.12467)",
    )  # fmt: skip
    rounded = "given" if choice.hidden else "rounded up to whole heads, a multiple of 8"
    yield Line(
        "model", "width", f"{shape.hidden:,} = {shape.heads} × {shape.head_dim}", rounded, f"as {BLOOMBERG}, 3.2"
    )
    vocabulary = "given" if choice.vocabulary else "the largest with half of N in the layers"
    yield Line(
        "model", "vocabulary V", f"{shape.vocabulary:,}", vocabulary, "" if choice.vocabulary else "of 4k to 32k"
    )
    same = "the same" if counted == plan.parameters else f"{plan.parameters:,}"
    yield Line(
        "model", "parameters", f"{counted:,}", f"{shape.formula} gives {same}",
        f"counted on the meta device, transformers' {shape.family.capitalize()}ForCausalLM",
    )  # fmt: skip


def _tokens(plan: Plan) -> Iterator[Line]:
    schedule, choice, flops = plan.schedule, plan.request.schedule, plan.flops_model
    batch = "given" if choice.sequences else "0.2920·C^0.3271, in whole micro-batches"
    source = "" if choice.sequences else "DeepSeek-AI 2024 (arXiv 2401.02954), eq. 1"
    size = f"{schedule.sequences:,} × {schedule.sequence_length:,} = {count(schedule.batch_tokens)} tokens"
    yield Line("tokens", "batch", size, batch, source)
    for phase in schedule.warmup:
        smaller, steps = count(phase.sequences * schedule.sequence_length), "step" if phase.steps == 1 else "steps"
        batch = f"{phase.sequences:,} sequences ({smaller}) for {phase.steps:,} {steps}"
        yield Line("tokens", "batch warm-up", batch, "given", "")
    yield Line(
        "tokens", "steps", f"{plan.steps:,}", "given" if choice.steps else "the most that the tokens pay for", ""
    )
    yield Line("tokens", "tokens D", count(plan.tokens), schedule.formula, f"{plan.tokens:,}")
    yield Line("tokens", "tokens a parameter", f"{plan.tokens / plan.parameters:.1f}", "D / N", "")
    if plan.request.data.tokens:
        yield Line("tokens", "epochs", f"{plan.tokens / plan.request.data.tokens:.2f}", "D / tokens there are", "")
    fitted = "" if 6e18 <= flops <= 3e21 else "; C is outside its fit, 6e18 to 3e21"
    for law in (laws.CORRECTED, laws.PUBLISHED):
        yield Line(
            "tokens", "loss to compare plans by", f"{law.loss(plan.parameters, plan.tokens):.3f} nats",
            "E + A/N^α + B/D^β", f"{law.name}: of its own text and tokenizer{fitted}",
        )  # fmt: skip
    rate, source = laws.peak_rate(flops), "DeepSeek-AI 2024, eq. 1; fitted from 1e17 to 2e19"
    yield Line("tokens", "peak learning rate", f"{rate:.2e}", "0.3118·C^-0.1250, then cosine to a tenth", source)
    yield Line(
        "tokens", "learning-rate warm-up", f"{max(1, round(plan.steps * LEARNING_RATE_WARMUP)):,} steps",
        "1,800 / 139,200 of the steps", f"as {BLOOMBERG}, 3.3",
    )  # fmt: skip


def _time(plan: Plan) -> Iterator[Line]:
    hardware: Hardware = plan.hardware
    assumed = ", assumed" if hardware.assumed else ""
    yield Line("cost", "hardware", f"{hardware.devices:,} × {hardware.name}{assumed}", _sharding(hardware), "")
    yield Line("cost", "rate", f"{hardware.tflops:.3g} TFLOP/s a device", "", hardware.tflops_source)
    yield Line("cost", "model FLOPs", f"{plan.flops_model:.3g}", "6·N·D", "Kaplan et al. 2020 (arXiv 2001.08361), 2.1")
    attention = 12 * plan.shape.layers * plan.shape.hidden * plan.schedule.sequence_length / 6 / plan.parameters
    yield Line(
        "cost", "attention, on top", f"{attention:.1%} of them", "12·L·D·time a token: not in 6·N·D, nor below",
        "Chowdhery et al. 2022 (arXiv 2204.02311), appendix B",
    )  # fmt: skip
    if plan.checkpointing:
        yield Line(
            "cost", "with recomputation", f"{plan.flops_run:.3g}", "8·N·D", f"+0.33 of the FLOPs: {BLOOMBERG}, 3.2"
        )
    by_rate = f"{8 if plan.checkpointing else 6}·N·batch / (devices·rate)"
    yield Line("cost", "a full step", f"{plan.full_step_seconds:.3g} s", by_rate, "")
    if hardware.seconds_per_step is not None:
        yield Line(
            "cost",
            "a step as measured",
            f"{hardware.seconds_per_step:g} s",
            "given: it counts",
            "also for a step of the warm-up",
        )
    how = "FLOPs / (devices·rate)" if hardware.seconds_per_step is None else "steps·seconds a step"
    yield Line("cost", "time", duration(plan.seconds), how, "")
    yield Line("cost", "FLOPs of the devices", f"{plan.flops:.3g}", "devices·rate·time", "")
    hours = "GPU-hours" if hardware.name != "this-machine" else "machine-hours"
    yield Line("cost", hours, amount(plan.device_hours), "devices·time", "")
    if plan.dollars is not None:
        price = f"{hours}·${hardware.dollars_per_hour:.2f}"
        yield Line("cost", "dollars", f"{plan.dollars:,.2f}", price, hardware.price_source)
    if plan.kwh is not None:
        yield Line("cost", "energy", f"{amount(plan.kwh)} kWh", f"{hours}·{hardware.watts:g} W", hardware.watts_source)


def _sharding(hardware: Hardware) -> str:
    copies = hardware.devices // hardware.shard
    return "" if hardware.shard == 1 else f"sharded over {hardware.shard:,} (FSDP, ZeRO-3), {copies:,} copies"


def _memory(plan: Plan) -> Iterator[Line]:
    plain, kept = plan.memories[False], plan.memories[True]
    section = f"memory of each device ({gigabytes(plan.hardware.usable_bytes)} usable)"
    per = STATES[plan.hardware.compute_bytes]
    for name, value, number in zip(
        ("weights", "gradients", "optimizer"), (plain.weights, plain.gradients, plain.optimizer), per, strict=True
    ):
        yield Line(section, name, gigabytes(value), f"{number}·N / {plan.hardware.shard}", STATES_SOURCE)
    gathered = "3 layers and the embedding, whole" if plain.gathered else "nothing: not sharded"
    yield Line(section, "gathered", gigabytes(plain.gathered), gathered, "")
    micro = plan.request.schedule.micro_batch
    yield Line(
        section, "activations, all kept", gigabytes(plain.activations),
        f"{micro} × {plan.schedule.sequence_length:,} tokens, {plan.shape.layers} layers", ACTIVATIONS_SOURCE,
    )  # fmt: skip
    yield Line(section, "activations, checkpointed", gigabytes(kept.activations), "each layer's input, one layer", "")
    yield Line(section, "logits", gigabytes(plain.logits), "logits, log-softmax and gradient", "")
    for name, memory, used in (("in all", plain, False), ("in all, checkpointed", kept, True)):
        fits = "fits" if memory.fits(plan.hardware) else "does not fit"
        chosen = " (chosen)" if plan.checkpointing is used else ""
        yield Line(section, name + chosen, gigabytes(memory.total), fits, "")
    cache = kv_cache(plan.shape, 2)
    yield Line(
        section, "KV cache, generating", gigabytes(cache * plan.schedule.sequence_length),
        "2·L·heads_kv·head_dim·2 bytes a token", f"one sequence of {plan.schedule.sequence_length:,} tokens",
    )  # fmt: skip
