"""Quality rules of published corpora, each with its threshold and source; a text is dropped by the first it breaks.

``standard`` holds for any prose. ``web`` adds what was made for crawled pages.

- Gopher: Rae et al. 2021, arXiv 2112.11446, A.1.1 (quality; repetition in table A1)
- C4: Raffel et al. 2020, arXiv 1910.10683, section 2.2
- FineWeb: Penedo et al. 2024, arXiv 2406.17557, section 3.4
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from metier.corpus.text import Step, Tally, Texts, batched
from metier.corpus.words import Words, characters, letters, span_hashes, words_of

Rules = Literal["standard", "web", "none"]

MIN_WORDS = 50  # Gopher
MAX_WORDS = 100_000  # Gopher, for a web page; textbooks and filings are longer, so only in `web`
WORD_LENGTH = (3.0, 10.0)  # Gopher: mean characters a word
MAX_SYMBOLS = 0.1  # Gopher: '#' or ellipses a word
MAX_BULLET_LINES = 0.9  # Gopher: lines that begin with a bullet
MAX_ELLIPSIS_LINES = 0.3  # Gopher: lines that end in an ellipsis
MIN_ALPHABETIC = 0.8  # Gopher: words with a letter
MIN_STOP_WORDS = 2  # Gopher: of the eight below
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher; of English
MAX_DUPLICATE_LINES = 0.30  # Gopher table A1: share of lines that stood before
MAX_DUPLICATE_LINE_CHARACTERS = 0.20  # Gopher table A1: share of characters in them
MAX_TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}  # Gopher table A1: characters in the most frequent n-gram
MAX_DUPLICATE_NGRAM = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}  # Gopher table A1
REPETITION_WORDS = 5_000  # duplicates of n-grams grow with a text; Gopher's limits for them are of pages of the web
MIN_SENTENCES = 5  # C4: a page of fewer is dropped
MIN_LINE_PUNCTUATION = 0.12  # FineWeb: share of lines that end in punctuation
MAX_SHORT_LINES = 0.67  # FineWeb: share of lines of up to 30 characters
SHORT_LINE = 30  # FineWeb
MAX_DUPLICATE_LINE_CHARACTERS_WEB = 0.1  # FineWeb


def quality_step(rules: Rules, *, min_words: int = MIN_WORDS, language: str | None = "en") -> Step:
    """Drop texts that break a rule; the reason names rule and source, the detail what was measured."""

    def step(texts: Texts, tally: Tally) -> Texts:
        for batch in batched(texts):
            broken = broken_rules([text.text for text in batch], rules, min_words=min_words, language=language)
            for text, (reason, value) in zip(batch, broken, strict=True):
                if reason:
                    tally.drop(reason, text.id, f"{value:.3g}", text.text)
                else:
                    yield text

    return step


def broken_rules(
    texts: list[str], rules: Rules, *, min_words: int = MIN_WORDS, language: str | None = "en"
) -> list[tuple[str, float]]:
    """For each text the first rule that it breaks and the value found, or an empty name."""
    if rules == "none" or not texts:
        return [("", 0.0)] * len(texts)
    words = words_of(texts, by="space")
    found = _word_rules(words, texts, min_words, language, rules)
    if rules == "web":
        found += _page_rules(texts)
    found += [*_line_rules(words, rules), *_repetition_rules(words)]
    names = [name for name, _, _ in found]
    values: np.ndarray = np.stack([value for _, value, _ in found])
    bad: np.ndarray = np.stack([broken for _, _, broken in found])
    first: np.ndarray = bad.argmax(axis=0)
    any_bad: np.ndarray = np.asarray(bad.any(axis=0))
    return [(names[f], float(values[f, i])) if any_bad[i] else ("", 0.0) for i, f in enumerate(first)]


Rule = tuple[str, np.ndarray, np.ndarray]


def _word_rules(words: Words, texts: list[str], least: int, language: str | None, rules: Rules) -> list[Rule]:
    count = np.diff(words.first)
    some = np.maximum(count, 1)
    length = characters(words)
    lengths = (length[words.end] - length[words.begin]).astype(np.float64)
    mean = _by_text(words, lengths) / some
    alphabetic = _by_text(words, letters(words)) / some
    hashes = np.array([text.count("#") for text in texts]) / some
    dots = np.array([text.count("...") + text.count("…") for text in texts]) / some
    found = [
        ("gopher: too few words", count, count < least),
        ("gopher: mean word length", mean, (mean < WORD_LENGTH[0]) | (mean > WORD_LENGTH[1])),
        ("gopher: words without letters", 1 - alphabetic, alphabetic < MIN_ALPHABETIC),
        ("gopher: symbols", np.maximum(hashes, dots), (hashes > MAX_SYMBOLS) | (dots > MAX_SYMBOLS)),
    ]
    if language == "en":
        known = words_of([" ".join(STOP_WORDS)], by="space").hashes
        stops = np.array([_by_text(words, words.hashes == one) > 0 for one in known]).sum(axis=0)
        found.append(("gopher: stop words", stops, stops < MIN_STOP_WORDS))
    if rules == "web":
        found.append(("gopher: too many words", count, count > MAX_WORDS))
    return found


def _line_rules(words: Words, rules: Rules) -> list[Rule]:
    begin, end, text = _lines(words)
    texts = len(words.first) - 1
    length = characters(words)
    last, chars = words.data[np.maximum(end - 1, 0)], length[end] - length[begin]
    lines = np.maximum(np.bincount(text, minlength=texts), 1)

    def share(of: np.ndarray) -> np.ndarray:
        return np.bincount(text, weights=of, minlength=texts) / lines

    bullets = share(_starts_with(words.data, begin, end, (b"-", b"*", "•".encode(), "●".encode(), "‣".encode())))
    ellipses = share(_ends_with(words.data, begin, end, (b"...", "…".encode())))
    again = _seen_before(span_hashes(words.sums, begin, end), text)
    duplicate = share(again)
    total = np.maximum(np.bincount(text, weights=chars, minlength=texts), 1)
    weight = np.bincount(text, weights=chars * again, minlength=texts) / total
    found = [
        ("gopher: bullet lines", bullets, bullets > MAX_BULLET_LINES),
        ("gopher: ellipsis lines", ellipses, ellipses > MAX_ELLIPSIS_LINES),
        ("gopher: duplicate lines", duplicate, duplicate > MAX_DUPLICATE_LINES),
        ("gopher: characters in duplicate lines", weight, weight > MAX_DUPLICATE_LINE_CHARACTERS),
    ]
    if rules == "web":
        ended = share(np.isin(last, np.frombuffer(b'.!?"', np.uint8)))
        short = share(chars <= SHORT_LINE)
        found += [
            ("fineweb: lines ending in punctuation", ended, ended < MIN_LINE_PUNCTUATION),
            ("fineweb: short lines", short, short > MAX_SHORT_LINES),
            ("fineweb: characters in duplicate lines", weight, weight > MAX_DUPLICATE_LINE_CHARACTERS_WEB),
        ]
    return found


def _page_rules(texts: list[str]) -> list[Rule]:
    braces = np.array([text.count("{") for text in texts])
    latin = np.array(["lorem ipsum" in text.lower() for text in texts])
    sentences = np.array([sum(text.count(mark) for mark in (". ", ".\n", "! ", "!\n", "? ", "?\n")) for text in texts])
    sentences = sentences + np.array([text.endswith((".", "!", "?", '"')) for text in texts])
    return [
        ("c4: curly bracket", braces, braces > 0),
        ("c4: lorem ipsum", latin, latin),
        ("c4: too few sentences", sentences, sentences < MIN_SENTENCES),
    ]


def _repetition_rules(words: Words) -> list[Rule]:
    """Over the whole of a text. One of more than :data:`REPETITION_WORDS` words is not judged by its duplicate n-grams,
    only by the most frequent one, whose share does not grow with the text.
    """
    length = characters(words)
    lengths = length[words.end] - length[words.begin]
    short = np.diff(words.first) <= REPETITION_WORDS
    total = np.maximum(_by_text(words, lengths), 1)
    of_word = words.text_of_words()
    before = np.concatenate([[0], np.cumsum(lengths)])
    found = []
    for n, limit in MAX_TOP_NGRAM.items():
        grams, at = words.ngrams(n)
        top = np.zeros(len(short))
        order, begins, counts = _runs(grams, of_word[at])
        repeated = counts > 1
        place = at[order[begins[repeated]]]
        np.maximum.at(top, of_word[place], counts[repeated] * (before[place + n] - before[place]))
        found.append((f"gopher: most frequent {n}-gram", top / total, top / total > limit))
    for n, limit in MAX_DUPLICATE_NGRAM.items():
        grams, at = words.ngrams(n)
        again = at[_seen_before(grams, of_word[at])]
        marks = np.zeros(len(lengths) + 1, np.int64)
        np.add.at(marks, again, 1)
        np.add.at(marks, again + n, -1)
        share = _by_text(words, lengths * (np.cumsum(marks)[:-1] > 0)) / total
        found.append((f"gopher: duplicate {n}-grams", share, short & (share > limit)))
    return found


def _by_text(words: Words, values: np.ndarray) -> np.ndarray:
    """``(texts,)``: sums over each text's words."""
    sums = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(sums[words.first[1:]] - sums[words.first[:-1]])


def _lines(words: Words) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spans of the lines that are not blank, and the text each belongs to."""
    breaks = np.flatnonzero(words.data == 10)
    begin = np.concatenate([[0], breaks + 1])
    end = np.concatenate([breaks, [len(words.data)]])
    filled = np.searchsorted(words.begin, end) > np.searchsorted(words.begin, begin)  # a word begins in it
    begin, end = begin[filled], end[filled]
    return begin, end, np.searchsorted(words.texts, begin, side="right") - 1


def _runs(grams: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equal hashes of one text together: an order, where each run begins in it, and its length."""
    keys = grams ^ (texts.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(keys) else order
    return order, begins, np.diff(np.append(begins, len(keys)))


def _seen_before(grams: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Whether the same hash stood earlier in the same text."""
    order, begins, _ = _runs(grams, texts)
    again = np.ones(len(grams), bool)
    again[order[begins]] = False
    return again


def _starts_with(data: np.ndarray, begin: np.ndarray, end: np.ndarray, marks: tuple[bytes, ...]) -> np.ndarray:
    found = np.zeros(len(begin), bool)
    for mark in marks:
        places = np.minimum(begin[:, None] + np.arange(len(mark)), len(data) - 1)
        found |= (data[places] == np.frombuffer(mark, np.uint8)).all(axis=1) & (end - begin >= len(mark))
    return found


def _ends_with(data: np.ndarray, begin: np.ndarray, end: np.ndarray, marks: tuple[bytes, ...]) -> np.ndarray:
    found = np.zeros(len(begin), bool)
    for mark in marks:
        fits = end - begin >= len(mark)
        found |= fits & _starts_with(data, np.maximum(end - len(mark), 0), end, (mark,))
    return found
