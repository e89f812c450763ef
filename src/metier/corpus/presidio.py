"""Names and places of persons, found by presidio (the extra ``pii``) and its language model."""

from __future__ import annotations

from collections.abc import Iterator

from metier.corpus.deidentify import Finder, Span
from metier.corpus.repair import missing
from metier.errors import MetierError

KINDS = ("PERSON", "LOCATION")
SCORE = 0.5
CHARACTERS = 100_000  # looked at together: spaCy refuses texts of a million


def presidio_finder(language: str = "en") -> Finder:
    """A finder for :func:`~metier.corpus.deidentify.deidentify_step`.

    Raises:
        MetierError: without the extra ``pii``, or without the spaCy model that presidio uses; a language that it does
            not know.
    """
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError as error:
        raise missing("presidio-analyzer", "pii") from error
    try:
        engine = AnalyzerEngine()
    except (OSError, SystemExit) as error:
        fix = "python -m spacy download en_core_web_lg"
        raise MetierError("presidio finds no language model", fix=fix) from error
    if language not in engine.supported_languages:
        known = ", ".join(engine.supported_languages)
        fix = f"leave names out, or curate texts in {known} alone"
        raise MetierError(f"presidio finds names in {known}, not in {language}", where="recipe, corpus.names", fix=fix)

    def find(text: str) -> Iterator[Span]:
        for begin in range(0, len(text), CHARACTERS):
            piece = text[begin : begin + CHARACTERS]
            for found in engine.analyze(piece, language=language, entities=list(KINDS), score_threshold=SCORE):
                yield begin + found.start, begin + found.end, found.entity_type

    return find
