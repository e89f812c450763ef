"""De-identification: what identifies a person is replaced by its kind, counted, and never shown.

Checksums decide where a number has one: IBAN (ISO 13616, mod 97), card (ISO/IEC 7812, Luhn), NPI (Luhn over 80840 and
the number; 45 CFR 162.406). Kinds without one need their form or the word in front: MRN, date of birth, phone, SSN.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from metier.corpus.text import Step, Tally, Texts

Span = tuple[int, int, str]
Finder = Callable[[str], Iterator[Span]]

_EMAIL = re.compile(r"[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}\b")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = rf"(?:\d{{1,4}}[/.-]\d{{1,2}}[/.-]\d{{1,4}}|{_MONTH} {_DAY},? \d{{4}}|{_DAY}(?: of)? {_MONTH},? \d{{4}})"
_BIRTH = re.compile(rf"\b(?:dob|d\.o\.b\.?|date of birth|birth ?date|born(?: on)?)[\s:=\-–()]{{0,4}}({_DATE})", re.I)
_MRN = re.compile(
    r"\b(?:mrn|mr ?#|medical record(?: number| no\.?| #)?|(?:patient|hospital)(?: id| number| no\.?))"
    r"(?: is)?[\s:#=]{0,4}([A-Z]{0,4}-?\d[\dA-Z-]{3,14})\b",
    re.I,
)
_NPI = re.compile(r"\bnpi(?: number| no\.?| is)?[\s:#=()]{0,4}(\d{10})\b", re.I)
_SSN_NAMED = re.compile(
    r"\b(?:ssn|social security(?: number| no\.?)?)(?: is)?[\s:#=]{0,4}(\d{3}[- ]?\d{2}[- ]?\d{4})\b", re.I
)
_PHONE_NAMED = re.compile(
    r"\b(?:tel|telephone|phone|fax|mobile|cell|call)\b\.?(?: number| no\.?| at| us at)?[\s:]{0,3}"
    r"(\+?\(?\d[\d ().\-]{5,18}\d)\b",
    re.I,
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2} ?(?:[A-Z0-9]{4} ?){2,7}[A-Z0-9]{0,4}\b")
# every number that could be a card, an SSN or a phone; looked at closely afterwards
_DIGITS = re.compile(r"(?<![\w.,$])[+(]?\d[\d ().\xa0-]{7,30}\d(?![\w,])")
_CARD = re.compile(r"(?<![\d-])[2-6](?:[ -]?\d){12,18}(?![\d-])")
_SSN = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_PHONE = re.compile(
    r"(?<![\d-])(?:\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)|\d{1,4})(?:[ .-]?\d{2,4}){2,4}"
    r"|(?:1[ .-]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])[2-9]\d{2}[ .-]\d{4})(?![\d-])"
)
# lengths of the IBAN registry (SWIFT, release 99) for the countries whose accounts are met most
_IBAN_LENGTHS = {
    **{"AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18},
    **{"FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20},
    **{"LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24, "SE": 24, "SI": 19, "SK": 24},
    **{"AE": 23, "IL": 23, "SA": 24, "TR": 26, "BR": 29, "QA": 29, "KW": 30, "UA": 29},
}


def deidentify_step(finder: Finder | None = None) -> Step:
    """Put ``[EMAIL]``, ``[PHONE]``, … in the place of what identifies a person.

    Args:
        finder: finds more, such as names (:func:`metier.corpus.presidio.presidio_finder`).
    """

    def step(texts: Texts, tally: Tally) -> Texts:
        for text in texts:
            clean, kinds = deidentify(text.text, finder)
            tally.replaced.update(kinds)
            yield replace(text, text=clean) if kinds else text

    return step


def deidentify(text: str, finder: Finder | None = None) -> tuple[str, list[str]]:
    """The text with placeholders, and the kinds of what was replaced, in order."""
    spans = list(find(text)) + (list(finder(text)) if finder else [])
    if not spans:
        return text, []
    pieces, kinds, done = [], [], 0
    for begin, end, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if begin >= done:  # of two that overlap the first holds
            pieces += [text[done:begin], f"[{kind}]"]
            kinds.append(kind)
            done = end
    return "".join([*pieces, text[done:]]), kinds


def find(text: str) -> Iterator[Span]:
    """Begin, end and kind of everything found; spans may overlap."""
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield *match.span(), "EMAIL"
    if not _DIGITS.search(text) and not re.search(r"\d{4}", text):
        return
    lower = text.lower()
    named = (
        (("birth", "dob", "d.o.b", "born"), _BIRTH, "DATE_OF_BIRTH", None),
        (("mrn", "mr #", "mr#", "medical record", "patient", "hospital"), _MRN, "MRN", None),
        (("npi",), _NPI, "NPI", is_npi),
        (("ssn", "social security"), _SSN_NAMED, "SSN", None),
        (("tel", "phone", "fax", "mobile", "cell", "call"), _PHONE_NAMED, "PHONE", None),
    )
    for words, pattern, kind, check in named:
        if any(word in lower for word in words):
            for match in pattern.finditer(text):
                if check is None or check(match[1]):
                    yield *match.span(1), kind
    for match in _IBAN.finditer(text):
        if length := iban_length(match[0]):
            yield match.start(), match.start() + length, "IBAN"
    for number in _DIGITS.finditer(text):
        for pattern, kind in ((_CARD, "CARD"), (_SSN, "SSN"), (_PHONE, "PHONE")):
            for match in pattern.finditer(text, *number.span()):
                if kind != "CARD" or is_card(match[0]):
                    yield *match.span(), kind


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def is_card(number: str) -> bool:
    """A payment card's number: 13 to 19 digits, not all alike, with its check digit."""
    digits = re.sub(r"\D", "", number)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def is_npi(number: str) -> bool:
    """A United States National Provider Identifier."""
    return number[0] in "12" and luhn("80840" + number)


def iban_length(found: str) -> int:
    """Characters of ``found`` that are an IBAN with a valid checksum; 0 if none is."""
    length, kept = _IBAN_LENGTHS.get(found[:2], 0), ""
    for place, character in enumerate(found, 1):
        kept += character if character != " " else ""
        if len(kept) == length:
            number = "".join(str(int(c, 36)) for c in kept[4:] + kept[:4])
            return place if int(number) % 97 == 1 else 0
    return 0
