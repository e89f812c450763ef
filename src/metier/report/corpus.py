"""The page and the model cards of a run that learnt a corpus, from the run directory alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from metier.errors import MetierError
from metier.files import write_text
from metier.report import figures
from metier.report.figures import Axis, Panel
from metier.report.html import environment
from metier.report.read import Facts, Json, _read_json, _read_log
from metier.report.words import plural

CONTENTS = [
    ("answer", "Answer"), ("ledger", "Ledger"), ("bits", "Bits per byte"), ("learning", "How it learnt"),
    ("samples", "Samples"), ("cost", "Cost"), ("published", "Published, as context"), ("manifest", "Manifest"),
]  # fmt: skip

FEW_DOCUMENTS = 10  # an interval over fewer is said to be of few: the bootstrap makes it too narrow


@dataclass(frozen=True)
class Learnt:
    """One pretraining: its folder and what it wrote."""

    name: str
    path: Path
    manifest: Json
    scores: dict[str, dict[str, Json]]
    log: list[Json]


def is_corpus_run(run_dir: Path) -> bool:
    """Whether the run learnt a corpus and no task."""
    manifest = _read_json(run_dir / "manifest.json") or Facts()
    return (run_dir / "ledger.json").is_file() and not manifest["task"]


def write_corpus_report(run_dir: Path) -> Path:
    """Write ``report.html`` into the run directory and return its path.

    Raises:
        MetierError: nothing was curated or learnt in this directory.
    """
    view = _view(run_dir)
    page = environment(escape=True).get_template("corpus.html.jinja").render(contents=CONTENTS, **view)
    write_text(run_dir / "report.html", page)
    return run_dir / "report.html"


def write_data_card(run_dir: Path) -> Path:
    """Write the data card ``corpus/README.md``, from ``ledger.json`` alone, and return its path.

    Raises:
        MetierError: nothing was curated in this directory.
    """
    ledger = _read_json(run_dir / "ledger.json")
    if ledger is None:
        raise MetierError("nothing was curated here", where=str(run_dir), fix="run `metier curate` on the recipe")
    template = environment(escape=False).get_template("data-card.md.jinja")
    card = run_dir / "corpus" / "README.md"
    write_text(card, template.render(ledger=ledger, rows=_rows(ledger), splits=_splits(ledger)))
    return card


def write_corpus_cards(run_dir: Path) -> Path:
    """Write ``README.md`` into every specialist's folder; the path of the one of ``mixed``, or of the only one.

    Raises:
        MetierError: as for the report.
    """
    view = _view(run_dir)
    template = environment(escape=False).get_template("corpus-card.md.jinja")
    cards: dict[str, Path] = {}
    for one in view["learnt"]:
        cards[one.name] = one.path / "specialist" / "README.md"
        write_text(cards[one.name], template.render(one=one, kept=" ".join(notes(one)), **view))
    return cards.get("mixed") or next(iter(cards.values()))


def _learnt(run_dir: Path) -> list[Learnt]:
    mixes = sorted(path.parent for path in (run_dir / "mixes").glob("*/manifest.json"))
    found = []
    for path in mixes or [run_dir]:
        manifest = _read_json(path / "manifest.json") or Facts()
        if manifest["training"]:
            name = path.name if mixes else "specialist"
            scores = _read_json(path / "evidence" / "scores.json") or Facts()
            found.append(Learnt(name, path, manifest, scores, _read_log(path / "log.jsonl")))
    return found


def _view(run_dir: Path) -> dict[str, Any]:
    ledger, learnt = _read_json(run_dir / "ledger.json"), _learnt(run_dir)
    if ledger is None or not learnt:
        raise MetierError(
            "nothing was learnt from a corpus here", where=str(run_dir), fix="run `metier run` on the recipe again"
        )
    mixes = _read_json(run_dir / "evidence" / "mixes.json")
    recipe = run_dir / "recipe.yaml"
    shown = [one for one in learnt if not mixes or one.name in mixes["mixes"]]  # models of the first seed
    return {
        "name": ledger["name"],
        "rows": _rows(ledger),
        "ledger": ledger,
        "splits": _splits(ledger),
        "bits": _bits(shown),
        "learnt": learnt,
        "shown": shown,
        "mixes": mixes,
        "answer": mixes["answer"] if mixes else _alone(learnt[0]),
        "curves": [(one.name, _loss(one), _curves(one)) for one in shown],
        "notes": [note for one in learnt for note in notes(one)],
        "samples": _read_json(run_dir / "evidence" / "samples.json"),
        "seconds": sum(one.manifest["training"]["seconds"] for one in learnt),
        "recipe": recipe.read_text("utf-8") if recipe.is_file() else "",
        "manifests": json.dumps({one.name: one.manifest for one in learnt}, indent=2, ensure_ascii=False),
    }


def _rows(ledger: Json) -> list[Json]:
    """Table rows: each domain's subtotal, its sources beneath, the largest first; then the total."""
    rows = []
    for domain, total in sorted(ledger["domains"].items(), key=lambda one: -one[1]["tokens"]):
        rows.append(Facts({**total, "title": domain, "css": "mine"}))
        own = [(name, row) for name, row in ledger["sources"].items() if row["domain"] == domain]
        for name, row in sorted(own, key=lambda one: -one[1]["tokens"]):
            rows.append(Facts({**row, "title": name, "css": ""}))
    return [*rows, Facts({**ledger["total"], "title": "Total", "css": "mine"})]


def _splits(ledger: Json) -> str:
    """How much of the corpus is learnt, and how much is held out by which rule; empty where a ledger does not say."""
    rule = ledger["hold_out"] or Facts()
    told = []
    titles = {"train": "to learn from", "held_out": "held out", "later": f"of {rule['after']} and later, held out"}
    for split, title in titles.items():
        rows = [row["splits"][split] for row in ledger["sources"].values() if split in (row["splits"] or {})]
        if rows:
            tokens, documents = (sum(row[name] for row in rows) for name in ("tokens", "documents"))
            told.append(f"{tokens:,} tokens of {plural(documents, 'document')} {title}")
    return "; ".join(told)


def _bits(learnt: list[Learnt]) -> Json:
    """Scores by hold-out and system; a base that all continue from is shown once."""
    systems: dict[str, dict[str, Any]] = {}
    for one in learnt:
        for hold_out, entries in one.scores.items():
            for system, entry in entries.items():
                title = "base" if system == "base" else one.name
                systems.setdefault(title, {})[hold_out] = (entry["metrics"] or Facts())["bits_per_byte"]
    hold_outs = list(dict.fromkeys(name for found in systems.values() for name in found))
    return Facts({"systems": systems, "hold_outs": hold_outs})


def _alone(one: Learnt) -> str:
    """What a single pretraining came to, in one sentence."""
    parts = []
    for name, entries in one.scores.items():
        found = entries["specialist"]["metrics"]["bits_per_byte"]
        ends = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
        few = f" (only {plural(found['n'], 'document')})" if found["n"] < FEW_DOCUMENTS else ""
        before = entries.get("base", {}).get("metrics", {}).get("bits_per_byte")
        was = f", {before['value']:.3f} before" if before else ""
        parts.append(f"{found['value']:.3f}{ends}{was} on {name}{few}")
    tokens = one.manifest["training"]["tokens"]
    return f"Bits per byte after {tokens:,} tokens: {', '.join(parts) or 'nothing was held out'}."


def notes(one: Learnt) -> list[str]:
    """What a reader must know of how it was trained: steps that were not taken, weights that are not the last."""
    return [note for note in (_unsteady(one), _chosen(one)) if note]


def _unsteady(one: Learnt) -> str | None:
    """That steps were left out as spikes, and whether these ended the training."""
    training = one.manifest["training"]
    if not training["skipped_steps"]:
        return None
    told = (
        f"{one.name}: of {plural(training['steps'], 'step')} {training['skipped_steps']:,} had a loss or gradient far "
        "above the median and left the weights as they were"
    )
    return told + ("; they ended the training before its time." if training["stopped"] == "spike" else ".")


def _chosen(one: Learnt) -> str | None:
    """That the weights are not those of the last step: they were chosen by hold-outs that are scored, too."""
    best, last = one.manifest["training"]["best_step"], one.manifest["training"]["steps"]
    if not best or best == last:
        return None
    return (
        f"{one.name}: the weights kept are those of step {best} of {last}, where the hold-outs did best at a look; "
        "the same hold-outs are scored, which flatters a little."
    )


def _loss(one: Learnt) -> Markup | None:
    points = sorted({e["step"]: float(e["loss"]) for e in one.log if e.get("event") == "train"}.items())
    return figures.loss_curve([(float(x), y) for x, y in points], [], None) if len(points) > 1 else None


def _curves(one: Learnt) -> Markup | None:
    """Bits per byte of every hold-out by step, each line named at its end."""
    looks = {e["step"]: e for e in one.log if e.get("event") == "validation"}
    names = sorted({key for look in looks.values() for key in look if key.startswith("bits_per_byte.")})
    lines = {name: [(float(s), float(looks[s][name])) for s in sorted(looks) if name in looks[s]] for name in names}
    every = [point for points in lines.values() for point in points]
    if len(looks) < 2 or not every:
        return None
    steps = [x for x, _ in every]
    width = figures.nice_step(max(steps), 4)
    panel = Panel(Axis(0.0, max(steps), width), Axis.around([y for _, y in every]), height=290)
    body, words = panel.frame("step"), []
    placed: list[float] = []
    for name, points in sorted(lines.items(), key=lambda one: one[1][-1][1]):
        title = name.removeprefix("bits_per_byte.")
        body += panel.line(points, "line quiet")
        y = panel.py(points[-1][1])
        while any(abs(y - other) < 12 for other in placed):
            y -= 12.0
        placed.append(y)
        body += f'<text class="note" x="{panel.px(points[-1][0]) - 4:.1f}" y="{y - 9:.1f}" text-anchor="end">'
        body += f"{Markup.escape(title)}</text>"
        words.append(f"{title} ends at {points[-1][1]:.3f}")
    return panel.svg(body, "Bits per byte by step", "; ".join(words))
