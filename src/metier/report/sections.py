"""What each section of the page shows, worked out from a run: plain values for the template to set."""

from __future__ import annotations

from typing import Any

from metier.evaluation.calibration import apply_temperature, log_probabilities, probability_matrix
from metier.evaluation.intervals import clopper_pearson
from metier.evaluation.scores import Prediction
from metier.evaluation.written import is_right
from metier.report import figures
from metier.report.asking import asked
from metier.report.compare import comparisons, retention
from metier.report.figures import Axis, Bin
from metier.report.read import Facts, Json, Run
from metier.report.words import count, metric, system_key, system_title
from metier.tasks.options import LETTERS

View = dict[str, Any]
SHOWN_ERRORS = 20
_LONGEST_TEXT = 700  # characters of an input that are shown
_LARGEST_MATRIX = 12  # labels; a larger matrix is no longer read but searched


def _axis(scores: list[Json], name: str) -> Axis:
    """Zero to one for shares, a round range for other units."""
    values = [s[k] for s in scores for k in ("value", "low", "high") if s.get(k) is not None]
    if name == "bits_per_byte" or max(values) > 1:
        return Axis.around(values, zero=True)
    return figures.UNIT


def systems(run: Run) -> View:
    """Bars with intervals, and the table beneath them."""
    names = sorted((name for name in run.systems if not asked(run, name)), key=system_key)
    records = [(name, run.systems[name]) for name in names]
    known = [s for s in (run.score(name) for name, _ in records) if s]
    axis = _axis(known, run.metric) if known else figures.UNIT
    rows = []
    for name, record in records:
        score = run.score(name)
        css = "accent" if name == "specialist" else "quiet"
        row: View = {"name": name, "title": system_title(name), "css": css, "score": score, "record": record}
        row["metrics"] = record.get("metrics") or Facts()
        row["reason"] = None if score else record.get("reason") or f"no {metric(run.metric).title} was recorded"
        if score:
            row["track"] = figures.track(axis, score["value"], score.get("low"), score.get("high"), css, bar=True)
        rows.append(row)
    return {
        "rows": rows,
        "metric": metric(run.metric),
        "scale": figures.scale(axis),
        "pairs": comparisons(run),
        "other_metrics": _other_metrics(rows, run.metric),
        "protocols": protocols(run),
        "n": known[-1]["n"] if known else None,
        "solved": run.solved("base-fewshot") if run.ok("base-fewshot") else None,
        "solved_asked": None if _drawn(run) else ((run.part("recipe").get("measure") or {}).get("shots")),
    }


def _drawn(run: Run) -> bool:
    """Whether the protocol says how many solved examples there are, and not the recipe."""
    return bool((run.task.get("protocol") or {}).get("shots"))


_TABLED = ("accuracy", "weighted_f1", "macro_f1", "entity_precision", "entity_recall", "exact_match")


def _other_metrics(rows: list[View], main: str) -> list[str]:
    found = {name for row in rows for name in row["metrics"]}
    return [name for name in _TABLED if name in found and name != main]


def protocols(run: Run) -> list[View]:
    """The same model scored twice: by the likelihood of each label, and by the label it writes."""
    rows: list[View] = []
    for name in ("base", "specialist"):
        chosen, written = run.score(name), run.score(f"{name}-generated")
        if not (chosen and written):
            continue
        record = run.ok(f"{name}-generated") or {}
        pair = (record.get("against") or {}).get(name) or Facts()
        rows.append({"title": system_title(name), "chosen": chosen, "written": written, "pair": pair,
                     "parse_rate": record.get("parse_rate"),
                     "css": "mine" if name == "specialist" else ""})  # fmt: skip
    return rows


def left_out(run: Run, section: str) -> str | None:
    """Why a section does not apply to this kind of task; None if it does."""
    found = ((run.ok("specialist") or {}).get("left_out") or {}).get(section)
    return str(found) if found else None


def learning(run: Run) -> View:
    """Loss and validation score by step, from the log; a step that was repeated after a stop counts once."""
    train = {e["step"]: e["loss"] for e in run.log if e.get("event") == "train" and e.get("loss") is not None}
    looks = {e["step"]: e for e in run.log if e.get("event") == "validation"}
    losses = [(float(s), float(looks[s]["loss"])) for s in sorted(looks) if looks[s].get("loss") is not None]
    name = next(
        (m for m in (run.metric, "log_likelihood", "metric", "accuracy") if any(m in e for e in looks.values())), None
    )
    values = [(float(s), float(looks[s][name])) for s in sorted(looks) if name and looks[s].get(name) is not None]
    best = run.part("training").get("best_step")
    view: View = {"training": run.part("training"), "best": best, "loss": None, "score": None, "looks": len(looks)}
    view["steps"], view["tolerant"] = len(train), any("standard_error" in look for look in looks.values())
    curve = [(float(s), float(loss)) for s, loss in sorted(train.items())]
    if len(curve) > 1:
        view["loss"] = figures.loss_curve(curve, losses, next((p for p in losses if p[0] == best), None))
    if len(values) > 1:
        title = metric(run.metric).title if name in (run.metric, "metric") else metric(str(name)).title
        marked = next((p for p in values if p[0] == best), None)
        view["score"] = figures.score_curve(values, marked, f"Validation {title}")
        view["score_title"] = title
    return view


def confusion(run: Run) -> View:
    """Counts with row shares, the classes one by one, and the commonest mistakes."""
    record = run.ok("specialist") or {}
    found = record.get("confusion")
    view: View = {"labels": [], "rows": [], "classes": [], "pairs": [], "unparsed": False, "large": False}
    view["reason"] = left_out(run, "confusion")
    if found:
        labels, unparsed = found["labels"], found.get("unparsed")
        view |= {"labels": labels, "unparsed": bool(unparsed), "large": len(labels) > _LARGEST_MATRIX}
        for i, label in enumerate(labels):
            counts = list(found["matrix"][i]) + ([unparsed[i]] if unparsed else [])
            total = sum(counts)
            cells = [{"count": n, "share": n / total if total else 0.0, "right": i == j} for j, n in enumerate(counts)]
            view["rows"].append({"label": label, "total": total, "cells": cells})
        wrong = [
            (n, gold, answer)
            for gold, row in zip(labels, found["matrix"], strict=True)
            for answer, n in zip(labels, row, strict=True)
            if n and gold != answer
        ]
        view["pairs"] = sorted(wrong, key=lambda w: (-w[0], w[1], w[2]))[:10]
        view["totals"] = [sum(row["cells"][j]["count"] for row in view["rows"]) for j in range(len(labels))]
    view["classes"] = [{"label": label, **values} for label, values in (record.get("per_class") or {}).items()]
    return view


def _bins(record: Json) -> list[Bin]:
    bins = []
    for b in record.get("bins") or []:
        if not b.get("n"):
            continue
        low, high = clopper_pearson(round(b["accuracy"] * b["n"]), b["n"])
        bins.append(Bin(b["confidence"], b["accuracy"], float(low), float(high), b["n"]))
    return bins


def calibration(run: Run) -> View:
    """Reliability before and after temperature scaling."""
    found = (run.ok("specialist") or {}).get("calibration")
    if not found:
        return {"found": None, "reason": left_out(run, "calibration")}
    panels = []
    for when, css in (("before", "quiet"), ("after", "accent")):
        record = found.get(when) or {}
        panels.append(
            {
                "when": when,
                "ece": record.get("ece"),
                "figure": figures.reliability(_bins(record), css, f"Reliability {when} calibration"),
            }
        )
    before, after = ((found.get(when) or {}).get("ece") for when in ("before", "after"))
    better = before is not None and after is not None and after < before
    binning = (found.get("before") or {}).get("binning")
    return {"found": found, "panels": panels, "better": better, "binning": binning}


def abstaining(run: Run) -> View:
    """Error among the answers given when the least certain are withheld."""
    curve = (run.ok("specialist") or {}).get("risk_coverage") or []
    curve = sorted(curve, key=lambda p: p["coverage"])
    if not curve:
        return {"figure": None, "reason": left_out(run, "abstaining")}
    rows = []
    for wanted in (1.0, 0.95, 0.9, 0.8, 0.7, 0.5):
        point = min(curve, key=lambda p: abs(p["coverage"] - wanted))
        if abs(point["coverage"] - wanted) <= 0.05 and point not in rows:
            rows.append(point)
    points = [(p["coverage"], p["risk"], p["low"], p["high"]) for p in curve]
    marks = [(p["coverage"], p["risk"]) for p in rows if p["coverage"] > 0.99 or abs(p["coverage"] - 0.8) < 0.05]
    kept = next((p for p in rows if abs(p["coverage"] - 0.8) < 0.05), None)
    return {"figure": figures.risk_coverage(points, marks), "rows": rows, "all": curve[-1], "eighty": kept}


def forgetting(run: Run) -> View:
    """General ability before and after, on one scale for each measure."""
    kept, missing = retention(run)
    measures = []
    for r in kept:
        ends = [s[k] for s in (r.before, r.after) for k in ("low", "high", "value") if s.get(k) is not None]
        # three ticks, so that the labels do not touch on a phone
        axis = Axis.around(ends, ticks=3)
        rows = [
            {
                "title": title,
                "score": score,
                "track": figures.track(axis, score["value"], score.get("low"), score.get("high"), css, bar=False),
            }
            for title, score, css in (("before", r.before, "quiet"), ("after", r.after, "accent"))
        ]
        measures.append({"about": r, "metric": metric(r.metric), "rows": rows, "scale": figures.scale(axis)})
    return {"measures": measures, "missing": missing}


def errors(run: Run) -> View:
    """The wrong answers of which the specialist was surest, with calibrated probabilities."""
    answers = run.predictions("specialist")
    if answers is None:
        return {"rows": None, "count": 0, "n": 0}
    test = [p for p in answers if p.split == "test"]
    if run.task.get("kind") in ("extraction", "generation"):
        return _written_errors(str(run.task["kind"]), test)
    wrong = [p for p in test if not p.correct and p.answer is not None and p.probabilities]
    labels = list(dict.fromkeys([*run.task.get("labels", []), *(x for p in wrong for x in p.probabilities)]))
    rows = []
    if wrong:
        logs = log_probabilities(probability_matrix([p.probabilities for p in wrong], labels))
        chances = apply_temperature(logs, run.temperature)
        for p, chance in zip(wrong, chances.tolist(), strict=True):
            by_label = dict(zip(labels, chance, strict=True))
            rows.append(
                {
                    "id": p.example_id,
                    "text": _short(p.text),
                    "gold": p.gold,
                    "answer": p.answer,
                    "p": by_label[str(p.answer)],
                    "p_gold": by_label.get(p.gold),
                }
            )
    if run.task.get("kind") == "multiple_choice":
        rows = [{**row, **{key: LETTERS[int(str(row[key]))] for key in ("gold", "answer")}} for row in rows]
    rows.sort(key=lambda row: (-row["p"], row["id"]))
    return {"rows": rows[:SHOWN_ERRORS], "count": sum(not p.correct for p in test), "n": len(test)}


def _written_errors(kind: str, test: list[Prediction]) -> View:
    """Wrong answers in the order of their ids: nothing tells of which it was surest."""
    wrong = sorted((p for p in test if not is_right(kind, p)), key=lambda p: p.example_id)
    rows = [
        {"id": p.example_id, "text": _short(p.text), "gold": p.gold, "p": None, "p_gold": None,
         "answer": p.answer if p.answer is not None else f"(not readable) {_short(p.output or '')}"}
        for p in wrong[:SHOWN_ERRORS]
    ]  # fmt: skip
    return {"rows": rows, "count": len(wrong), "n": len(test)}


def _short(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    head, tail = text[: _LONGEST_TEXT * 2 // 3], text[-_LONGEST_TEXT // 3 :]
    return f"{head} … ({count(len(text) - _LONGEST_TEXT)} characters left out) … {tail}"


_DUPLICATES = {
    "rows": "rows read",
    "exact_merged": "repeats of the same text, merged",
    "normalised_merged": "repeats but for case, spaces or punctuation, merged",
    "crossing_parts": "of these, repeats across published parts",
    "test_rows_also_in_train": "test rows that also stand in train, as published",
    "contradictory_texts": "texts that carry different labels",
    "contradictory_rows_dropped": "rows dropped with them",
    "kept": "examples kept",
}


def data(run: Run) -> View:
    """Where the examples come from, what was dropped, how they were split."""
    task, splits = run.task, run.splits
    duplicates = splits.get("duplicates") or {}
    counts = splits.get("counts") or {}
    parts = []
    for part, by_label in counts.items():
        by_label = by_label if isinstance(by_label, dict) else {"all": by_label}
        parts.append({"name": part, "counts": by_label, "total": sum(by_label.values())})
    labels = list(dict.fromkeys(label for part in parts for label in part["counts"]))
    labels = [] if labels == ["all"] else labels  # no classes: the total says it
    samples = duplicates.get("contradictory_samples") or []
    near = splits.get("near_duplicates")
    return {
        "commercial": commercial(task),
        "duplicates": [(text, duplicates[key]) for key, text in _DUPLICATES.items() if key in duplicates],
        "near": near and Facts({**near, "samples": [Facts({**s, **_shortened(s)}) for s in near["samples"]]}),
        "samples": [{**s, "text": _short(str(s.get("text", "")))} for s in samples],
        "parts": parts,
        "labels": labels,
        "wide": len(labels) > 6,
    }


def _shortened(pair: Json) -> Json:
    return {part: _short(str(pair[part])) for part in ("test", "train")}


def commercial(task: Json) -> str:
    """Whether the data may be used commercially, as a sentence."""
    allowed = task.get("commercial")
    if allowed is None:
        return "whether commercial use is allowed is not recorded: ask whoever owns the data"
    return "commercial use is allowed" if allowed else "commercial use is not allowed"


def cost(run: Run) -> View:
    """Seconds by stage, speeds, energy."""
    stages = [(name, float(s.get("seconds") or 0)) for name, s in run.part("stages").items()]
    axis = Axis(0.0, max((s for _, s in stages), default=0.0) or 1.0, 1.0)
    rows = [
        {"name": name, "seconds": s, "track": figures.track(axis, s, None, None, "quiet", bar=True, grid=False)}
        for name, s in stages
    ]
    speed = (run.ok("specialist") or {}).get("examples_per_s")
    return {"stages": rows, "total": sum(s for _, s in stages), "speed": speed, "energy": run.part("energy")}
