"""The report and the model card, from the run directory alone."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_card", "write_report"]


def write_report(run_dir: Path) -> Path:
    """Write ``report.html``, one self-contained page, into the run directory and return its path."""
    from metier.report.corpus import is_corpus_run, write_corpus_report
    from metier.report.html import write_report as write

    if is_corpus_run(run_dir):
        return write_corpus_report(run_dir)
    return write(run_dir)


def write_card(run_dir: Path) -> Path:
    """Write the model card ``specialist/README.md`` into the run directory and return its path.

    Of mixes each specialist gets one, and the path is that of ``mixed``.
    """
    from metier.report.card import write_card as write
    from metier.report.corpus import is_corpus_run, write_corpus_cards

    if is_corpus_run(run_dir):
        return write_corpus_cards(run_dir)
    return write(run_dir)
