from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.corpus.quality import broken_rules, quality_step
from metier.corpus.text import Tally, Text
from metier.corpus.words import words_of
from tests.corpus.prose import WORDS, prose

SHORT_LINES = prose(1, 60).replace(" is ", ".\n") + "\n" + "\n".join(f"{w.title()} rose." for w in WORDS[:60])


def reason(text: str, rules: str = "standard") -> str:
    return broken_rules([text], rules)[0][0]  # type: ignore[arg-type]


def test_prose_passes() -> None:
    texts = [prose(seed, 60 + seed) for seed in range(60)]
    assert {found for found, _ in broken_rules(texts, "standard")} == {""}
    assert {found for found, _ in broken_rules(texts, "web")} == {""}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Too short to be of any use to the reader.", "gopher: too few words"),
        (prose(1) + " " + "a b c d e f g h i j " * 60, "gopher: mean word length"),
        (prose(1, 50) + " 10 200 3000" * 40, "gopher: words without letters"),
        (prose(1, 50) + " #bank" * 20 + " and the #market" * 9, "gopher: symbols"),
        (" ".join(f"wort{n} haus{n} baum{n}" for n in range(30)), "gopher: stop words"),
        ("\n".join(f"- item {prose(n, 5)}" for n in range(30)), "gopher: bullet lines"),
        ("\n".join(f"line {n} of the text and more…" for n in range(8)) + "\n" + prose(2), "gopher: ellipsis lines"),
        (prose(1) + "\nRead more of this." * 9, "gopher: duplicate lines"),
        (prose(1) + "\n" + "\n".join([prose(2, 40)] * 2 + list("abcdef")), "gopher: characters in duplicate lines"),
        (prose(1, 60) + " buy now" * 30, "gopher: most frequent 2-gram"),
        (prose(5, 80) + " " + prose(5, 80)[:250], "gopher: duplicate 5-grams"),
        ("inflation expectations remain anchored and the committee " * 3000, "gopher: most frequent 2-gram"),
    ],
)
def test_each_rule_drops_what_it_is_for(text: str, rule: str) -> None:
    assert reason(text) == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (prose(1) + " if (x) { return; }", "c4: curly bracket"),
        (prose(1) + " Lorem ipsum dolor.", "c4: lorem ipsum"),
        (prose(1, 90).replace(". ", ". Then\n").removesuffix("."), "fineweb: lines ending in punctuation"),
        (
            prose(1, 60).replace(" is ", ".\n") + "\n" + "\n".join(f"{w.title()} rose." for w in WORDS[:60]),
            "fineweb: short lines",
        ),
    ],
)
def test_rules_of_the_web_are_only_for_the_web(text: str, rule: str) -> None:
    assert reason(text) == ""
    assert reason(text, "web") == rule


def test_a_line_is_as_long_as_its_characters_in_every_script() -> None:
    latin = prose(1).lower() + "\n" + "\n".join(f"{word[:9]} rose and fell again." for word in WORDS[:60])
    cyrillic = latin.translate({code: code + 0x3D0 for code in range(ord("a"), ord("z") + 1)})
    found = [broken_rules([text], "web", language=None)[0] for text in (latin, cyrillic)]
    assert found[0] == found[1]
    assert found[0][0] == "fineweb: short lines"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=200), min_size=1, max_size=8))
def test_a_text_is_judged_the_same_alone_and_in_company(texts: list[str]) -> None:
    rules = broken_rules(texts, "web", min_words=1)
    assert rules == [broken_rules([text], "web", min_words=1)[0] for text in texts]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from("aBc é1.,\n"), max_size=40), min_size=1, max_size=6))
def test_words_and_ngrams_are_those_of_a_plain_loop(texts: list[str]) -> None:
    found = words_of(texts, by="space")
    plain = [text.lower().split() for text in texts]
    spans = zip(found.begin, found.end, strict=True)
    assert [bytes(found.data[b:e]).decode() for b, e in spans] == [word for words in plain for word in words]
    grams, at = found.ngrams(3)
    expected = [tuple(words[i : i + 3]) for words in plain for i in range(len(words) - 2)]
    assert len(grams) == len(expected) == len(at)
    for i, one in enumerate(expected):
        for j, other in enumerate(expected):
            assert (grams[i] == grams[j]) == (one == other)


def test_words_ignore_case_and_punctuation() -> None:
    assert (words_of(["The bank, (the) BANK!"]).hashes == words_of(["the bank the bank"]).hashes).all()


def test_drops_are_counted_with_the_value_and_a_sample() -> None:
    tally = Tally()
    texts = [Text(n, str(n), "too short", None, "g") for n in range(5)] + [Text(9, "9", prose(1), None, "g")]
    assert [text.id for text in quality_step("standard")(iter(texts), tally)] == ["9"]
    assert tally.dropped == {"gopher: too few words": 5}
    samples = tally.samples["gopher: too few words"]
    assert len(samples) == 3
    assert samples[0] == {"id": "0", "detail": "2", "text": "too short"}
