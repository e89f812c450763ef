"""Reading a label out of what a model wrote."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_MARKS = r"(?:[^\w.,:;!?/|&] )*"
"""Signs around a label that neither end a sentence nor join labels: quotation marks, asterisks, brackets."""


def parse_label(text: str, labels: Sequence[str]) -> str | None:
    """The label that ``text`` begins with, or None.

    Letter case, punctuation and white space do not count; whole words do: "Positive." is ``positive``, "positively" and
    "not positive" are nothing. Of labels that begin alike the longest fits. What follows the label is not read:
    "positive negative" is ``positive``, because that is what was said first. But "neutral/positive", "neutral or
    positive" and "negative, neutral, positive" name several labels and state none: they are nothing. Labels that differ
    in punctuation alone (``-1`` and ``1``, ``+`` and ``-``) are read with their punctuation.

    Args:
        labels: distinct names.

    Returns:
        None for an answer that cannot be read. It is wrong, and belongs to no class.
    """
    symbols = False
    spelt = [_words(label, symbols) for label in labels]
    if not all(spelt) or len(set(spelt)) < len(spelt):
        symbols = True
        spelt = [_words(label, symbols) for label in labels]
    words = _words(text, symbols)
    fitting = [
        (len(spelling), label) for spelling, label in zip(spelt, labels, strict=True) if _begins(words, spelling)
    ]
    if not fitting:
        return None
    count, said = max(fitting, key=lambda pair: pair[0])
    others = [_words(label, True) for label in labels if label != said]
    return None if _another(_behind(text, count, symbols), others) else said


def _behind(text: str, count: int, symbols: bool) -> str:
    """What follows the first ``count`` words, with a space around each visible character."""
    pieces = _words(text, True)
    places = [place for place, piece in enumerate(pieces) if symbols or _words(piece, False)]
    return " ".join(pieces[places[count - 1] + 1 :])


def _another(rest: str, others: Sequence[tuple[str, ...]]) -> bool:
    """Whether ``rest`` joins another label to the one before it.

    After a comma the other label must be a whole item: "yes, no doubt" is ``yes``.
    """
    names = "|".join(re.escape(" ".join(other)) for other in others)
    if not names:
        return False
    joined = rf"(?:, )?(?:[/|&]|or|and|to) {_MARKS}(?:{names})(?!\S)"
    listed = rf", {_MARKS}(?:{names})(?= [^\w ]| or | and |$)"
    return re.match(f"{_MARKS}(?:{joined}|{listed})", rest) is not None


def _begins(words: tuple[str, ...], spelling: tuple[str, ...]) -> bool:
    return bool(spelling) and words[: len(spelling)] == spelling


def _words(text: str, symbols: bool) -> tuple[str, ...]:
    """Words in lower case, with each other visible character as a word of its own if ``symbols`` count.

    Vowel signs and accents that are characters of their own belong to their word.
    """
    pieces = []
    for character in unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()):
        kind = unicodedata.category(character)
        if kind[0] in "LMN" or character == "_":
            pieces.append(character)
        elif kind != "Cf":  # zero-width characters part no word
            pieces.append(f" {character} " if symbols else " ")
    return tuple("".join(pieces).split())
