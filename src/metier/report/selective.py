"""When a specialist may abstain, what its sets hold, and what it is not for: views of a run for page and card."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from metier.evaluation.conformal import TITLES
from metier.evaluation.demand import HELD
from metier.evaluation.selective import MEDPALM_DEFERRAL
from metier.inference import guardrails
from metier.report.figures import SHARE, Axis, Panel
from metier.report.read import Json, Run
from metier.report.words import NBSP, count, number, percent, span

View = dict[str, Any]
NAMES = {
    "probability": "probability of the answer",
    "margin": "lead over the next answer",
    "entropy": "1 − entropy, as a share of the largest",
}
_STYLES = {"probability": "line accent", "margin": "line quiet dash-0", "entropy": "line quiet dash-1"}
_FARTHEST = 0.9  # of the answers deferred: beyond, intervals are as wide as the page


def deferral(run: Run) -> View | None:
    """Accuracy by share deferred under each confidence, with Med-PaLM's point; None where nothing was recorded."""
    found = (run.ok("specialist") or {}).get("deferral")
    if not found:
        return None
    rows = []
    for by, entry in found.items():
        point = next((p for p in entry["points"] if p["asked"] == MEDPALM_DEFERRAL), None)
        rows.append({"by": by, "title": NAMES.get(by, by), "aurc": entry["aurc"], "point": point})
    same = len({row["aurc"]["value"] for row in rows}) == 1
    return {"figure": _figure(found), "rows": rows, "same": same, "asked": MEDPALM_DEFERRAL}


def _figure(found: Json) -> Markup:
    curves = {
        by: [p for p in entry["curve"] if 1 - p["coverage"] <= _FARTHEST] or entry["curve"][-1:]
        for by, entry in found.items()
    }
    main = curves.get("probability", next(iter(curves.values())))
    values = [p["accuracy"] for points in curves.values() for p in points] + [p["low"] for p in main]
    panel = Panel(SHARE, Axis.around([*values, 1.0], percent=True), height=270)
    high, low = ([(1 - p["coverage"], p[end]) for p in reversed(main)] for end in ("high", "low"))
    body = panel.frame("share deferred to a person")
    if len(main) > 1:
        body += f'<path class="band" d="{panel.path([*high, *reversed(low)])}Z"/>'
    for by, points in curves.items():
        body += panel.line(
            [(1 - p["coverage"], p["accuracy"]) for p in reversed(points)], _STYLES.get(by, "line quiet")
        )
    words = []
    for by, entry in found.items():
        point = next((p for p in entry["points"] if p["asked"] == MEDPALM_DEFERRAL), None)
        if point:
            score = point["accuracy"]
            if by == "probability":
                at = (point["deferred"], score["value"])
                body += panel.dot(*at, "ring") + panel.note(*at, f"{100 * score['value']:.1f} %")
            words.append(f"{NAMES.get(by, by)}: {score['value']:.1%} at {point['deferred']:.0%} deferred")
    return panel.svg(body, "Accuracy of what is answered by share deferred, with 95 % band", "; ".join(words))


def demand(run: Run) -> str | None:
    """What the recipe demanded of the answers given, and what became of it; None where it demanded nothing."""
    found = (run.ok("specialist") or {}).get("selective")
    if not found:
        return None
    asked = f"The recipe demands an accuracy of {number(found['accuracy'], 2)} on what is answered, with "
    asked += f"{percent(found['confidence'], 0)} confidence."
    if found["threshold"] is None:
        return (
            f"{asked} No threshold promises that on the {_chosen_on(found)} set aside for it: "
            f"{found['reason']}. The specialist therefore abstains from everything, unless it is told to answer all "
            "(--answer-all)."
        )
    told = (
        f"{asked} On {_chosen_on(found)} set aside for it the threshold {number(found['threshold'])} of the "
        f"{found['by']} was chosen ({count(found['right'])} of {count(found['answered'])} right above it); below it "
        "the specialist abstains."
    )
    test = found["test"]
    if test["accuracy"] is None:
        return f"{told} None of the {count(test['coverage']['n'])} test examples reaches it."
    score, share = test["accuracy"], test["coverage"]
    return (
        f"{told} On the test part it answers {percent(share['value'])} {_ends(share, 1)}, with an accuracy of "
        f"{number(score['value'])} {span(score)} (n{NBSP}={NBSP}{count(score['n'])}): {HELD[test['held']]}."
    )


def _chosen_on(found: Json) -> str:
    """The examples of a threshold; where rows come in groups one of each, and what the promise is of then."""
    if not found.get("drawn_from"):
        return f"{count(found['n'])} examples"
    return (
        f"{count(found['n'])} examples (one a group of {count(found['drawn_from'])}, since those of a group are not "
        "independent: the promise is of any one example of a new group)"
    )


def sets(run: Run) -> View | None:
    """Coverage and size of the conformal sets; None where none were measured."""
    found = (run.ok("specialist") or {}).get("conformal")
    if not found:
        return None
    notes = list(dict.fromkeys(entry["note"] for entry in found if entry.get("note")))
    labels = list(next((e["by_label"] for e in found if e.get("by_label")), {}))
    rows = [{**entry, "title": TITLES[entry["method"]].split(" (")[0]} for entry in found]
    shown = next((e for e in rows if e["level"] == 0.9 and e["method"] == "lac"), rows[0])
    part = "calibration" if "calibration" in (run.splits.get("counts") or {}) else "validation"
    return {"rows": rows, "notes": notes, "part": part, "labels": labels, "shown": shown,
            "n": found[0]["calibrated_on"], "titles": list(TITLES.values())}  # fmt: skip


def sets_sentence(run: Run) -> str | None:
    """The sets of level 0.9 in one sentence, for the card."""
    view = sets(run)
    if not view:
        return None
    entry = view["shown"]
    held = entry["coverage"]
    told = (
        f"`--sets 0.9` adds the labels that hold the right one with probability 0.9 (split conformal prediction, from "
        f"{count(view['n'])} {view['part']} examples): on the test part they held it in {percent(held['value'])} "
        f"{_ends(held, 1)} of the cases, with {number(entry['size']['value'], 2)} labels on average. The guarantee is "
        "an average over texts like these, not a promise for each label."
    )
    return told + (f" Here {entry['note']}." if entry.get("note") else "")


def safety(run: Run) -> View | None:
    """What a specialist of the run's domain is not for, and what its red flags miss; None where there are no rules."""
    guard = guardrails.guard(str(run.task["domain"]))
    if guard is None:
        return None
    parts = [(half, guardrails.measured(guard.domain, half).to_json()) for half in ("held-out", "tuned")]
    return {"guard": guard, "parts": parts, "sentence": _rates(guard.domain)}


def _rates(domain: str) -> str:
    held = guardrails.measured(domain, "held-out")
    assert held.recall
    assert held.false_alarms
    return (
        f"Of {held.recall.n} flagged sentences held out while the rules were tuned they find "
        f"{percent(held.recall.value, 0)} {_ends(held.recall.to_json())}, and they flag "
        f"{percent(held.false_alarms.value, 0)} {_ends(held.false_alarms.to_json())} of {held.false_alarms.n} harmless "
        "ones. The sentences were written for this, in English, by the author of the rules: real texts will be missed "
        "more often. It is a floor, not a claim of safety."
    )


def _ends(score: Json, digits: int = 0) -> str:
    return f"[{percent(score['low'], digits)}, {percent(score['high'], digits)}]"
