from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from metier.errors import MetierError
from metier.tokenization import Term, add_terms, find_terms, given_terms
from tests.tokenization.corpus import texts


def letters(text: str) -> list[int]:
    """A base that knows single characters alone."""
    return [ord(char) for char in text]


def test_what_saves_most_comes_first_and_overlap_is_not_counted_twice() -> None:
    some = ["the interest rate swap, " * 20 + "a swap " * 30]
    found = find_terms(some, letters, 5)
    assert found[0].text == " interest rate swap" or found[0].text == "the interest rate"
    assert len({term.text for term in found}) == len(found)
    assert all(term.saved > 0 for term in found)
    # the rest of a phrase whose whole is chosen saves nothing of its own
    assert not {" interest", " rate"} <= {term.text for term in found[:3]}


def test_rare_words_and_words_that_are_whole_already_are_no_terms() -> None:
    known = {" rate": [1], "rate": [1]}
    found = find_terms(["rate rate rate " * 10 + "once"], lambda t: known.get(t, letters(t)), 50, max_words=1)
    assert found == []


def test_phrases_do_not_cross_punctuation() -> None:
    found = find_terms(["net, income " * 30], letters, 50)
    assert not any("net" in term.text and "income" in term.text for term in found if " income net" not in term.text)


def test_phrases_neither_begin_nor_end_with_a_function_word() -> None:
    found = {term.text for term in find_terms(["the rate of return on assets is of the essence. " * 30], letters, 99)}
    assert " rate of return" in found
    assert " return on assets" in found
    assert not found & {" of the", " rate of", "the rate", " of return", " is of the", " of the essence"}


def test_given_terms_with_and_without_a_space() -> None:
    found = given_terms(["EBITDA", " ", "a"], letters)
    assert [term.text for term in found] == [" EBITDA", "EBITDA", " a"]


def test_added_terms_are_whole_and_nothing_else_changes(toy_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(toy_base)
    size = len(tokenizer)

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    terms = given_terms(["amortization", "Société", "rate swap"], encode)
    before = encode("preamortization corporate")
    kept = add_terms(tokenizer, terms)
    # without its space a term of Latin-1 letters would not be written back
    assert [term.text for term in kept] == [" amortization", "amortization", " Société", " rate swap", "rate swap"]
    assert [tokenizer.convert_tokens_to_ids(term.text) for term in kept] == list(range(size, size + 5))
    assert encode("the amortization")[-1] == size
    assert encode("amortization")[0] == size + 1
    assert encode("preamortization corporate") == before
    for text in (*texts(40), "Société", " amortizations", "the rate swaps"):
        assert tokenizer.decode(encode(text)) == text


def test_nothing_to_add(toy_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(toy_base)
    with pytest.raises(MetierError, match="none of 1 terms"):
        add_terms(tokenizer, [Term("Société", (1, 2), 3)])
