"""The page of a rubric: who was rated how, what is beyond chance, how far raters agree, whether length was judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from metier.report.compare import SIGNIFICANT
from metier.report.figures import SHARE, scale, track
from metier.report.html import environment
from metier.report.read import Json, facts
from metier.report.words import joined, number, plural, span

CONTENTS = [
    ("verdict", "Verdict"),
    ("raters", "Who rated"),
    ("axes", "By axis"),
    ("agreement", "Agreement"),
    ("machines", "Machines"),
    ("length", "Length"),
    ("method", "How it was measured"),
]


def render_rubric(record: Mapping[str, Any]) -> str:
    """The page as a string; the same record gives the same bytes."""
    run = facts(record)
    people = run["groups"]["people"]
    machines = [(name.removeprefix("machine: "), group) for name, group in run["groups"].items() if name != "people"]
    optional = {"axes": people, "agreement": people, "machines": machines}
    env = environment(escape=True)
    env.globals |= {"track": track, "scale": scale, "share_axis": SHARE}
    env.filters |= {"shares": shares, "verdict_of": verdict_of}
    return env.get_template("rubric.html.jinja").render(
        run=run,
        contents=[entry for entry in CONTENTS if optional.get(entry[0], True)],
        people=people,
        machines=machines,
        headline=headline(run),
        unfinished=_unfinished(run),
        weakest=_weakest(people or machines[0][1]),
        axes={axis["name"]: axis for axis in run["rubric"]["axes"]},
        record_json=json.dumps(record, indent=2, ensure_ascii=False),
    )


def shares(score: Json | None) -> str:
    """A share or κ with its interval, or why there is none."""
    if not score or score["value"] is None:
        return "undefined"
    return f"{number(score['value'])} {span(score)}"


def verdict_of(test: Json) -> str:
    """What a test says after correction: which system is better, or that it sees no difference."""
    if test["p_bonferroni"] >= SIGNIFICANT:
        return "no difference beyond chance"
    return f"{test['first'] if test['difference']['value'] > 0 else test['second']} better"


def _unfinished(run: Json) -> str:
    behind = [rater for rater in run["raters"] if rater["judged"] < rater["items"]]
    return ", ".join(f"{rater['name']} {rater['judged']} of {rater['items']}" for rater in behind)


def _weakest(group: Json) -> Json | None:
    """The test with most questions, if not even it could find a difference after correction."""
    tests = [test for found in group["axes"].values() for test in found["tests"]]
    best = min(tests, key=lambda test: float(test["least_p"]), default=None)
    if best is None or (corrected := min(1.0, best["least_p"] * len(tests))) < SIGNIFICANT:
        return None
    return {"questions": best["questions"], "p": best["least_p"], "corrected": corrected}


def headline(run: Json) -> str:
    """For every two systems, on how many axes one is better beyond chance, by the people or else the first machine."""
    name, group = next(iter(run["groups"].items()))
    tests: dict[tuple[str, str], list[Json]] = {}
    for found in group["axes"].values():
        for test in found["tests"]:
            tests.setdefault((test["first"], test["second"]), []).append(test)
    if not tests:
        return "There is one system: nothing to compare it with."
    parts = []
    for (first, second), own in tests.items():
        sides = {
            better: [t for t in own if t["p_bonferroni"] < SIGNIFICANT and (t["difference"]["value"] > 0) == up]
            for better, up in ((first, True), (second, False))
        }
        won = [
            f"{better} is better than {first if better == second else second} on {len(side)} of "
            f"{plural(len(own), 'axis', 'axes')}"
            for better, side in sides.items()
            if side
        ]
        parts.append(joined(won) if won else f"Between {first} and {second} no difference is beyond chance")
    who = "" if name == "people" else "No person has rated. By a machine's judgement: "
    return who + "; ".join(parts) + "."
