"""``report.html``: one self-contained page, made from the run directory alone."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from markupsafe import escape as escaped

from metier.files import write_text
from metier.report import again, sections, selective, words
from metier.report.asking import strategies
from metier.report.overlap import overlap_view
from metier.report.prompt import prompt_view
from metier.report.read import Json, Run, read_run
from metier.report.verdict import cost_sentence, key_figures, verdict

CONTENTS = [
    ("verdict", "Verdict"),
    ("systems", "All systems"),
    ("strategies", "Ways of asking"),
    ("mixture", "The tasks learnt together"),
    ("elsewhere", "On other test sets"),
    ("seeds", "With other seeds"),
    ("sizes", "From fewer examples"),
    ("search", "How its settings were chosen"),
    ("learning", "How it learnt"),
    ("confusion", "Where it is wrong"),
    ("calibration", "How sure it is"),
    ("abstaining", "What abstaining buys"),
    ("sets", "Sets of labels"),
    ("forgetting", "What it forgot"),
    ("errors", "Its surest errors"),
    ("safety", "What it is not for"),
    ("data", "Data"),
    ("overlap", "Test items in the training corpus"),
    ("prompt", "Exact prompt"),
    ("cost", "Cost"),
    ("manifest", "Manifest"),
]


def environment(*, escape: bool) -> Environment:
    """The package's templates. ``escape`` for HTML: then whatever a user's data holds is shown, never run."""
    env = Environment(
        loader=PackageLoader("metier.report"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters |= {
        "number": words.number,
        "span": words.span,
        "scored": words.scored,
        "percent": words.percent,
        "count": words.count,
        "plural": words.plural,
        "md": words.escaped,
        "duration": words.duration,
        "size": words.size,
        "date": words.date,
        "speed": words.speed,
        "threshold": words.threshold,
        "capitalise": words.capitalise,
        "unbroken": lambda text: escaped(text).replace("TF-IDF", Markup('<span class="nowrap">TF-IDF</span>')),
        "metric_title": lambda name: words.metric(name).title,
        "p_short": lambda p: words.p_value(p).lstrip("p=" + words.NBSP),
    }
    return env


def _pretty(value: Json | list[Json]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def render_report(run: Run) -> str:
    """The page as a string; the same run gives the same bytes."""
    optional = {
        "strategies": strategies(run),
        "mixture": again.other_sets(run, mixed=True),
        "elsewhere": again.other_sets(run, mixed=False),
        "seeds": again.seeds(run),
        "sizes": again.sizes(run),
        "search": again.search(run),
        "overlap": overlap_view(run),
        "safety": selective.safety(run),
        "sets": selective.sets(run),
    }
    return environment(escape=True).get_template("report.html.jinja").render(
        run=run,
        contents=[entry for entry in CONTENTS if optional.get(entry[0], True)],
        verdict=verdict(run),
        figures=key_figures(run),
        systems=sections.systems(run),
        **optional,
        learning=sections.learning(run),
        confusion=sections.confusion(run),
        calibration=sections.calibration(run),
        abstaining=sections.abstaining(run),
        deferral=selective.deferral(run),
        demand=selective.demand(run),
        forgetting=sections.forgetting(run),
        errors=sections.errors(run),
        data=sections.data(run),
        prompt=prompt_view(run.part("prompt")),
        cost=sections.cost(run),
        cost_sentence=cost_sentence(run),
        methods=words.METHODS,
        places=words.PLACES,
        base=run.part("base"),
        training=run.part("training"),
        cut=run.part("cut") if any((run.part("cut")["counts"] or {}).values()) else None,
        device=run.part("device"),
        versions=", ".join(f"{name} {v}" for name, v in run.part("versions").items()),
        manifest_json=_pretty(run.manifest),
        lock_json=_pretty(run.lock),
    )  # fmt: skip


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into the run directory and return its path.

    Raises:
        MetierError: the directory holds no readable run, or the page cannot be written.
    """
    path = run_dir / "report.html"
    write_text(path, render_report(read_run(run_dir)))
    return path
