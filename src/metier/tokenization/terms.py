"""Terms of a trade that a base cuts into many pieces, found in its texts, and the tokenizer that has them whole."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer

from metier.errors import MetierError

# a word with the space before it, as byte-level tokenizers see it; letters, inner hyphens and apostrophes
_WORDS = re.compile(r" ?[^\W\d_]+(?:[-'’][^\W\d_]+)*")
# English articles, pronouns, prepositions, conjunctions and auxiliaries; lists for search engines hold nouns as well
_FUNCTION_WORDS = (
    "a an the this that these those it its he she they we you i his her their our your him them us me my who which "
    "what of in on at by for from to with without into onto over under between among through during after before "
    "against about as than and or but nor if when while because so not no is are was were be been being am has have "
    "had do does did will would shall should can could may might must there such any each all both some other"
)
_MOST_COUNTED = 4_000_000  # distinct phrases held at once; then those seen least are dropped (lossy counting)
MIN_COUNT = 10
MAX_WORDS = 3


@dataclass(frozen=True)
class Term:
    """A string to be one token, with what it is made of in the base.

    Attributes:
        text: with its leading space, if it is to have one.
        pieces: the base's tokens for it.
        count: how often it occurs in the texts; 0 for one that was given and not looked for.
    """

    text: str
    pieces: tuple[int, ...]
    count: int

    @property
    def saved(self) -> int:
        """Tokens fewer on the texts, if no other term is added."""
        return self.count * (len(self.pieces) - 1)


def find_terms(
    texts: Iterable[str],
    encode: Callable[[str], Sequence[int]],
    most: int,
    *,
    max_words: int = MAX_WORDS,
    min_count: int = MIN_COUNT,
) -> list[Term]:
    """The words and phrases that save most tokens, best first, each valued at what those before it leave to save.

    Args:
        texts: the trade's texts, read once.
        encode: the base's token ids of a string, without special tokens.
        most: terms wanted; fewer come where no more save anything.
        max_words: longest phrase.
        min_count: rarest term.
    """
    counted = _count_phrases(texts, max_words)
    terms = [Term(text, tuple(encode(text)), n) for text, n in sorted(counted.items()) if n >= min_count]
    by_text = {term.text: term for term in terms if term.saved > 0}
    heap = [(-term.saved, text) for text, term in sorted(by_text.items())]
    heapq.heapify(heap)
    chosen: dict[str, Term] = {}
    while heap and len(chosen) < most:
        value, text = heapq.heappop(heap)
        now = _left_to_save(by_text[text], chosen)
        if now == -value:
            chosen[text] = by_text[text]
        elif now > 0:
            heapq.heappush(heap, (-now, text))
    return list(chosen.values())


def _left_to_save(term: Term, chosen: dict[str, Term]) -> int:
    """Tokens that a term saves beside those chosen: fewer pieces inside it, fewer occurrences outside of longer ones.

    Only whole-word parts and wholes are looked at, so this is a value to rank by; what is saved is measured after.
    """
    words = _WORDS.findall(term.text)
    count, pieces = term.count, len(term.pieces)
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            inner = chosen.get("".join(words[start:end]))
            if inner is not None:
                pieces -= len(inner.pieces) - 1
    for other in chosen.values():
        if len(other.text) > len(term.text) and _inside(term.text, other.text):
            count -= other.count
    return max(0, count) * max(0, pieces - 1)


def _inside(part: str, whole: str) -> bool:
    """Whether ``part`` stands in ``whole`` as whole words."""
    place = whole.find(part)
    if place < 0:
        return False
    after = whole[place + len(part) : place + len(part) + 1]
    return not after or after == " "


def _count_phrases(texts: Iterable[str], max_words: int) -> Counter[str]:
    """Words and phrases of neighbouring words, with their leading space.

    A phrase that begins or ends with an English function word (``of the``) is no term, however often it occurs.
    """
    function_words = frozenset(_FUNCTION_WORDS.split())
    found: Counter[str] = Counter()
    for text in texts:
        spans = [(match.start(), match.end()) for match in _WORDS.finditer(text)]
        for first, (start, end) in enumerate(spans):
            found[text[start:end]] += 1
            if text[start:end].strip().lower() in function_words:
                continue
            for begin, stop in spans[first + 1 : first + max_words]:
                if begin != end or text[begin] != " ":  # something stands between the two words
                    break
                end = stop
                if text[begin:stop].strip().lower() not in function_words:
                    found[text[start:end]] += 1
        if len(found) > _MOST_COUNTED:
            least = sorted(found.values())[len(found) // 2]
            found = Counter({phrase: n for phrase, n in found.items() if n > least})
    return found


def given_terms(words: Iterable[str], encode: Callable[[str], Sequence[int]]) -> list[Term]:
    """Terms that the user lists: each with a leading space and without, where the base cuts it into several tokens."""
    found = {}
    for word in words:
        bare = word.strip()
        for text in (f" {bare}", bare) if bare else ():
            pieces = tuple(encode(text))
            if len(pieces) > 1:
                found[text] = Term(text, pieces, 0)
    return list(found.values())


def add_terms(tokenizer: Any, terms: Sequence[Term]) -> list[Term]:
    """Add terms to a transformers tokenizer, and return those that came to be, in the order of their new ids.

    A term with a leading space also begins longer words; one without stands only between word ends, or it would cut
    through words that the base knows. A term that would not come back as it was (byte-level decoders read the Latin-1
    letters of an added token as bytes, where no space leads it) is left out.

    Raises:
        MetierError: no term can be added.
    """
    known = tokenizer.get_vocab()
    fitting = [term for term in terms if term.text not in known]
    trial = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    trial.add_tokens([_added(term) for term in fitting])
    kept = [
        term for term in fitting if trial.decode(trial.encode(term.text, add_special_tokens=False).ids) == term.text
    ]
    if not kept:
        raise MetierError(
            f"none of {len(terms)} terms can be added: the base has them already, or cannot write them back",
            fix="give other terms, or more text of the trade",
        )
    tokenizer.add_tokens([_added(term) for term in kept])
    return kept


def _added(term: Term) -> AddedToken:
    return AddedToken(term.text, single_word=term.text[0] != " ", normalized=False, special=False)
