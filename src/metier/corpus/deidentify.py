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

_EMAIL = re.compile(r"(?<![\w.+%'-])[\w.+%'-]+@(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}\b")
_MONTH = (  # in English, German, French and Spanish
    r"(?:jan|feb|fév|mar|mär|mrz|apr|avr|abr|may|mai|jun|jul|jui|aug|août|ago|sep|oct|okt|nov|dec|déc|dez|dic|ene)"
    r"[a-zà-ÿ]*\.?"
)
_WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day,? "
_DAY = r"\d{1,2}(?:st|nd|rd|th|er)?"
_DATE = (
    r"(?:\d{1,4} ?[/.-] ?\d{1,2} ?[/.-] ?\d{1,4}|(?:19|20)\d{6}|\d{4}(?:19|20)\d\d"
    rf"|{_MONTH}[ -]?{_DAY},?[ -]\d{{4}}|{_DAY}(?: of| de)?[ ./-]{{0,2}}{_MONTH},?(?: de)?[ /-]?\d{{2,4}})(?!\d)"
)
# (dd/mm/yyyy); in Leeds
_OF = r"(?:\s{0,3}\([a-z/. -]{2,14}\)| in(?:(?! and | but | is | was | who | which )[^\d\n;:]){2,30}?)?"
_IS = r"(?: number\b| no\b)?\.?(?: is\b)?"
# behind "call", "cell" or "mobile" in texts of trade and science: days, months, years, prices, sums, a journal's volume
_NO_PHONE = "|".join(
    (
        r"(?:\d{1,2}[./-])?\d{1,2}[./-](?:19|20)\d\d(?!\d)",
        r"(?:19|20)\d\d(?:[./-]\d\d[./-]\d\d(?!\d)|\.\d\d\.\d{3}(?!\d)|[ -]{1,3}(?:19|20)\d\d(?!\d))",
        r"(?!0\d)\d+\.\d\d?(?![\d.])",
        r"[1-9]\d{0,2}(?: \d{3})* 000(?! ?\d)",
        r"\d{1,4} \((?:19|20)\d\d\)",
    )
)
_SLASHED = r"(?:\(?0\d{1,5}\)?|\+\d{1,3} ?\(?0?\)?\d{2,5}) ?/ ?\d[\d -]{3,10}\d"  # 030 / 1234567
# by kind: the words that name a number, and what stands behind them up to its end; all in lower case
_NAMED = {
    "DATE_OF_BIRTH": (
        (
            *("dob", "d.o.b", "date of birth", "birth date", "birthdate", "birthday", "born"),
            *("geb", "geb.-datum", "geboren", "geburtsdatum", "geburtstag"),
            *("né le", "née le", "date de naissance", "nacido el", "nacida el", "fecha de nacimiento"),
        ),
        re.compile(rf"\.?{_OF}(?: on| is| was| am)?(?: the)?[\s:=()|*,-]{{0,6}}(?:the |{_WEEKDAY})?({_DATE})"),
    ),
    "MRN": (
        (
            *("mrn", "m.r.n", "mr #", "mr#", "medical record", "med rec", "patient id", "patient number", "patient no"),
            *("med. rec.", "hospital id", "hospital number", "hospital no", "hosp. no", "chart number", "chart no"),
            *("chart #", "patienten-id", "patientennummer", "patientennr"),
        ),
        re.compile(rf"{_IS}[\s:#=()]{{0,4}}([a-z]{{0,4}}-?\d[\da-z-]{{3,14}})\b"),
    ),
    "NPI": (("npi", "national provider identifier"), re.compile(rf"{_IS}[\s:#=()]{{0,4}}(\d{{10}})\b")),
    "SSN": (
        ("ssn", "social security"),
        re.compile(rf"{_IS}[\s:#=(),]{{0,4}}(\d{{3}}[- ]?\d{{2}}[- ]?\d{{4}})\b"),
    ),
    "PHONE": (
        (
            *("tel", "telephone", "phone", "ph.", "fax", "mobile", "cell", "call"),
            *("telefon", "mobil", "handy", "tél", "téléphone", "teléfono", "móvil"),
        ),
        re.compile(rf"\.?{_IS}(?:(?: us)? at\b)?[\s:]{{0,3}}(?!{_NO_PHONE})({_SLASHED}|\+?\(?\d[\d ().-]{{5,18}}\d)\b"),
    ),
}
# (b. 14 March 1962) and (* 14. März 1962 in Bonn); without the bracket either may begin an item of a list
_BORN_IN_BRACKETS = re.compile(rf"\((?:b\.|\*) ?({_DATE})(?=[),;]| in\b)")
_IBAN = re.compile(r"\d\d(?<=(?<!\w)[a-z]{2}\d\d)")  # found by its digits: a text has more letters
# every row of digits that could hold a card, an SSN or a phone; looked at closely afterwards
_DIGITS = re.compile(r"[+(\d](?<!\d\d)(?:[ .()\n-]{0,3}\d){8,}")


def _number(*forms: str, before: str = "", after: str = "") -> re.Pattern[str]:
    """Forms of a number that is no part of a word, a longer number or a decimal; its group is all of it."""
    return re.compile(rf"(?<![\w-])(?<!\d\.){before}(?=({'|'.join(forms)})(?![\w-]|\.\d){after})")


_CARD = _number(r"[2-6]\d{3}(?:\d{9,15}|[ .\n-]\d{6}[ .\n-]\d{4,5}|(?:[ .\n-]\d{4}){3})")
_LONG_CARD = _number(r"[2-6]\d{3}(?:[ .\n-]\d{4}){3}[ .\n-]\d{1,3}")  # or a card and the code on its back
_SSN = _number(r"(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}")
_PHONE = _number(
    r"\+(?=(?:[ ().-]{0,3}\d){9})\d{1,3}(?:[ -]?(?:\(0?\d{1,4}\)|\d{1,4})(?:[ -]?\d{2,4}){2,4}|(?:\.\d{2,4}){2,4})",
    r"(?:1[ .-]?)?\(\d{3}\)[ -]{0,2}\d{3}[.-]\d{4}",
    r"(?:1[ .-]?)?\([2-9]\d\d\) ?[2-9]\d\d \d{4}",
    r"(?:1[ .-]?)?[2-9]\d\d([.-])[2-9]\d\d\2\d{4}",
    before=r"(?<!\$)",
)
_PHONE_IN_BLANKS = _number(
    r"0(?:0|11) ?[1-9]\d{0,2}(?: \d{2,8}){2,4}",  # as it is dialled abroad
    r"[2-9]\d\d [2-9]\d\d (?!19|20)\d{4}",  # in North America; no year at its end
    r"\(?0[1-9]\d\)? \d{4} \d{4}|\(?0[1-9]\d\d\)? \d{3} \d{4}|\(?0[1-9]\d{3}\)? (?:\d{6}|\d{3} \d{3})",  # in Britain
    before=r"(?<!\$)(?<!\d[ ,\n])",  # a row of a table goes on
    after=r"(?![ ,\n]\d)",
)
_IN_DIGITS = ((_CARD, "CARD"), (_LONG_CARD, "CARD"), (_SSN, "SSN"), (_PHONE, "PHONE"), (_PHONE_IN_BLANKS, "PHONE"))
_ISSUED = re.compile(  # lengths by the first digits: Visa; Mastercard; American Express; JCB; Diners; others
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|35\d{14,17}|3(?:0[0-5]|[68]\d)\d{11,16}"
    r"|(?:6\d|5[0678])\d{11,17}"
)
# the IBAN registry (SWIFT): countries by the length of their accounts
_IBAN_COUNTRIES = {
    **{15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK"},
    **{21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL"},
    **{24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM"},
    **{28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC"},
    33: "RU",
}
_IBAN_LENGTHS = {country: length for length, names in _IBAN_COUNTRIES.items() for country in names.split()}


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
        if end > done:  # of two that overlap nothing is left
            pieces += [text[done:begin], f"[{kind}]"]
            kinds.append(kind)
            done = end
    return "".join([*pieces, text[done:]]), kinds


def find(text: str) -> Iterator[Span]:
    """Begin, end and kind of everything found; spans may overlap."""
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield *match.span(), "EMAIL"
    if not re.search(r"\d", text):
        return
    text = _plain(text)
    lower = text.lower()
    yield from _named(lower)
    for match in _BORN_IN_BRACKETS.finditer(lower):
        yield *match.span(1), "DATE_OF_BIRTH"
    for match in _IBAN.finditer(lower):
        begin = match.start() - 2
        if length := iban_length(lower[begin : begin + 70]):
            yield begin, begin + length, "IBAN"
    for row in _DIGITS.finditer(text):
        for pattern, kind in _IN_DIGITS:
            for match in pattern.finditer(text, row.start(), row.end() + 2):
                if kind != "CARD" or is_card(match[1]):
                    yield *match.span(1), kind


def _plain(text: str) -> str:
    """As long a text with the blanks and hyphens of a keyboard, all of whose letters stay one in lower case."""
    if not text.isascii():
        for signs, plain in (("\xa0\u2007\u2009\u202f", " "), ("\u2010\u2011\u2012\u2013\u2212", "-"), ("İ", "I")):
            for sign in signs:
                text = text.replace(sign, plain)
    return text


def _named(lower: str) -> Iterator[Span]:
    """Numbers behind the words that say what they are."""
    for kind, (words, behind) in _NAMED.items():
        for word in words:
            end = 0
            while (begin := lower.find(word, end)) >= 0:
                end = begin + len(word)
                alone = not lower[begin - 1 : begin].isalnum() and not lower[end : end + 1].isalnum()
                match = behind.match(lower, end) if alone else None
                if match and (kind != "NPI" or is_npi(match[1])):
                    yield *match.span(1), kind


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def is_card(number: str) -> bool:
    """A payment card's number: as long as its issuer makes it, evenly parted, not all alike, with its check digit."""
    digits, parted = re.sub(r"\D", "", number), re.sub(r"\d", "", number)
    even = parted.count("\n") < 2 and len(set(parted) - {"\n"}) < 2
    return even and _ISSUED.fullmatch(digits) is not None and len(set(digits)) > 1 and luhn(digits)


def is_npi(number: str) -> bool:
    """A United States National Provider Identifier."""
    return number[0] in "12" and luhn("80840" + number)


def iban_length(found: str) -> int:
    """Characters at the beginning of ``found`` that are an IBAN with a valid checksum; 0 if none are."""
    length, kept = _IBAN_LENGTHS.get(found[:2].upper(), 0), ""
    for place, character in enumerate(found if length else "", 1):
        if character.isascii() and character.isalnum():
            kept += character
        elif character not in " -\n":
            break
        if len(kept) == length:
            number = "".join(str(int(c, 36)) for c in kept[4:] + kept[:4])
            whole = not found[place : place + 1].isalnum() and sum(map(str.isdigit, kept)) >= 8
            return place if whole and int(number) % 97 == 1 else 0
    return 0
