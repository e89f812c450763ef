"""The verdict: one sentence to act on, and one paragraph of the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metier.evaluation.written import NOT_APPLICABLE
from metier.report.compare import Comparison, Retention, compare, comparisons, elsewhere, retention
from metier.report.read import Json, Run
from metier.report.words import (
    NBSP,
    count,
    duration,
    joined,
    metric,
    number,
    p_value,
    percent,
    scored,
    span,
)

Stamp = Literal["worth using", "do not use", "not proven", "no verdict"]
_RIVALS = ("majority", "tfidf", "base", "base-fewshot")
_IN_PROSE = {
    "majority": "always giving the most frequent answer",
    "tfidf": "TF-IDF with logistic regression",
    "base": "the base",
    "base-fewshot": "the base with examples in its prompt",
}


@dataclass(frozen=True)
class Verdict:
    """``headline`` is for acting on; ``sentences`` are its evidence, in order."""

    stamp: Stamp
    headline: str
    sentences: list[str]

    @property
    def paragraph(self) -> str:
        """All sentences in one paragraph."""
        return " ".join(self.sentences)


def _prose(system: str) -> str:
    return _IN_PROSE.get(system, system)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _decide(run: Run, pairs: list[Comparison]) -> tuple[Stamp, str]:
    rivals = [c for c in pairs if c.other in _RIVALS]
    worse = [c for c in rivals if c.outcome == "worse"]
    if worse:
        return "do not use", f"Do not use it: {_prose(worse[0].other)} is better."
    equal = [c for c in rivals if c.outcome == "tie"]
    if equal:
        rival = _prose(equal[0].other)
        return "do not use", f"Do not use it: {rival} is as good, as far as this test can see."
    for c in rivals:
        if c.outcome == "unclear":
            return "not proven", f"Not proven: the tests disagree on whether it beats {_prose(c.other)}."
        if c.outcome == "unknown":
            return "not proven", f"Not proven: whether it beats {_prose(c.other)} is not settled ({c.basis})."
    absent = [s for s in ("tfidf", "base") if not (run.ok(s) or _does_not_apply(run, s))]
    if absent:
        names = joined([_prose(s) for s in absent])
        return "not proven", f"Not proven: {names} could not be compared with it ({_why_absent(run, absent[0])})."
    return _mixed(run) or (
        "worth using",
        "Worth using: it beats every simpler system here by more than chance explains.",
    )


def _mixed(run: Run) -> tuple[Stamp, str] | None:
    """Where tasks were learnt together and one of them is better done otherwise: what to do instead."""
    for other in ("majority", "tfidf"):
        if lost := _lost(run, other):
            return "do not use", f"Do not use it for {joined(lost)}: {_prose(other)} is better there."
    if lost := _lost(run, "alone"):
        return "do not use", f"Learn the tasks apart: an adapter for {joined(lost)} alone is better."
    return None


def _lost(run: Run, other: str) -> list[str]:
    """The tasks learnt together on which ``other`` is better than the specialist."""
    drawn = run.mixture["drawn"] or {}
    return [task for task in drawn if run.ok(other, task) and compare(run, other, task=task).outcome == "worse"]


def _apart(run: Run) -> list[str]:
    lost = _lost(run, "alone")
    return [f"An adapter for one task alone is better, beyond chance, on {joined(lost)}."] if lost else []


def _does_not_apply(run: Run, system: str) -> bool:
    return (run.systems.get(system) or {}).get("status") == NOT_APPLICABLE


def _why_absent(run: Run, system: str) -> str:
    record = run.systems.get(system)
    if record and _does_not_apply(run, system):
        return NOT_APPLICABLE
    return f"failed: {record.get('reason', 'no reason was recorded')}" if record else "not measured"


def _gain(run: Run, score: Json) -> str:
    title = str(run.task.get("title") or run.task["name"])
    base = run.score("base")
    before = f"the base before training scored {scored(base)}" if base else "the base was not scored"
    name = metric(run.metric).title
    article = "an" if name[0] in "aeiou" else "a"
    return (
        f"On {count(score['n'])} held-out examples of {title} the specialist scores {article} {name} of "
        f"{scored(score)} (95{NBSP}% interval); {before}."
    )


def _rivals(run: Run, pairs: list[Comparison]) -> list[str]:
    sentences = []
    others = [(s, run.score(s)) for s in ("tfidf", "majority", "base-fewshot")]
    known = [(s, score) for s, score in others if score]
    if known:
        parts = [f"{_prose(s)} {'' if i else 'scores '}{scored(score)}" for i, (s, score) in enumerate(known)]
        sentences.append(f"On the same examples, {joined(parts)}.")
    by_outcome: dict[str, list[Comparison]] = {}
    for c in pairs:
        if c.other in ("base", "tfidf"):
            by_outcome.setdefault(c.outcome, []).append(c)
    sentences += [_against(outcome, group) for outcome, group in by_outcome.items()]
    failed = [s for s in _RIVALS if s in run.systems and not (run.ok(s) or _does_not_apply(run, s))]
    sentences += [f"{_capital(_prose(s))} could not be scored ({_why_absent(run, s)})." for s in failed]
    return sentences


def _against(outcome: str, group: list[Comparison]) -> str:
    """One sentence on all rivals with the same outcome: by how much, and whether that is beyond chance."""
    parts = []
    for c in group:
        p = f", {p_value(c.p)}" if c.p is not None else ""
        by = f" ({number(c.difference['value'], sign=True)} {span(c.difference, sign=True)}{p})" if c.difference else ""
        parts.append(f"{_prose(c.other)}{by}")
    names = joined(parts)
    return {
        "better": f"It beats {names}: beyond chance by the {group[0].test}.",
        "worse": f"It loses to {names}: beyond chance by the {group[0].test}.",
        "tie": f"Between it and {names} this test sees no difference.",
        "unclear": f"Whether it differs from {names} is not settled: the two tests disagree.",
        "unknown": f"Whether it differs from {names} is not settled: {group[0].basis}.",
    }[outcome]


def elsewhere_sentence(run: Run, task: str) -> str:
    """How the specialist does on another test set, beside what is known of the others there."""
    score = run.score("specialist", task=task) or {}
    rivals = [(_prose(s), run.score(s, task=task)) for s in _RIVALS]
    beside = [f"{name} {number(found['value'])}" for name, found in rivals if found]
    return (
        f"On another test set, {task}, it scores {scored(score)} over {count(score['n'])} examples"
        + (f", against {joined(beside)}" if beside else "")
        + "."
    )


def _forgotten(kept: list[Retention], missing: list[str]) -> list[str]:
    if not kept:
        return [f"What it forgot was not measured: {'; '.join(missing)}."]
    parts = [
        f"{metric(r.metric).title} on {r.title} went from {number(r.before['value'])} to "
        f"{number(r.after['value'])} ({r.size}, {r.verdict})"
        for r in kept
    ]
    return [f"Outside its trade, {joined(parts)}."]


def cost_sentence(run: Run) -> str:
    """What the run cost, in one sentence; what was not measured is left out or said."""
    training, energy, device = run.part("training"), run.part("energy"), run.part("device")
    total = sum(stage.get("seconds") or 0 for stage in run.part("stages").values())
    parts = []
    if training.get("seconds") is not None:
        parts.append(f"training took {duration(training['seconds'])}")
    if total:
        parts.append(f"the whole run {duration(total)}")
    if not parts:
        return "What it cost was not measured."
    place = device.get("cpu") or device.get("device")
    watt_hours = energy.get("watt_hours")
    tail = f", and used about {number(watt_hours, 1)}{NBSP}Wh of electricity" if watt_hours is not None else ""
    return _capital(joined(parts)) + (f" on {place}" if place else "") + tail + "."


def verdict(run: Run) -> Verdict:
    """Judge the specialist by its scores alone; it never claims more than every test made agrees on."""
    score = run.score("specialist")
    if score is None:
        why = _why_absent(run, "specialist")
        return Verdict("no verdict", f"No verdict: the specialist was not scored ({why}).", [cost_sentence(run)])
    pairs = comparisons(run)
    stamp, headline = _decide(run, pairs)
    if run.part("training")["method"] == "none":
        stamp, headline = "no verdict", "Nothing was trained: this is the base as it is, measured."
    kept, missing = retention(run)
    sentences = [_gain(run, score), *_rivals(run, pairs)]
    sentences += [elsewhere_sentence(run, task) for task in elsewhere(run) if run.score("specialist", task=task)]
    sentences += _apart(run)
    parse_rate = (run.ok("specialist") or {}).get("parse_rate")
    if parse_rate is not None and parse_rate < 1:
        sentences.append(f"{percent(1 - parse_rate)} of its answers could not be read and count as wrong.")
    sentences += [*_forgotten(kept, missing), cost_sentence(run)]
    return Verdict(stamp, headline, sentences)


def key_figures(run: Run) -> list[dict[str, str]]:
    """The few numbers above the fold: ``label``, ``value``, ``note``."""
    rival, named = ("base", "the base") if _does_not_apply(run, "tfidf") else ("tfidf", "TF-IDF")
    score, pair = run.score("specialist"), next((c for c in comparisons(run) if c.other == rival), None)
    kept, _ = retention(run)
    name = metric(run.metric).title
    if score:
        figures = [_figure(name, number(score["value"]), f"{span(score)}, n = {count(score['n'])}")]
    else:
        figures = [_figure(name, None, _why_absent(run, "specialist"))]
    if pair and pair.difference:
        p = f", {p_value(pair.p)}" if pair.p is not None else ""
        value = number(pair.difference["value"], sign=True)
        figures.append(_figure(f"against {named}", value, span(pair.difference, sign=True) + p))
    else:
        figures.append(_figure(f"against {named}", None, _why_absent(run, rival)))
    if kept:
        figures.append(_figure(f"forgotten ({metric(kept[0].metric).title})", kept[0].size, kept[0].verdict))
    else:
        figures.append(_figure("forgotten", None, "not measured"))
    seconds, energy = run.part("training").get("seconds"), run.part("energy").get("watt_hours")
    note = f"about {number(energy, 1)}{NBSP}Wh in all" if energy is not None else "energy not measured"
    figures.append(_figure("training", duration(seconds) if seconds is not None else None, note))
    return figures


def _figure(label: str, value: str | None, note: str) -> dict[str, str]:
    return {"label": label, "value": value or "\N{EN DASH}", "note": note}
