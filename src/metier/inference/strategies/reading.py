"""The option that a free text states, if it states one."""

from __future__ import annotations

import re

from metier.evaluation.parsing import parse_label
from metier.inference.strategies.questions import Question

_SAID = re.compile(
    r"\banswer\b(?:\s+(?:to|for)\b[^.:;\n]{1,80}?)?[\s*_]*(?:\b(?:is|would be|should be|must be)\b[\s*_]*:?|:)[\s*_]*",
    re.IGNORECASE,
)
_NAMED = r"\W*?(?:(?i:(?:the\s+)?(?:option|choice|answer))\W+)?"
_LETTER = re.compile(
    rf"{_NAMED}(?:\(([A-Z])\)|([A-Z])(?=\s*(?:[).,:;!*\n$\]}}]|$)|\s+(?:[-–—]\s|(?:because|since|as)\b)))"
)
_ANOTHER = re.compile(r"[\s)*]*(?:[,/&]|\b(?:and|or)\b)(?:\s*(?:and|or)\b)?[\s(*]*([A-Z])\b")
_LETTERED = re.compile(r"^\W*\([A-Z]\)\s*")
_REASON = re.compile(r"\b(?:because|since)\b.*|(?<=[^\W\d_]{2})[.!]\s.*", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
_TYPESET = re.compile(r"\\(?:text|math)\w*\s*\{([^{}]*)\}")


def read_choice(text: str, asked: Question) -> str | None:
    """The name of the option that ``text`` states, or None.

    Read is what follows the last "answer is" (or "answer:", or stands in a box). Without that the last line, then the
    first, where it is an option and no more than a reason. A letter counts where options have letters, unless the words
    or the letter of another option follow; an option's own words count always. Nothing is guessed: an option that is
    only mentioned is not an answer.
    """
    text = _BOXED.sub(r"answer: \1\n", _TYPESET.sub(r"\1", text))
    lines = [line for line in text.splitlines() if line.strip()]
    pieces = [(text[match.end() :], False) for match in reversed(list(_SAID.finditer(text)))]
    for piece, whole in [*pieces, *((line, True) for line in [*lines[-1:], *lines[:1]])]:
        found = _stated(piece, asked, whole)
        if found is not None:
            return found
    return None


def _stated(piece: str, asked: Question, whole: bool) -> str | None:
    """The option that ``piece`` begins with, or is if ``whole``."""
    letter = _LETTER.match(piece) if asked.form == "letter" else None
    rest = piece[letter.end() :] if letter else _LETTERED.sub("", piece)
    words = _in_words(rest, asked, whole)
    sign = letter and (letter[1] or letter[2])
    if not sign or sign not in asked.answers:
        return words
    place = asked.names[asked.answers.index(sign)]
    another = _ANOTHER.match(rest)
    if another and another[1] in asked.answers:
        return None
    if whole and words is None and re.search(r"\w", _REASON.sub("", re.sub(r"^\W+", "", rest))):
        return None
    return place if words in (None, place) else None  # a letter and the words of another option state nothing


def _in_words(text: str, asked: Question, whole: bool) -> str | None:
    """The option whose words ``text`` begins with; if ``whole``, those alone, or with a reason."""
    said = parse_label(text, asked.texts)
    if said is None or (whole and not any(parse_label(said, [part]) for part in (text, _REASON.sub("", text)))):
        return None
    return asked.names[asked.texts.index(said)]
