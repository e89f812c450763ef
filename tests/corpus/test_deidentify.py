from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.corpus.deidentify import deidentify, deidentify_step, is_card, is_npi, luhn
from metier.corpus.text import Tally, Text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Write to jane.doe+x@mail.example.co.uk.", "Write to [EMAIL]."),
        ("Call (212) 555-0187 now", "Call [PHONE] now"),
        ("Call 1-800-555-0199, or 212.555.0187.", "Call [PHONE], or [PHONE]."),
        ("Reach us on +44 20 7946 0958 today", "Reach us on [PHONE] today"),
        ("Tel: 020 7946 0958", "Tel: [PHONE]"),
        ("IBAN DE89 3704 0044 0532 0130 00, please", "IBAN [IBAN], please"),
        ("pay GB82WEST12345698765432 at once", "pay [IBAN] at once"),
        ("Visa 4111 1111 1111 1111 expires", "Visa [CARD] expires"),
        ("Amex 378282246310005.", "Amex [CARD]."),
        ("His SSN is 078-05-1120.", "His SSN is [SSN]."),
        ("SSN 078051120", "SSN [SSN]"),
        ("seen by NPI: 1234567893", "seen by NPI: [NPI]"),
        ("MRN: A-123456 was admitted", "MRN: [MRN] was admitted"),
        ("Medical record number 00123456", "Medical record number [MRN]"),
        ("DOB: 03/04/1971, male", "DOB: [DATE_OF_BIRTH], male"),
        ("She was born on March 3, 1960 in Ohio", "She was born on [DATE_OF_BIRTH] in Ohio"),
        ("date of birth 3 March 1960", "date of birth [DATE_OF_BIRTH]"),
    ],
)
def test_each_kind_is_replaced(text: str, clean: str) -> None:
    assert deidentify(text)[0] == clean


@pytest.mark.parametrize(
    "text",
    [
        "DE89 3704 0044 0532 0130 02",  # checksums that do not hold
        "4111 1111 1111 1112",
        "NPI 1234567890",
        "Revenue 1,234,567 and 2010 2009 2008 2007, 12.5 13.5 14.5",
        "section 1002.14(b)(2)(ii) of 12 CFR 1002",
        "opened on 03/04/1971",  # a date, but nobody's birth
        "ISBN 978-3-16-148410-0, 666-12-3456",
        "at home @ noon",
    ],
)
def test_what_is_not_is_left(text: str) -> None:
    assert deidentify(text) == (text, [])


def test_counts_by_kind_and_never_shows_what_was_there() -> None:
    tally = Tally()
    texts = [Text(0, "a", "a@b.org, c@d.org and 078-05-1120", None, "a"), Text(1, "b", "nothing", None, "b")]
    assert [text.text for text in deidentify_step()(iter(texts), tally)] == ["[EMAIL], [EMAIL] and [SSN]", "nothing"]
    assert tally.to_json()["replaced"] == {"EMAIL": 2, "SSN": 1}
    assert "b.org" not in str(tally.to_json())


@given(st.text(st.sampled_from("0123456789 -+().,@aAzDE\n"), max_size=80))
def test_any_text_is_taken_and_a_second_pass_finds_no_checksummed_number(text: str) -> None:
    clean, _ = deidentify(text)
    assert not {"CARD", "IBAN", "NPI"} & set(deidentify(clean)[1])


@given(st.integers(0, 10**15))
def test_one_check_digit_of_ten_is_right(number: int) -> None:
    assert sum(luhn(f"{number}{digit}") for digit in range(10)) == 1


def test_checksums_of_published_examples() -> None:
    assert is_npi("1234567893")  # CMS, requirements for NPI check digit
    assert not is_npi("1234567894")
    assert is_card("5555 5555 5555 4444")
    assert not is_card("0000 0000 0000 0000")
