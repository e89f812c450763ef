"""``edgar:``, annual, quarterly and current reports of companies from the SEC's EDGAR.

::

    edgar:AAPL                                  the newest 10-K, 10-Q and 8-K filings, newest first, all of them
    edgar:AAPL/10-K?limit=3                     its last three annual reports
    edgar:320193/10-K,10-Q?since=2022-01-01     by CIK; several forms; filed in a span (since, until: inclusive)
    edgar:AAPL/10-K/A                           amendments are forms of their own

One document is one item (Item 1A, Risk Factors) of a filing, where its items can be told apart; else its whole text.
A filing's cover, table of contents, signatures and exhibits belong to no item and are left out where there are items.

The SEC asks every program to say who runs it: set ``METIER_EDGAR_IDENTITY`` (or ``EDGAR_IDENTITY``) to
``"Name mail@example.com"``. Requests keep to eight a second in this process (the SEC allows ten a second to a person,
over all their programs). Filings never change, so each is fetched once.

Filings are found and fetched through the SEC's documented addresses (``company_tickers.json``, ``submissions/``,
``Archives/``; sec.gov/search-filings/edgar-application-programming-interfaces) and taken apart by the library
edgartools. The library's own downloads are not used: it reads ``EDGAR_BASE_URL`` and ``EDGAR_DATA_URL`` only once, when
it is imported; takes tickers from a list inside the package; bounds no answer's size; and catches httpx's errors where
its transport may raise httpx2's, so that its retries do not happen. Here both variables are read at each call: a mirror
of ``www.sec.gov`` and ``data.sec.gov`` can be set at any time.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from metier.errors import MetierError, nearest
from metier.sources.document import Document
from metier.sources.items import load_itemiser
from metier.sources.web import Answer, GoneError, fetch_url

log = logging.getLogger(__name__)

FORMS = ("10-K", "10-Q", "8-K", "10-K/A", "10-Q/A", "8-K/A")
LICENCE = "SEC EDGAR public filing"
PAUSE_SECONDS = 0.125
_FILING_BYTES = 100_000_000
_SYNTAX = "write edgar:TICKER_OR_CIK[/FORM[,FORM…]][?limit=N&since=YYYY-MM-DD&until=YYYY-MM-DD]"
_COLUMNS = ("accessionNumber", "filingDate", "reportDate", "form", "primaryDocument")


@dataclass(frozen=True)
class Query:
    """What a reference asks for; ``limit`` counts filings."""

    company: str
    forms: tuple[str, ...]
    limit: int | None
    since: str
    until: str


@dataclass(frozen=True)
class Filing:
    """One row of a company's submissions."""

    cik: int
    company: str
    accession: str
    filed: str
    period: str
    form: str
    primary: str  # file name; empty for most filings before 2001

    @property
    def folder(self) -> str:
        """The address of its folder in the archive."""
        return f"{_base()}/Archives/edgar/data/{self.cik}/{self.accession.replace('-', '')}"


def parse_query(body: str) -> Query:
    """Take apart what follows ``edgar:``.

    Raises:
        MetierError: no company, an unknown form or parameter, a limit or a date that is none.
    """
    path, _, parameters = body.partition("?")
    company, slash, named = path.partition("/")
    company = re.sub(r"^CIK(?=\d{10}$)", "", company, flags=re.IGNORECASE)  # as EDGAR writes it
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,12}", company):
        raise MetierError(f"not a ticker or a CIK: {company!r}", where=f"edgar:{body}", fix=_SYNTAX)
    forms = tuple(form.strip().upper() for form in named.split(",")) if slash else FORMS[:3]
    for form in forms:
        if form not in FORMS:
            raise MetierError(f"not a form that is read: {form!r}", where=f"edgar:{body}", fix=nearest(form, FORMS))
    pairs = parse_qsl(parameters, keep_blank_values=True)
    given = dict(pairs)
    for name, value in pairs:
        _check_parameter(name, value, body)
    if len(given) < len(pairs):
        raise MetierError("a parameter is given twice", where=f"edgar:{body}", fix="give each once")
    limit = int(given["limit"]) if "limit" in given else None
    return Query(company, forms, limit, given.get("since", ""), given.get("until", "9999-12-31"))


def _check_parameter(name: str, value: str, body: str) -> None:
    where = f"edgar:{body}"
    if name not in ("limit", "since", "until"):
        raise MetierError(f"unknown parameter {name!r}", where=where, fix=nearest(name, ("limit", "since", "until")))
    if name == "limit":
        if not (value.isascii() and value.isdigit() and int(value) > 0):
            raise MetierError(f"not a number of filings: {value!r}", where=where, fix="limit=3")
        return
    try:
        good = date.fromisoformat(value).isoformat() == value
    except ValueError:
        good = False
    if not good:
        raise MetierError(f"not a date: {value!r}", where=where, fix=f"{name}=2024-01-31")


def read_edgar(body: str, *, offline: bool = False) -> Iterator[Document]:
    """The documents of ``edgar:<body>``, newest filing first, items in the filing's order.

    Raises:
        MetierError: a reference that is not well formed, no identity, no edgartools (all before the first request);
            no such company or filing; and every fault of the network, with its address.
    """
    query = parse_query(body)
    get = partial(_get, offline=offline, identity=None if offline else _identity())
    return _read(query, get, load_itemiser())


def _read(query: Query, get: Any, parse: Any) -> Iterator[Document]:
    found = False
    for filing in islice(_filings(query, get), query.limit):
        found = True
        yield from _documents(filing, get, parse)
    if not found:
        asked = f"{' or '.join(query.forms)} of {query.company}"
        span = " in that span" if query.since or query.until != "9999-12-31" else ""
        raise MetierError(
            f"EDGAR lists no {asked}{span}", fix="foreign issuers file 20-F and 6-K; widen since and until"
        )


def _base() -> str:
    return (os.environ.get("EDGAR_BASE_URL") or "https://www.sec.gov").rstrip("/")


def _data() -> str:
    return (os.environ.get("EDGAR_DATA_URL") or "https://data.sec.gov").rstrip("/")


def _identity() -> str:
    identity = (os.environ.get("METIER_EDGAR_IDENTITY") or os.environ.get("EDGAR_IDENTITY") or "").strip()
    if re.fullmatch(r"[^\s@][^@\r\n]*\s\S+@\S+\.\S+", identity) and identity.isascii():
        return identity
    what = "is not of the form that the SEC asks for" if identity else "is not set"
    raise MetierError(
        f"your identity for the SEC {what}",
        where="environment: METIER_EDGAR_IDENTITY (or EDGAR_IDENTITY)",
        fix='export METIER_EDGAR_IDENTITY="Your Name you@example.com" (the SEC wants to know who asks)',
    )


def _get(url: str, *, offline: bool, identity: str | None, unchanging: bool = False) -> Answer:
    fixes = {
        403: "the SEC refuses requests without a real identity or above ten a second: check METIER_EDGAR_IDENTITY, "
        "wait ten minutes",
        404: "EDGAR has no such company or filing: check the ticker or the CIK",
    }
    headers = {"User-Agent": identity} if identity else {}
    return fetch_url(
        url, offline=offline, unchanging=unchanging, max_bytes=_FILING_BYTES, headers=headers, pause=PAUSE_SECONDS,
        fixes=fixes,
    )  # fmt: skip


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.path.read_bytes())
    except ValueError as error:
        fix = "the SEC's servers are at fault, or something between: look at the address in a browser"
        raise MetierError("the answer is not JSON", where=answer.url, fix=fix) from error


def _cik(company: str, get: Any) -> int:
    if company.isdigit():
        return int(company)
    answer = get(f"{_base()}/files/company_tickers.json")
    wanted = company.upper().replace(".", "-")  # EDGAR writes BRK-B
    try:
        ciks = {str(row["ticker"]).upper(): int(row["cik_str"]) for row in _json(answer).values()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unlike(answer, error) from error
    if wanted not in ciks:
        fix = f"{nearest(wanted, ciks)[:200]}, or give the CIK: edgar:320193"
        raise MetierError(f"EDGAR knows no company with the ticker {company!r}", where=answer.url, fix=fix)
    return ciks[wanted]


def _filings(query: Query, get: Any) -> Iterator[Filing]:
    """The filings that are asked for, newest first; older pages are fetched only when they are reached."""
    cik = _cik(query.company, get)
    answer = get(f"{_data()}/submissions/CIK{cik:010d}.json")
    submissions = _json(answer)
    try:
        name, recent, older = submissions["name"], submissions["filings"]["recent"], submissions["filings"]["files"]
        yield from _rows(query, cik, name, recent)
        for page in older:
            if page["filingTo"] >= query.since and page["filingFrom"] <= query.until:
                answer = get(f"{_data()}/submissions/{page['name']}")
                yield from _rows(query, cik, name, _json(answer))
    except (KeyError, TypeError, ValueError) as error:
        raise _unlike(answer, error) from error


def _rows(query: Query, cik: int, company: str, table: dict[str, list[str]]) -> list[Filing]:
    """Rows of one page; EDGAR gives each column as a list."""
    rows = zip(*(table[column] for column in _COLUMNS), strict=True)
    filings = [Filing(cik, company, *row) for row in rows]
    wanted = [f for f in filings if f.form in query.forms and query.since <= f.filed <= query.until]
    return sorted(wanted, key=lambda filing: filing.filed, reverse=True)


def _unlike(answer: Answer, error: Exception) -> MetierError:
    fix = "EDGAR's format may have changed: look for a newer release of metier"
    return MetierError(f"the answer lacks what EDGAR's format promises: {error!r}", where=answer.url, fix=fix)


def _documents(filing: Filing, get: Any, parse: Any) -> Iterator[Document]:
    name = filing.primary or f"{filing.accession}.txt"
    try:
        answer = get(f"{filing.folder}/{name}", unchanging=True)
    except GoneError as error:
        log.warning("%s: %s; the filing is left out", error.where, error.what)
        return
    body = _text(answer.path)
    if "\0" in body or body.startswith("%PDF"):
        log.warning("%s is no text: the filing is left out", answer.url)
        return
    for number, (item, title, text) in enumerate(parse(body, filing.form)):
        meta = {"company": filing.company, "cik": f"{filing.cik:010d}", "form": filing.form}
        meta |= {"accession": filing.accession, "period": filing.period, "item": item}
        yield Document(
            id=f"edgar:{filing.accession}:{item or 'whole'}:{number}",
            text=text,
            source=answer.url,
            domain="finance",
            date=filing.filed,
            licence=LICENCE,
            title=" ".join(part for part in (filing.company, filing.form, filing.filed, title) if part),
            meta={key: value for key, value in meta.items() if value},
        )


def _text(path: Path) -> str:
    """Lines of ASCII, now and then of UTF-8 or Windows' western signs, at times both in one filing."""
    body = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    return "".join(_line(line) for line in body.splitlines(keepends=True))


def _line(line: bytes) -> str:
    for codec in ("utf-8", "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            return line.decode(codec)
    return line.decode("latin-1")
