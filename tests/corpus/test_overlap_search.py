"""Everything that is planted is found, and nothing that is not there: against a search of every pair of places."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.corpus import folded
from metier.corpus.folded import Piece, cut, fold
from metier.corpus.overlap import WIDTHS, Found, Questions
from tests.corpus.prose import prose

WORD_SETS = (
    "patient’s fever café β-blocker 37.0°C x-ray naïve 12 mg/dl Σ",
    "of the a in to is and for it on",
    "dihydrofolatereductase immunoelectrophoresis hypertriglyceridaemia methylenetetrahydrofolate",
    "ﬁbrillation Größe de\u0301bit ｆｅｖｅｒ ﬃ ậ 혈압 ½",
    "发热 患者 糖尿病 高血压 治疗方案 最可能的诊断是什么 𠀀𠀁",
)
GAPS = (" ", " ", " ", "  ", "\n", ", ", " (", ") ", "; ", "—", "\t\n ", "… ")


def text_of(generator: random.Random, words: int) -> str:
    vocabulary = [word for words in WORD_SETS for word in words.split()]
    return "".join(generator.choice(vocabulary) + generator.choice(GAPS) for _ in range(words))


def apart(letter: str) -> str:
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", letter).casefold())
    if ord(letter) >= 1 << 16 or any(unicodedata.category(part)[0] not in "LNM" for part in parts):
        return letter
    return parts


def naive(text: str) -> tuple[str, list[int], list[int]]:
    """Folded by hand, with the begin and end of each place."""
    codes, begin, end = " ", [0], [0]
    for place, letter in enumerate(text):
        kind = unicodedata.category(letter)
        if kind == "Cf":
            continue
        if kind[0] in "LNM":
            low = apart(letter)
            more = len(low) - 1  # a part of a letter is none of its characters
            codes += low
            begin, end = [*begin, place, *[place + 1] * more], [*end, *[place] * more, place + 1]
        elif codes[-1] == " ":
            end[-1] = place + 1
        else:
            codes, begin, end = codes + " ", [*begin, place], [*end, place + 1]
    if codes[-1] != " ":
        codes, begin, end = codes + " ", [*begin, len(text)], [*end, len(text)]
    return codes, begin, end


def by_hand(question: str, text: str) -> set[str]:
    """The widths that any run of ``text`` reaches, by comparing all places with all places."""
    q, q_begin, q_end = naive(question)
    t, t_begin, t_end = naive(text)
    runs = np.zeros((len(q) + 1, len(t) + 1), np.int32)  # the length of the run that ends there
    equal = np.array(list(q))[:, None] == np.array(list(t))[None, :]
    for row in range(len(q)):
        runs[row + 1, 1:] = np.where(equal[row], runs[row, :-1] + 1, 0)
    found = set()
    more = np.zeros_like(equal)
    more[:-1, :-1] = equal[1:, 1:]
    for i, j in np.argwhere(equal & ~more & (runs[1:, 1:] > 2)):  # longest runs
        size = int(runs[i + 1, j + 1])
        a, b = i + 1 - size, j + 1 - size
        width = q_end[i] - q_begin[a]
        if q[a] == " ":
            width -= max(0, q_end[a] - q_begin[a] - (t_end[b] - t_begin[b]))
        if q[i] == " ":
            width -= max(0, q_end[i] - q_begin[i] - (t_end[j] - t_begin[j]))
        spare = 1 if len(q) >= 34 else 0  # a longer question need not stand between other words
        whole = a <= spare and i >= len(q) - 1 - spare and q.count(" ") > 1
        words = q[a : i + 1].count(" ") - 1
        reached = (whole, width >= 512 and size >= 32, width >= 120 and size >= 32, words >= 13)
        found |= {name for name, yes in zip(WIDTHS, reached, strict=True) if yes}
    return found


def widths_of(found: list[Found], question: int) -> set[str]:
    return {name for one in found if one.question == question for bit, name in enumerate(WIDTHS) if one.bits >> bit & 1}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9))
def test_just_what_a_search_of_all_places_finds(seed: int) -> None:
    generator = random.Random(seed)
    questions = [text_of(generator, generator.choice([1, 3, 8, 12, 14, 30, 90])) for _ in range(3)]
    texts = []
    for _ in range(3):
        parts = [text_of(generator, generator.randrange(8))]
        for _ in range(generator.randrange(1, 3)):
            question = generator.choice(questions)
            begin = generator.randrange(len(question))
            size = generator.choice([5, 60, 117, 118, 119, 120, 121, 122, 123, 140, 511, 512, 513, len(question)])
            part = question[begin : begin + size] if generator.random() < 0.8 else question
            form = generator.choice([str, str, str.upper, lambda text: unicodedata.normalize("NFD", text)])
            parts.append(form(part))
        texts.append("".join([*parts, text_of(generator, generator.randrange(8))]))
    index = Questions({"task": questions}, shortest=1)
    found = list(index.search(piece for n, text in enumerate(texts) for piece in cut(n, [text], index.margin)))
    for number, text in enumerate(texts):
        here = [one for one in found if one.piece.document == number]
        for question in range(3):
            assert widths_of(here, question) == by_hand(questions[question], text), (question, text)


ENGLISH = (
    "A 54-year-old man has difficulty swallowing; after first taking efficient flecainide for five days he flushes."
)
GERMAN = (
    "Ein Patient klagt über Müdigkeit, Übelkeit und plötzliche Schwäche in der großen Straße; "
    "was ist zu tun, Herr Weiß?"
)
KOREAN = (
    "환자는 이틀 전부터 가슴에 심한 통증과 발열 및 기침이 있으며 혈압이 높습니다. "
    "다음 중 가장 적절한 치료는 무엇입니까? 하나를 고르십시오."
)


def ligatures(text: str) -> str:
    for letters, one in (("ffi", "ﬃ"), ("fi", "ﬁ"), ("fl", "ﬂ"), ("ff", "ﬀ")):
        text = text.replace(letters, one)
    return text


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


@pytest.mark.parametrize("form", [ligatures, full_width, str.upper, lambda text: unicodedata.normalize("NFD", text)])
@pytest.mark.parametrize("question", [ENGLISH, GERMAN, KOREAN])
@pytest.mark.parametrize("swap", [False, True])
def test_a_question_is_found_however_it_was_encoded(question: str, form: Callable[[str], str], swap: bool) -> None:
    asked, written = (form(question), question) if swap else (question, form(question))
    text = f"Vor ﬁelem Text: {written} Und dahinter."
    (found,) = Questions({"task": [asked]}).find([text])
    match = next(one for one in found if "whole question" in one.widths)
    assert text[match.begin : match.end] == written.rstrip("?.？．")


def test_part_of_a_letter_at_an_edge_is_none_of_the_characters() -> None:
    same = prose("same", 14)
    text = f"Ra é{same}ﬁ x"
    (found,) = Questions({"task": [f"xe\u0300{same}fu"]}, shortest=20).find([text])
    assert {text[one.begin : one.end] for one in found} == {same}


MARKED = st.text(
    st.sampled_from("aeosAEßzậéñṩḍ̇ṩ가각힣がパשּׂאלﻻأ\u0300\u0301\u0323\u0302\u0327\u0307\u05c1\u05bc .\u00ad"),
    max_size=30,
)


@given(MARKED)
def test_texts_that_unicode_calls_the_same_fold_to_the_same(text: str) -> None:
    composed, decomposed = (fold([Piece(0, unicodedata.normalize(form, text))]) for form in ("NFC", "NFD"))
    assert composed.codes.tolist() == decomposed.codes.tolist()
    assert (np.diff(composed.raw) >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_planted_in_long_texts_across_every_boundary(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few thousand characters, blocks of any size: the same as in one text, and at the same place."""
    monkeypatch.setattr(folded, "PIECE", 3000)
    generator = random.Random(seed)
    questions = [prose(f"{seed} q{n}", generator.randrange(25, 130)) for n in range(40)]
    document, planted = "", {}
    for number, question in enumerate(questions):
        document += prose(f"{seed} d{number}", generator.randrange(1, 160)) + " "
        begin = 0 if number % 2 else generator.randrange(len(question) - 120)
        part = question[begin : begin + 120] if number % 2 == 0 else question
        planted[number] = len(document)
        document += part.replace(" ", "\n   ") + " "
    index = Questions({"task": questions})
    edges = sorted(generator.sample(range(len(document)), 25))
    blocks = [document[a:b] for a, b in zip([0, *edges], [*edges, len(document)], strict=True)]
    found = list(index.search(cut(7, blocks, index.margin)))
    assert len({one.piece.offset for one in found}) > 5
    for number in planted:
        widths = widths_of(found, number)
        assert "120 characters" in widths, number
        assert ("whole question" in widths) == (number % 2 == 1)
        places = {one.piece.offset + one.begin for one in found if one.question == number}
        assert any(abs(place - planted[number]) < 40 for place in places), number
    for one in found:
        assert (
            document[one.piece.offset + one.begin : one.piece.offset + one.end] == one.piece.text[one.begin : one.end]
        )


def test_a_run_that_many_questions_share_is_found_in_all_of_them() -> None:
    same = prose("same", 30)
    questions = [f"{prose(n, 40)} {same} {prose(-n, 30)}" for n in range(1, 300)]
    index = Questions({"task": questions})
    found = list(index.search(cut(0, [f"{prose('x', 20)} {same} {prose('y', 20)}"], index.margin)))
    assert {one.question for one in found} == set(range(299))


def test_no_words_no_texts_and_lone_surrogates_are_no_fault() -> None:
    index = Questions({"task": ["?!", "", "one"], "none": []}, shortest=1)
    assert len(index) == 1
    texts = ["", "…", "one", "\ud800 one \uffff one", "one" * 3, "on\u00ade"]
    assert [len(found) for found in index.find(texts)] == [0, 0, 1, 2, 0, 1]
    assert Questions({}).find(["text"]) == [[]]
