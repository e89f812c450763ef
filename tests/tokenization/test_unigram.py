"""The Unigram trainer against plain enumeration."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.tokenization.lattice import expected_counts, find_substrings, lay_out
from metier.tokenization.unigram import train_unigram
from metier.tokenization.words import count_windows
from tests.tokenization.corpus import texts

# few different bytes, zero among them, so that much repeats
corpora = st.dictionaries(
    st.lists(st.sampled_from([0, 97, 98, 255]), min_size=1, max_size=9).map(bytes),
    st.integers(1, 5),
    min_size=1,
    max_size=8,
)


def pieces_of(strings: dict[bytes, int], longest: int) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    for string, count in strings.items():
        for start in range(len(string)):
            for end in range(start + 1, min(len(string), start + longest) + 1):
                found[string[start:end]] += count
    return found


@given(corpora, st.integers(1, 10))
@settings(deadline=None, max_examples=150)
def test_substrings_and_their_frequencies(strings: dict[bytes, int], longest: int) -> None:
    layout = lay_out(list(strings), list(strings.values()))
    found = find_substrings(layout, longest)
    expected = {p: n for p, n in pieces_of(strings, longest).items() if n >= 2 or len(p) == 1}
    names = []
    for place, length in zip(found.place, found.length, strict=True):
        name, at = b"", int(place)
        for _ in range(length):
            name += bytes([layout.codes[at]])
            at = int(layout.following[at])
        names.append(name)
    assert dict(zip(names, found.frequency.tolist(), strict=True)) == expected
    for row in range(longest):
        for place, number in enumerate(found.at[row]):
            if number >= 0:
                assert found.length[number] == row + 1
                assert layout.codes[place] == names[number][0]


@given(corpora)
@settings(deadline=None, max_examples=100)
def test_a_substring_that_a_longer_one_makes_redundant_is_no_candidate(strings: dict[bytes, int]) -> None:
    layout = lay_out(list(strings), list(strings.values()))
    found = find_substrings(layout, 9)
    everything = pieces_of(strings, 9)
    longer: defaultdict[bytes, int] = defaultdict(int)
    for piece, count in everything.items():
        for part in (piece[1:], piece[:-1]):
            longer[part] = max(longer[part], count)
    redundant = sum(n >= 2 and longer[p] == n for p, n in everything.items())
    assert int((~found.maximal).sum()) == redundant


def enumerated(strings: dict[bytes, int], chances: dict[bytes, float]) -> tuple[dict[bytes, float], float]:
    """Expected counts over all segmentations, one by one."""
    expected: defaultdict[bytes, float] = defaultdict(float)
    total = 0.0

    def ways(string: bytes) -> list[list[bytes]]:
        if not string:
            return [[]]
        heads = [string[:end] for end in range(1, len(string) + 1) if string[:end] in chances]
        return [[head, *rest] for head in heads for rest in ways(string[len(head) :])]

    for string, count in strings.items():
        weights = [(way, math.prod(chances[piece] for piece in way)) for way in ways(string)]
        whole = sum(weight for _, weight in weights)
        total += count * math.log(whole)
        for way, weight in weights:
            for piece in way:
                expected[piece] += count * weight / whole
    return expected, total


@given(corpora, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_expected_counts_are_those_of_all_segmentations(strings: dict[bytes, int], seed: int) -> None:
    layout = lay_out(list(strings), list(strings.values()))
    found = find_substrings(layout, 5)
    drawn = np.random.default_rng(seed).uniform(0.01, 1, len(found.length))
    names = []
    for place, length in zip(found.place, found.length, strict=True):
        at, name = int(place), b""
        for _ in range(length):
            name += bytes([layout.codes[at]])
            at = int(layout.following[at])
        names.append(name)
    at = np.where(found.at < 0, len(names), found.at).astype(np.int32)
    counts, likelihood = expected_counts(layout, at, np.append(np.log(drawn), -np.inf).astype(np.float32))
    expected, total = enumerated(strings, dict(zip(names, drawn.tolist(), strict=True)))
    assert likelihood == pytest.approx(total, rel=1e-4, abs=1e-4)
    assert counts[:-1] == pytest.approx([expected[name] for name in names], rel=1e-3, abs=1e-4)


def test_phrases_become_pieces_and_probabilities_add_up() -> None:
    chances = train_unigram(count_windows(texts()), 500)
    assert sum(chances.values()) == pytest.approx(1)
    assert any(b" " in piece.strip() for piece in chances)
    seen = {byte for text in texts() for byte in text.encode("utf-8")}
    assert {bytes([byte]) for byte in seen} <= set(chances)
    assert max(map(len, chances)) <= 16


def test_pruning_reaches_the_size_asked_for() -> None:
    few = train_unigram(count_windows(texts(400)), 120)
    assert 100 <= len(few) <= 120


def test_the_order_of_texts_does_not_matter() -> None:
    assert train_unigram(count_windows(texts()), 250) == train_unigram(count_windows(texts()[::-1]), 250)


def test_nothing_to_learn_from() -> None:
    with pytest.raises(MetierError, match="no text"):
        train_unigram({}, 300)
    with pytest.raises(MetierError, match="no room for the 3 different bytes"):
        train_unigram({b"abc": 2}, 2)


def test_windows_are_bounded_and_lose_nothing() -> None:
    text = "word " * 1000 + "123" + "語" * 500 + "\n"
    windows = count_windows([text])
    assert max(map(len, windows)) <= 192
    assert sum(len(window) * count for window, count in windows.items()) == len(text.encode("utf-8"))
