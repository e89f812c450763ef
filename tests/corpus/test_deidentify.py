from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.corpus.deidentify import deidentify, deidentify_step, is_card, is_npi, luhn
from metier.corpus.presidio import presidio_finder
from metier.corpus.text import Tally, Text
from metier.errors import MetierError


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
        ("her MRN (00123456), Med. Rec. No. 445566", "her MRN ([MRN]), Med. Rec. No. [MRN]"),
        ("Hosp. No. A445566; Chart #: 77881", "Hosp. No. [MRN]; Chart #: [MRN]"),
        ("DOB: Sunday, March 14, 1962", "DOB: Sunday, [DATE_OF_BIRTH]"),
        ("DOB: the 14th of March, 1962", "DOB: the [DATE_OF_BIRTH]"),
        ("Ph. 02 9551 8111", "Ph. [PHONE]"),
        ("DOB: 03/04/1971, male", "DOB: [DATE_OF_BIRTH], male"),
        ("She was born on March 3, 1960 in Ohio", "She was born on [DATE_OF_BIRTH] in Ohio"),
        ("date of birth 3 March 1960", "date of birth [DATE_OF_BIRTH]"),
        # a number behind it, in front of it, and several
        ("card 4111 1111 1111 1111 12/27", "card [CARD] 12/27"),
        ("card 4111-1111-1111-1111 123", "card [CARD] 123"),
        ("until 4111 1111 1111 1111 2027", "until [CARD] 2027"),
        ("4111 1111 1111 1111 5500 0000 0000 0004", "[CARD] [CARD]"),
        ("123-45-6789 212-555-0123 4111 1111 1111 1111", "[SSN] [PHONE] [CARD]"),
        ("Smith,John,123-45-6789,212-555-0123,4111111111111111", "Smith,John,[SSN],[PHONE],[CARD]"),
        ("call 212 555 0123 4111 1111 1111 1111", "call [PHONE][CARD]"),  # where one ends cannot be told
        ("$4111111111111111, no.4111111111111111", "$[CARD], no.[CARD]"),
        # other blanks and hyphens, over a line's end
        ("4111\xa01111\xa01111\xa01111, 4111–1111–1111–1111", "[CARD], [CARD]"),
        ("4111 1111\n1111 1111", "[CARD]"),
        ("DE89\xa03704\xa00044\xa00532\xa00130\xa000", "[IBAN]"),
        ("DE89-3704-0044-0532-0130-00, de89370400440532013000", "[IBAN], [IBAN]"),
        ("EG38 0019 0005 0000 0000 2631 8000 2", "[IBAN]"),
        ("BE68 5390 0754 7034 GB82 WEST 1234 5698 7654 32 BIC", "[IBAN] [IBAN] BIC"),
        # phones as they are written without a word in front
        ("Ring (555) 123-4567 today", "Ring [PHONE] today"),
        ("at 212 555 0123 or", "at [PHONE] or"),
        ("00 44 20 7946 0958 and 020 7946 0958", "[PHONE] and [PHONE]"),
        ("01632 960123, 0121 496 0123", "[PHONE], [PHONE]"),
        ("+1.212.555.0123", "[PHONE]"),
        # births
        (
            "DOB 12-Mar-1956, D.O.B. 3.12.56, dob:19560312",
            "DOB [DATE_OF_BIRTH], D.O.B. [DATE_OF_BIRTH], dob:[DATE_OF_BIRTH]",
        ),
        ("Date of Birth (dd/mm/yyyy): 03/12/1956", "Date of Birth (dd/mm/yyyy): [DATE_OF_BIRTH]"),
        ("Birthday: 3 March 1956", "Birthday: [DATE_OF_BIRTH]"),
        ("born in Leeds on 3 March 1956", "born in Leeds on [DATE_OF_BIRTH]"),
        ("was born on the 14th of March, 1962", "was born on the [DATE_OF_BIRTH]"),
        ("date of birth was 14/Mar/1962, dob 03141962", "date of birth was [DATE_OF_BIRTH], dob [DATE_OF_BIRTH]"),
        ("M.R.N. 4455667; med rec #: 123456", "M.R.N. [MRN]; med rec #: [MRN]"),
        ("National Provider Identifier: 1234567893", "National Provider Identifier: [NPI]"),
        ("İ MRN 12-34-56", "İ MRN [MRN]"),
        # in other notations and languages
        (
            "A. Noe (b. 14 March 1962), B. Noe (b. July 30, 1962; d. 2001)",
            "A. Noe (b. [DATE_OF_BIRTH]), B. Noe (b. [DATE_OF_BIRTH]; d. 2001)",
        ),
        ("geb. 14.03.1962, geb. am 14.3.62", "geb. [DATE_OF_BIRTH], geb. am [DATE_OF_BIRTH]"),
        (
            "Geburtsdatum: 14.03.1962 (* 14. März 1962 in Bonn)",
            "Geburtsdatum: [DATE_OF_BIRTH] (* [DATE_OF_BIRTH] in Bonn)",
        ),
        ("née le 14 août 1962; nacido el 14 de marzo de 1962", "née le [DATE_OF_BIRTH]; nacido el [DATE_OF_BIRTH]"),
        ("Tel. 030 / 1234567, Telefon: 0221/1234-567", "Tel. [PHONE], Telefon: [PHONE]"),
        ("Handy (0151) / 23456789, Tel. +49 30/1234567", "Handy [PHONE], Tel. [PHONE]"),
        ("Tél. : 01 23 45 67 89, Tel. no. 555-0187, Tel 040.12 34 56", "Tél. : [PHONE], Tel. no. [PHONE], Tel [PHONE]"),
        ("Tel: 020 7946 0958 / 020 7946 0959; 0049 30 1234567", "Tel: [PHONE] / [PHONE]; [PHONE]"),
        ("Patientennummer 4711-0815", "Patientennummer [MRN]"),
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
        "1999-2000 2000-2001 2001-2002",
        "2019 2018 2017 2016; 2015\n2014\n2013\n2012",
        "Production 52700 62408 23238; 40000000 6000000 = 6.67",  # rows whose check digit is right by chance
        "Net 4040\n4040\n1648\n1648\n",  # a column
        "Held to maturity 482 885 1544 900, $212.555.0123, 848 827 2010",
        "pages 212-555, 1234-1250; vol. 345-678-9012-345",
        "change +3.55 12.34 15.22 and 0.4111111111111111",
        "revenue of 4,111,111,111,111,111",
        "file 0001000180-10-000008, /web/20190828180344/",
        "born in Leeds and died on 3 March 2001",
        "born in the spring of 1962; National Provider Identifier 1234567890",
        "first call 15.06.2026, the call at 101.25 102.50, may call 2025-2030 bonds, call 2025-06-15",
        "Mobile 2010 2009 2008, Mobile 10 000 000, Exxon Mobil 1995 1996, mobil 03/2020 1234567",
        "Cell 92 (1998) 829-839; doi.org/10.1016/j.cell.2008.07.041",
        "Call AT3808475553, ISIN DE0005140008 WKN 514000, CUSIP 037833100, US0378331005 31.12.2020",
        "b. December 31, 2020 (b. 12 per cent), (* 31.12.2020: restated), Gebäude 14.03.1962, Nr. 030 / 1234567",
        "fy12 34 of the 22 1234 5678 9012 in de12 3704 0044 0532 0130 00",
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


WORDS = st.text(st.characters(exclude_categories=["Nd", "Cs"]), max_size=40)


@given(WORDS, st.sampled_from(["4111 1111 1111 1111", "123-45-6789", "(212) 555-0123"]), WORDS)
def test_a_number_among_any_words_goes_and_they_stay(before: str, number: str, after: str) -> None:
    clean, kinds = deidentify(f"{before} {number} {after}")
    assert clean == f"{before} [{kinds[0]}] {after}"


@given(st.integers(0, 10**15))
def test_one_check_digit_of_ten_is_right(number: int) -> None:
    assert sum(luhn(f"{number}{digit}") for digit in range(10)) == 1


def test_checksums_of_published_examples() -> None:
    assert is_npi("1234567893")  # CMS, requirements for NPI check digit
    assert not is_npi("1234567894")
    assert is_card("5555 5555 5555 4444")
    assert not is_card("0000 0000 0000 0000")


def test_names_in_a_language_that_presidio_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SimpleNamespace(supported_languages=["en"])
    monkeypatch.setitem(sys.modules, "presidio_analyzer", SimpleNamespace(AnalyzerEngine=lambda: engine))
    assert presidio_finder("en")
    with pytest.raises(MetierError, match=r"finds names in en, not in de[\s\S]*corpus\.names"):
        presidio_finder("de")
