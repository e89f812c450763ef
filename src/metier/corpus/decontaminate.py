"""Removal of evaluation questions from the corpus.

What :mod:`metier.corpus.overlap` finds is cut out: a whole question, 120 characters, or 13 words of one. Around it 200
characters go too, and a text that would fall into more than ten pieces, or of which nothing remains, is dropped
(GPT-3: Brown et al. 2020, appendix C).
"""

from __future__ import annotations

from dataclasses import replace

from metier.corpus.overlap import Match, Questions
from metier.corpus.text import Step, Tally, Text, Texts, batched

MARGIN = 200  # Brown et al. 2020, appendix C
PIECES = 10  # Brown et al. 2020, appendix C
DROPPED = "overlap with an evaluation task"


def overlap_step(questions: Questions) -> Step:
    """Cut what stands in the questions out of every text; count by task and width."""

    def step(texts: Texts, tally: Tally) -> Texts:
        if not len(questions):
            yield from texts
            return
        for batch in batched(texts):
            for text, matches in zip(batch, questions.find([text.text for text in batch]), strict=True):
                cleaned = _remove(text, matches) if matches else text
                _count(tally, text, matches)
                if cleaned is None:
                    tasks = ", ".join(sorted({match.task for match in matches}))
                    tally.drop(DROPPED, text.id, tasks)
                else:
                    yield cleaned

    return step


def _count(tally: Tally, text: Text, matches: list[Match]) -> None:
    for match in matches:
        counts = tally.overlap.setdefault(match.task, {})
        for width in match.widths:
            counts.setdefault(width, set()).add(match.question)
        counts.setdefault("questions", set()).add(match.question)
        counts.setdefault("documents", set()).add(text.order)


def _remove(text: Text, matches: list[Match]) -> Text | None:
    """The text without the matches and a margin around each; None if too little or too broken a text remains."""
    pieces, done = [], 0
    for match in sorted(matches, key=lambda match: match.begin):
        pieces.append(text.text[done : max(done, match.begin - MARGIN)])
        done = max(done, match.end + MARGIN)
    pieces.append(text.text[done:])
    kept = [found for piece in pieces if len(found := piece.strip()) >= MARGIN]
    if not kept or len(kept) > PIECES:
        return None
    return replace(text, text="\n\n".join(kept))
