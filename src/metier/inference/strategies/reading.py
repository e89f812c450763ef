"""The option that a free text states, if it states one."""

from __future__ import annotations

import re

from metier.evaluation.parsing import parse_label
from metier.inference.strategies.questions import Question

_SAID = re.compile(r"\banswer\b(?:\s+(?:is|would be|should be|must be))?\s*:?\s*", re.IGNORECASE)
_LETTER = re.compile(r"\W*?(?:\(([A-Z])\)|([A-Z])(?=\s*(?:[).,:;*\n]|$)))")
_LETTERED = re.compile(r"^\W*\([A-Z]\)\s*")


def read_choice(text: str, asked: Question) -> str | None:
    """The name of the option that ``text`` states, or None.

    Read are what follows the last "answer is" (or "answer:"), then the last line, then the first. A letter counts where
    options have letters, unless the words of another option follow; an option's own words count always. Nothing is
    guessed: an option that is only mentioned is not an answer.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    pieces = [text[match.end() :] for match in reversed(list(_SAID.finditer(text)))]
    for piece in [*pieces, *lines[-1:], *lines[:1]]:
        found = _begins_with(piece, asked)
        if found is not None:
            return found
    return None


def _begins_with(piece: str, asked: Question) -> str | None:
    letter = _LETTER.match(piece) if asked.form == "letter" else None
    rest = piece[letter.end() :] if letter else _LETTERED.sub("", piece)
    said = parse_label(rest, asked.texts)
    words = None if said is None else asked.names[asked.texts.index(said)]
    if letter is None or (letter[1] or letter[2]) not in asked.answers:
        return words
    place = asked.names[asked.answers.index(letter[1] or letter[2])]
    return place if words in (None, place) else None  # a letter and the words of another option state nothing
