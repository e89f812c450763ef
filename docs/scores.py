"""Write docs/results/README.md, the tables of what finished runs measured, from the files beside it.

python docs/collect.py runs/finance-sentiment
python docs/scores.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "results"
BESIDE = {"majority": "most frequent", "tfidf": "TF-IDF", "base": "base", "base-fewshot": "base, solved examples"}
HEAD = """# What the recipes reached

Written by `python docs/scores.py` from the files in this folder, which `python docs/collect.py RUN` writes from a
finished run. Scores are of held-out rows that nothing was chosen by, each with its 95 % interval; n counts rows. An
answer that cannot be read is wrong. A dash was not measured there. [Findings](../findings.md) says what follows.
"""

Entry = Mapping[str, Any]


def page() -> str:
    """All tables."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(HERE.glob("*.json"))]
    parts = [
        ("Specialists", ("run", "task", "n", "metric", *BESIDE.values(), "specialist", "parse rate"), _specialists),
        ("Their training", ("run", "base", "method", "rows", "steps", "minutes", "processor", "date"), _trainings),
        ("Other systems on the same rows", ("run", "task", "system", "n", "metric", "value"), _others),
        ("What was forgotten", ("run", "measured on", "n", "metric", "before", "after"), _forgotten),
        ("Seeds of training", ("run", "metric", "seeds", "mean", "sd"), _seeds),
        ("Learning curves", ("run", "examples", "metric", "systems"), _curves),
        ("Mixed corpora", ("run", "hold-out", "n", "bits per byte by what was learnt"), _mixes),
    ]
    return HEAD + "".join(
        f"\n## {title}\n\n{_table(head, [row for one in found for row in rows(one)])}" for title, head, rows in parts
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _score(score: Entry | None) -> str:
    if not score or score.get("value") is None:
        return "–"
    if score.get("low") is None or score.get("high") is None:
        return f"{score['value']:.3f}"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _metric(systems: Mapping[str, Entry]) -> str:
    """The metric that the task's systems were compared by."""
    for entry in systems.values():
        for other in entry.get("against", {}).values():
            return str(other["metric"])
    first = next(iter(systems.values()))["metrics"]
    return "weighted_f1" if "weighted_f1" in first else str(next(iter(first)))


def _tasks(run: Entry) -> Iterator[tuple[str, dict[str, Entry], str, Entry]]:
    """Each task on which a specialist was scored: its name, its systems, their metric, and the specialist's score."""
    for task, systems in run["scores"].items():
        measured = {name: entry for name, entry in systems.items() if entry.get("metrics")}
        if "specialist" in measured:
            metric = _metric(measured)
            yield task, measured, metric, measured["specialist"]["metrics"][metric]


def _general(systems: Mapping[str, Entry]) -> bool:
    return set(systems) == {"base", "specialist"}


def _specialists(run: Entry) -> Iterator[list[str]]:
    for task, systems, metric, score in _tasks(run):
        if not _general(systems):
            beside = [_score(systems.get(name, {}).get("metrics", {}).get(metric)) for name in BESIDE]
            rate = systems["specialist"].get("parse_rate")
            own = f"**{_score(score)}**"
            if run.get("training", {}).get("method") == "none":
                own += ", the base as it is"
            yield [
                f"[{run['run']}]({run['run']}.json)", task, str(score["n"]), metric, *beside, own,
                "–" if rate is None else f"{rate:.3f}",
            ]  # fmt: skip


def _trainings(run: Entry) -> Iterator[list[str]]:
    training = run.get("training", {})
    if training.get("seconds"):
        yield [
            run["run"], run["base"]["name"], training["method"], f"{training['examples']:,}", f"{training['steps']:,}",
            f"{training['seconds'] / 60:.1f}", run["device"]["cpu"], run["finished"][:10],
        ]  # fmt: skip


def _others(run: Entry) -> Iterator[list[str]]:
    for task, systems, metric, _ in _tasks(run):
        for name, entry in systems.items():
            if name not in BESIDE and name != "specialist":
                score = entry["metrics"][metric]
                yield [run["run"], task, name, str(score["n"]), metric, _score(score)]


def _forgotten(run: Entry) -> Iterator[list[str]]:
    for task, systems, metric, score in _tasks(run):
        if _general(systems):
            before = systems["base"]["metrics"][metric]
            yield [run["run"], task, str(score["n"]), metric, _score(before), _score(score)]


def _seeds(run: Entry) -> Iterator[list[str]]:
    if found := run.get("seeds"):
        values = _listed({str(one["seed"]): one for one in found["runs"]})
        yield [run["run"], found["metric"], values, f"{found['mean']:.3f}", f"{found['sd']:.3f}"]


def _curves(run: Entry) -> Iterator[list[str]]:
    if found := run.get("curve"):
        for point in found["points"]:
            yield [run["run"], f"{point['examples']:,}", found["metric"], _listed(point["systems"])]


def _mixes(run: Entry) -> Iterator[list[str]]:
    for hold_out, found in run.get("mixes", {}).get("domains", {}).items():
        scores = found["bits_per_byte"]
        yield [run["run"], hold_out, str(next(iter(scores.values()))["n"]), _listed(scores)]


def _listed(scores: Mapping[str, Entry]) -> str:
    return ", ".join(f"{name}: {_score(score)}" for name, score in scores.items())


if __name__ == "__main__":
    (HERE / "README.md").write_text(page(), encoding="utf-8")
    print(HERE / "README.md")
