"""The verdict: one sentence to act on, and one paragraph of the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metier.evaluation.demand import HELD
from metier.evaluation.written import NOT_APPLICABLE
from metier.report.asking import asked
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
    plural,
    scored,
    span,
)

Stamp = Literal["worth using", "do not use", "not proven", "no verdict"]
_RIVALS = ("majority", "tfidf", "base", "base-fewshot", "after-nothing")
_TOO_WIDE = 0.2  # an interval of a difference that is wider than this tells nothing apart
_IN_PROSE = {
    "majority": "always giving the most frequent answer",
    "tfidf": "TF-IDF with logistic regression",
    "base": "the base",
    "base-fewshot": "the base with examples in its prompt",
    "after-nothing": "the same task learnt on the base as it was",
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
    for c in sorted(equal, key=_too_wide):
        if _too_wide(c):
            few = plural(_test_size(run), "held-out example is", "held-out examples are")
            return "not proven", f"Not proven: {few} too few to tell it from {_prose(c.other)}."
        return "do not use", f"Do not use it: {_prose(c.other)} is as good, as far as this test can see."
    for c in rivals:
        if c.outcome == "unclear" and c.difference and c.difference["value"] < 0:
            return (
                "not proven",
                f"Not proven: it scored below {_prose(c.other)}; the tests disagree on whether by chance.",
            )
        if c.outcome == "unclear":
            return "not proven", f"Not proven: the tests disagree on whether it beats {_prose(c.other)}."
        if c.outcome == "unknown":
            return "not proven", f"Not proven: whether it beats {_prose(c.other)} is not settled ({c.basis})."
    absent = [s for s in ("tfidf", "base") if not (run.ok(s) or _does_not_apply(run, s))]
    if absent:
        names = joined([_prose(s) for s in absent])
        return "not proven", f"Not proven: {names} could not be compared with it ({_why_absent(run, absent[0])})."
    return (
        _asked_otherwise(run)
        or _mixed(run)
        or _promise_broken(run)
        or ("worth using", "Worth using: it beats every simpler system here by more than chance explains.")
    )


def _demanded(run: Run) -> list[str]:
    """What it answers at all, where the recipe demands an accuracy."""
    found = (run.ok("specialist") or {}).get("selective")
    if not found:
        return []
    asked = f"the accuracy of {number(found['accuracy'], 2)} demanded"
    if found["threshold"] is None:
        return [f"No threshold promises {asked}: it abstains from everything."]
    share, score = found["test"]["coverage"], found["test"]["accuracy"]
    told = f"For {asked} it answers {percent(share['value'])} of the test part"
    return [f"{told}, with {scored(score)}: {HELD[found['test']['held']]}." if score else f"{told}."]


def _promise_broken(run: Run) -> tuple[Stamp, str] | None:
    """Where a demanded accuracy leaves no answers, or does not hold on those that are given."""
    found = (run.ok("specialist") or {}).get("selective")
    if not found:
        return None
    asked = f"the accuracy of {number(found['accuracy'], 2)} demanded"
    if found["threshold"] is None:
        return "not proven", f"Not proven: no threshold promises {asked}, so it answers nothing."
    if found["test"]["accuracy"] and found["test"]["held"] == "no":
        return "do not use", f"Do not rely on it: its answers are below {asked} by more than chance."
    return None


def _too_wide(c: Comparison) -> bool:
    """Whether a tie says no more than that the test was too small."""
    low, high = (c.difference["low"], c.difference["high"]) if c.difference else (None, None)
    return low is not None and high is not None and high - low > _TOO_WIDE


def _test_size(run: Run) -> int:
    return int((run.score("specialist") or {"n": 0})["n"])


def _asked_otherwise(run: Run) -> tuple[Stamp, str] | None:
    """Where the untrained base, asked in another way, is beyond the specialist."""
    for system in run.systems:
        about = asked(run, system)
        if about and system.startswith("base-") and compare(run, system).outcome == "worse":
            return "do not use", f"Do not use it: the base asked in another way ({about['name']}) is better."
    return None


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
    record = run.systems.get(system)
    if record is None:  # a recipe need not name what cannot answer
        return system == "tfidf" and run.task.get("kind", "classification") != "classification"
    return bool(record.get("status") == NOT_APPLICABLE)


def _why_absent(run: Run, system: str) -> str:
    record = run.systems.get(system)
    if _does_not_apply(run, system):
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
    others = [(s, run.score(s)) for s in ("tfidf", "majority", "base-fewshot", "after-nothing")]
    known = [(s, score) for s, score in others if score]
    if known:
        parts = [f"{_prose(s)} {'' if i else 'scores '}{scored(score)}" for i, (s, score) in enumerate(known)]
        sentences.append(f"On the same examples, {joined(parts)}.")
    alike: dict[tuple[str, str], list[Comparison]] = {}
    for c in pairs:
        if c.other in ("base", "tfidf") or (c.other in _RIVALS and c.outcome != "better"):
            alike.setdefault((c.outcome, _proof(c)), []).append(c)
    sentences += [_against(*key, group) for key, group in sorted(alike.items(), key=_losses_first)]
    failed = [s for s in _RIVALS if s in run.systems and not (run.ok(s) or _does_not_apply(run, s))]
    sentences += [f"{_capital(_prose(s))} could not be scored ({_why_absent(run, s)})." for s in failed]
    return sentences


def _losses_first(entry: tuple[tuple[str, str], list[Comparison]]) -> bool:
    return entry[0][0] != "worse"


def _proof(c: Comparison) -> str:
    """What an outcome rests on."""
    if c.p is not None:
        return f"beyond chance by the {c.test}"
    return f"the 95{NBSP}% interval of the difference leaves out zero" if c.difference else c.basis


def _against(outcome: str, proof: str, group: list[Comparison]) -> str:
    """One sentence on all rivals with the same outcome: by how much, and whether that is beyond chance."""
    parts = []
    for c in group:
        p = f", {p_value(c.p)}" if c.p is not None else ""
        by = f" ({number(c.difference['value'], sign=True)} {span(c.difference, sign=True)}{p})" if c.difference else ""
        parts.append(f"{_prose(c.other)}{by}")
    names = joined(parts)
    return {
        "better": f"It beats {names}: {proof}.",
        "worse": f"It loses to {names}: {proof}.",
        "tie": f"Between it and {names} this test sees no difference.",
        "unclear": f"Whether it differs from {names} is not settled: the two tests disagree.",
        "unknown": f"Whether it differs from {names} is not settled: {proof}.",
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
    sentences += _demanded(run)
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
