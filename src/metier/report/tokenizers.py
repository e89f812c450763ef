"""Two plots as SVG, the same bytes for the same numbers: bits by vocabulary size, and tokenizers by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metier.evaluation.scores import Score
from metier.files import replacing
from metier.tokenization import Size


def plot_sizes(curve: Sequence[Size], path: Path) -> None:
    """Tokens × log2(V) in bits by vocabulary size V, the least marked."""
    figure, axes = _figure(6.4, 3.6)
    best = min(curve, key=lambda one: one.bits)
    axes.plot([one.vocabulary for one in curve], [one.bits / 1e6 for one in curve], marker="o", color="#1f5fa8")
    axes.plot([best.vocabulary], [best.bits / 1e6], marker="o", markersize=11, fillstyle="none", color="#b03030")
    axes.annotate(
        f"{best.vocabulary:,}", (best.vocabulary, best.bits / 1e6), textcoords="offset points", xytext=(0, 10)
    )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("vocabulary size V")
    axes.set_ylabel("tokens × log2(V), million bits")
    _save(figure, path)


def plot_comparison(found: Mapping[str, Mapping[str, Mapping[str, Score]]], path: Path) -> None:
    """Bytes per token with 95 % intervals, a group of points a source; ``found`` by tokenizer, source and measure."""
    sources = list(next(iter(found.values())))
    figure, axes = _figure(6.4, 1.2 + 0.22 * len(sources) * (len(found) + 1))
    for place, (name, by_source) in enumerate(found.items()):
        scores = [by_source[source]["bytes_per_token"] for source in sources]
        rows = [row + (place - (len(found) - 1) / 2) * 0.8 / len(found) for row in range(len(sources))]
        values = [score.value for score in scores]
        low = [score.value - (score.value if score.low is None else score.low) for score in scores]
        high = [(score.value if score.high is None else score.high) - score.value for score in scores]
        axes.errorbar(values, rows, xerr=[low, high], fmt="o", markersize=4, capsize=2, label=name)
    axes.set_yticks(range(len(sources)), sources)
    axes.invert_yaxis()
    axes.set_xlabel("bytes per token (more is better), 95 % interval over documents")
    axes.legend(fontsize="small")
    _save(figure, path)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # no pyplot: nothing global, no window

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    import matplotlib

    with replacing(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "metier"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None})
