from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from metier.errors import MetierError
from metier.sources.document import read_documents
from metier.sources.edgar import parse_query
from tests.sources.web_server import Reply, Site, serving

pytest.importorskip("edgar", reason="needs the extra: pip install 'metier[collect]'")

TICKERS = {"0": {"cik_str": 1234, "ticker": "ANVL", "title": "ANVIL WORKS INC"}}
FOLDER = "/Archives/edgar/data/1234"


def ten_k(year: int) -> str:
    items = [("1.", "Business", "We make anvils"), ("1A.", "Risk Factors", "Demand may fall")]
    items += [("7.", "Management’s Discussion and Analysis", "Revenue rose")]
    toc = "".join(f'<tr><td><a href="#i{n}">Item {n}</a></td><td>{title}</td></tr>' for n, title, _ in items)
    body = "".join(
        f'<div id="i{n}"><b>Item {n} {title}</b></div><p>{f"{text} in {year}. " * 20}</p>' for n, title, text in items
    )
    cover = "<p>UNITED STATES SECURITIES AND EXCHANGE COMMISSION</p><p>FORM 10-K</p>"
    return f"<html><body>{cover}<table>{toc}</table>{body}<p>SIGNATURES</p></body></html>"


EIGHT_K = (
    "<html><body><p>FORM 8-K</p><p><b>Item 2.02 Results of Operations and Financial Condition</b></p>"
    "<p>On March 4 Anvil Works announced its results.</p><p><b>Item 9.01 Financial Statements and Exhibits</b></p>"
    "<p>99.1 Press release</p><p>SIGNATURE</p></body></html>"
)

FULL_TEXT = """<SEC-DOCUMENT>0001234-98-000001.txt : 19980330
<SEC-HEADER>0001234-98-000001.hdr.sgml : 19980330
ACCESSION NUMBER:		0001234-98-000001
CONFORMED SUBMISSION TYPE:	10-K
PUBLIC DOCUMENT COUNT:		1
CONFORMED PERIOD OF REPORT:	19971231
FILED AS OF DATE:		19980330

FILER:

	COMPANY DATA:
		COMPANY CONFORMED NAME:			ANVIL WORKS INC
		CENTRAL INDEX KEY:			0000001234
</SEC-HEADER>
<DOCUMENT>
<TYPE>10-K
<SEQUENCE>1
<DESCRIPTION>ANNUAL REPORT
<TEXT>
                      ANVIL WORKS INC

ITEM 1. BUSINESS

Anvils, as of 1997.
</TEXT>
</DOCUMENT>
</SEC-DOCUMENT>
"""


def submissions(rows: list[tuple[str, str, str, str, str]]) -> dict[str, list[str]]:
    names = ("accessionNumber", "filingDate", "reportDate", "form", "primaryDocument")
    return {name: [row[n] for row in rows] for n, name in enumerate(names)}


@pytest.fixture
def sec(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving() as site:
        recent = submissions(
            [
                ("0001234-24-000003", "2024-03-04", "2024-03-04", "8-K", "a8k.htm"),
                ("0001234-24-000002", "2024-02-20", "2023-12-31", "10-K", "a10k.htm"),
                ("0001234-23-000002", "2023-02-20", "2022-12-31", "10-K", "a10k.htm"),
                ("0001234-23-000001", "2023-02-01", "", "4", "form4.xml"),
            ]
        )
        older = submissions([("0001234-98-000001", "1998-03-30", "1997-12-31", "10-K", "")])
        files = [{"name": "CIK0000001234-submissions-001.json", "filingFrom": "1998-01-01", "filingTo": "2000-01-01"}]
        whole = {"cik": "1234", "name": "ANVIL WORKS INC", "filings": {"recent": recent, "files": files}}
        site.pages = {
            "/files/company_tickers.json": Reply(json.dumps(TICKERS)),
            "/submissions/CIK0000001234.json": Reply(json.dumps(whole)),
            "/submissions/CIK0000001234-submissions-001.json": Reply(json.dumps(older)),
            f"{FOLDER}/000123424000003/a8k.htm": Reply(EIGHT_K),
            f"{FOLDER}/000123424000002/a10k.htm": Reply(ten_k(2023)),
            f"{FOLDER}/000123423000002/a10k.htm": Reply(ten_k(2022)),
            f"{FOLDER}/000123498000001/0001234-98-000001.txt": Reply(FULL_TEXT),
        }
        monkeypatch.setenv("EDGAR_BASE_URL", site.base)
        monkeypatch.setenv("EDGAR_DATA_URL", site.base)
        monkeypatch.setenv("METIER_EDGAR_IDENTITY", "Test Person test@example.com")
        monkeypatch.delenv("EDGAR_IDENTITY", raising=False)
        monkeypatch.setattr("metier.sources.edgar.PAUSE_SECONDS", 0.0)
        yield site


def test_an_annual_report_comes_item_by_item(sec: Site) -> None:
    documents = list(read_documents("edgar:anvl/10-K?limit=1"))
    assert [d.meta["item"] for d in documents] == ["I/1", "I/1A", "II/7"]
    risk = documents[1]
    assert risk.title == "ANVIL WORKS INC 10-K 2024-02-20 Item 1A. Risk Factors"
    assert risk.text.startswith("Item 1A. Risk Factors\n\nDemand may fall in 2023.")
    assert "Revenue" not in risk.text
    assert (risk.date, risk.domain, risk.licence) == ("2024-02-20", "finance", "SEC EDGAR public filing")
    assert risk.source == f"{sec.base}{FOLDER}/000123424000002/a10k.htm"
    assert risk.meta | {"period": "2023-12-31", "form": "10-K", "cik": "0000001234"} == risk.meta
    assert len({d.id for d in documents}) == 3
    assert {headers["User-Agent"] for _, headers in sec.asked} == {"Test Person test@example.com"}


def test_items_of_a_current_report_are_named_as_in_the_form(sec: Site) -> None:
    results, exhibits = read_documents("edgar:1234/8-K")
    assert (results.meta["item"], exhibits.meta["item"]) == ("2.02", "9.01")
    assert results.text.endswith("announced its results.")
    assert "/files/company_tickers.json" not in sec.paths()  # a CIK needs no list of tickers


def test_an_item_ends_where_the_next_one_or_the_signatures_begin(sec: Site) -> None:
    headings = ("<p><b>Item&#160;&#160;5.02. Departure of Directors</b></p>", "<p><b>Item 9.01. Exhibits.</b></p>")
    signed = "<p>SIGNATURE</p><p>Signed by the treasurer.</p>"
    body = f"<p>FORM 8-K</p>{headings[0]}<p>The treasurer left.</p>{headings[1]}<p>(d) None.</p>{signed}"
    sec.pages[f"{FOLDER}/000123424000003/a8k.htm"] = Reply(f"<html><body>{body}</body></html>")
    left, exhibits = read_documents("edgar:1234/8-K")
    assert left.title.endswith("Item 5.02. Departure of Directors")  # no runs of blanks
    assert left.text.endswith("The treasurer left.")
    assert exhibits.text == "Item 9.01. Exhibits.\n\n(d) None."
    results = ten_k(2023).replace("<p>SIGNATURES</p>", "<p>SIGNATURES</p><p>Signed by the treasurer.</p>")
    sec.pages[f"{FOLDER}/000123424000002/a10k.htm"] = Reply(results)
    assert "igned" not in list(read_documents("edgar:ANVL/10-K?limit=1"))[-1].text


@pytest.mark.parametrize("inside", ["{}", "<div>" * 3000 + "{}" + "</div>" * 3000])
def test_a_filing_without_items_is_one_document(sec: Site, inside: str) -> None:
    told = "<p>The company was sold.</p><p>Nothing else happened.</p>"
    sec.pages[f"{FOLDER}/000123424000003/a8k.htm"] = Reply(f"<html><body>{inside.format(told)}</body></html>")
    (whole,) = read_documents("edgar:1234/8-K")
    assert "item" not in whole.meta
    assert whole.text.split("\n")[0] == "The company was sold."


def test_older_pages_and_plain_text_before_2001(sec: Site) -> None:
    documents = list(read_documents("edgar:ANVL/10-K"))
    assert [d.date for d in documents] == ["2024-02-20"] * 3 + ["2023-02-20"] * 3 + ["1998-03-30"]
    assert "Anvils, as of 1997." in documents[-1].text
    assert "SEC-HEADER" not in documents[-1].text
    assert "item" not in documents[-1].meta
    spans = list(read_documents("edgar:ANVL/10-K?since=2023-01-01&until=2023-12-31"))
    assert {d.date for d in spans} == {"2023-02-20"}


def test_a_limit_of_documents_asks_for_no_more_than_it_needs(sec: Site) -> None:
    assert len(list(read_documents("edgar:ANVL/10-K", limit=2))) == 2
    assert sec.paths().count(f"{FOLDER}/000123423000002/a10k.htm") == 0


def test_filings_are_fetched_once_and_offline_reads_what_is_kept(sec: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = list(read_documents("edgar:ANVL/10-K?limit=1"))
    assert list(read_documents("edgar:ANVL/10-K?limit=1")) == first
    assert sec.paths().count(f"{FOLDER}/000123424000002/a10k.htm") == 1
    monkeypatch.delenv("METIER_EDGAR_IDENTITY")
    sec.asked.clear()
    assert list(read_documents("edgar:ANVL/10-K?limit=1", offline=True)) == first
    with pytest.raises(MetierError, match=r"never fetched[\s\S]*a8k\.htm[\s\S]*without --offline"):
        list(read_documents("edgar:ANVL/8-K", offline=True))
    assert sec.asked == []


@pytest.mark.parametrize("identity", [None, "", "someone", "me@example.com", "Name nowhere", "N\r\nX: y a@b.c"])
def test_the_sec_wants_to_know_who_asks(sec: Site, monkeypatch: pytest.MonkeyPatch, identity: str | None) -> None:
    monkeypatch.delenv("METIER_EDGAR_IDENTITY")
    if identity is not None:
        monkeypatch.setenv("EDGAR_IDENTITY", identity)
    with pytest.raises(MetierError, match=r"identity[\s\S]*export METIER_EDGAR_IDENTITY="):
        read_documents("edgar:ANVL/10-K")
    assert sec.asked == []


def test_refusals_of_the_server(sec: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("metier.sources.web.time.sleep", waits.append)
    page = f"{FOLDER}/000123424000003/a8k.htm"
    good = sec.pages[page]
    assert isinstance(good, Reply)
    sec.pages[page] = [Reply(status=429, headers={"Retry-After": "7"}), Reply(status=503), good]
    assert len(list(read_documents("edgar:ANVL/8-K"))) == 2
    assert waits == [7.0, 2.0]
    with pytest.raises(MetierError, match=r"status 404[\s\S]*CIK0000009999\.json[\s\S]*no such company"):
        list(read_documents("edgar:9999"))
    sec.pages["/submissions/CIK0000001234.json"] = Reply("denied", 403)
    with pytest.raises(MetierError, match=r"status 403[\s\S]*METIER_EDGAR_IDENTITY"):
        list(read_documents("edgar:1234"))
    sec.pages["/submissions/CIK0000001234.json"] = Reply(status=429, headers={"Retry-After": "600"})
    with pytest.raises(MetierError, match=r"status 429; it asks to wait 600 seconds[\s\S]*CIK0000001234"):
        list(read_documents("edgar:1234"))
    assert waits == [7.0, 2.0]  # ten minutes are not waited for


def test_answers_that_are_not_edgars(sec: Site) -> None:
    sec.pages["/submissions/CIK0000001234.json"] = Reply("<html>sign in</html>")
    with pytest.raises(MetierError, match="not JSON"):
        list(read_documents("edgar:1234"))
    sec.pages["/submissions/CIK0000001234.json"] = Reply('{"name": "x"}')
    with pytest.raises(MetierError, match=r"lacks what EDGAR's format promises: KeyError\('filings'\)"):
        list(read_documents("edgar:1234"))
    sec.pages["/files/company_tickers.json"] = Reply("[]")
    with pytest.raises(MetierError, match="lacks what EDGAR's format promises"):
        list(read_documents("edgar:ANVL"))


def test_what_edgar_does_not_have(sec: Site) -> None:
    with pytest.raises(MetierError, match=r"no company with the ticker 'ANVLL'[\s\S]*did you mean 'ANVL'"):
        list(read_documents("edgar:ANVLL"))
    with pytest.raises(MetierError, match=r"lists no 10-Q of ANVL in that span"):
        list(read_documents("edgar:ANVL/10-Q?since=2024-01-01"))


def test_references() -> None:
    assert parse_query("BRK.B/10-K/A,8-k?limit=2").forms == ("10-K/A", "8-K")
    assert parse_query("AAPL").forms == ("10-K", "10-Q", "8-K")
    assert parse_query("CIK0000001234/8-K").company == "0000001234"
    for body, fault in {
        "": "not a ticker",
        "two words": "not a ticker",
        "AAPL/10K": "did you mean '10-K'",
        "AAPL?limit=0": "not a number",
        "AAPL?since=2024": "not a date",
        "AAPL?after=2024-01-01": "unknown parameter",
        "AAPL?limit=3&limit=2": "given twice",
    }.items():
        with pytest.raises(MetierError, match=fault):
            parse_query(body)


def test_a_missing_library_is_named_and_help_does_not_import_it(sec: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, metier.cli, metier.sources.document; assert not {'edgar', 'feedparser'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "edgar.documents", None)
    with pytest.raises(MetierError, match=r"edgartools[\s\S]*metier\[collect\]"):
        read_documents("edgar:ANVL")


def test_filings_of_mixed_encodings_are_read_and_what_is_no_text_is_left_out(
    sec: Site, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = EIGHT_K.replace("announced", "Société announced").encode() + "\n<p>it\x92s Générale</p>".encode("latin-1")
    sec.pages[f"{FOLDER}/000123424000003/a8k.htm"] = Reply(mixed)
    assert "Société announced" in next(read_documents("edgar:1234/8-K")).text
    assert not caplog.messages
    sec.pages[f"{FOLDER}/000123424000002/a10k.htm"] = Reply(b"%PDF-1.4\n\0\xff")
    assert {d.date for d in read_documents("edgar:1234/10-K?limit=2")} == {"2023-02-20"}
    assert "a10k.htm is no text: the filing is left out" in caplog.text


def test_a_filing_that_is_gone_is_told_and_the_others_are_read(sec: Site, caplog: pytest.LogCaptureFixture) -> None:
    del sec.pages[f"{FOLDER}/000123424000002/a10k.htm"]
    assert {d.date for d in read_documents("edgar:1234/10-K?limit=2")} == {"2023-02-20"}
    assert "a10k.htm: the server answered with status 404; the filing is left out" in caplog.text
