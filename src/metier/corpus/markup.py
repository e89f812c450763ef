"""Documents out of HTML (trafilatura), PDF (pypdf) and XML by path expressions (lxml)."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from metier.corpus.readers import UNREADABLE, Mine, Raw, text_encoding
from metier.corpus.repair import missing
from metier.corpus.source import Source, parse_date
from metier.corpus.text import Tally
from metier.errors import MetierError
from metier.sources.compression import explained, open_bytes

_BLOCKS = {"p", "para", "title", "item", "li", "list", "section", "sec", "note", "div", "table", "row", "tr", "caption"}
_BLOCKS |= {"abstract", "figure", "equation", "exercise", "problem", "solution", "example", "h1", "h2", "h3", "h4"}
_STATES_THE_DAY = "//meta[not(@itemprop='copyrightYear')] | //time | //script[@type='application/ld+json']"
_CHARSET = re.compile(rb"""<(?:meta\s[^>]*?charset|\?xml[^>]*?encoding)\s*=\s*["']?\s*([\w-]+)""", re.I)
_SPACE = re.compile(r"\s+")


def read_html(path: Path, source: Source, mine: Mine, tally: Tally) -> Iterator[Raw]:
    """The main text of a page, without navigation and boilerplate, and the day that the page states."""
    if not mine(0):
        return
    try:
        from htmldate import find_date  # comes with trafilatura
        from lxml import etree, html
        from trafilatura import bare_extraction
    except ImportError as error:
        raise missing("trafilatura") from error
    encoding = text_encoding(path, source, tally, mine, _CHARSET)
    if encoding is None:
        return
    with explained(path), io.TextIOWrapper(cast(io.BufferedReader, open_bytes(path)), encoding) as file:
        page = file.read()
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    found: Any = bare_extraction(page, include_comments=False)
    if found is None or not found.text:
        _unread(path, source, tally, "trafilatura finds no text in the page")
        return
    tree = html.document_fromstring(page.encode(), parser=html.HTMLParser(encoding="utf-8"))
    # of a whole page htmldate would also take a year in the footer, or a day that the text speaks of
    stated = "".join(etree.tostring(one, encoding="unicode", with_tail=False) for one in tree.xpath(_STATES_THE_DAY))
    day = find_date(f"<html>{stated}</html>", extensive_search=False, original_date=True) if stated else None
    yield Raw(0, str(found.text), parse_date(day))


def read_pdf(path: Path, source: Source, mine: Mine, tally: Tally) -> Iterator[Raw]:
    """The text of all pages. A damaged or locked file is counted; so is one of images, which is empty."""
    if not mine(0):
        return
    try:
        from pypdf import PdfReader
    except ImportError as error:
        raise missing("pypdf") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    with explained(path), open_bytes(path) as file:
        try:
            pages = [page.extract_text() for page in PdfReader(io.BytesIO(file.read())).pages]
        except Exception as error:  # a damaged file can raise nearly anything inside pypdf
            _unread(path, source, tally, f"{type(error).__name__}: {error}"[:200])
            return
    yield Raw(0, "\n\n".join(pages))


def read_xml(path: Path, source: Source, mine: Mine, tally: Tally) -> Iterator[Raw]:
    """The elements that ``source.records`` names (the whole file if it is left out), as text.

    Entities are not resolved and nothing is fetched.

    Raises:
        MetierError: not well-formed; an expression that is none; no such element.
    """
    try:
        from lxml import etree
    except ImportError as error:
        raise missing("lxml") from error
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        with explained(path), open_bytes(path) as file:
            root = etree.parse(file, parser).getroot()
        for element in root.iter("*"):
            element.tag = etree.QName(element).localname
        records = root.xpath(source.records) if source.records else [root]
        if not isinstance(records, list):
            raise _no_nodes(source, "records", str(source.records), records)
        for row, record in enumerate(records):
            if mine(row):
                yield _from_xml(row, record, source)
    except etree.XMLSyntaxError as error:
        raise MetierError(f"not well-formed XML: {error}", where=str(path), fix="mend it or leave it out") from error
    except etree.XPathError as error:
        where = f"the source '{source.name}', records, text or date"
        fix = "write XPath without namespaces, such as //para or .//body/p"
        raise MetierError(f"not a path expression: {error}", where=where, fix=fix) from error
    if not records:
        fix = "look at the names of the file's elements; namespaces are left out"
        raise MetierError(f"nothing in the file is at {source.records!r}", where=str(path), fix=fix)


def _from_xml(row: int, record: Any, source: Source) -> Raw:
    def at(field: str, expression: str | None) -> str | None:
        if expression is None:
            return None
        if not hasattr(record, "xpath"):
            raise _no_nodes(source, "records", str(source.records), record, f", in which {field} could be looked for")
        found = record.xpath(expression)
        if not isinstance(found, (list, str)):
            raise _no_nodes(source, field, expression, found)
        return ("\n".join(map(_plain, found)) if isinstance(found, list) else str(found)) or None

    text = "\n".join(filter(None, (at("text", one) for one in source.text))) if source.text else _plain(record)
    return Raw(row, text, parse_date(at("date", source.date)), at("id", source.id), at("group", source.group))


def _no_nodes(source: Source, field: str, expression: str, found: Any, why: str = "") -> MetierError:
    kind = "text" if isinstance(found, str) else "a truth value" if isinstance(found, bool) else "a number"
    wanted = "elements" + why if field == "records" else "elements or text"
    fix = "write a path to them, such as //para" if field == "records" else "write a path, or string(…) around it"
    return MetierError(
        f"{expression!r} gives {kind}, not {wanted}", where=f"the source '{source.name}', {field}", fix=fix
    )


def _plain(found: Any) -> str:
    """The text of an element, blocks on lines of their own; of an attribute or a text node, itself."""
    if not hasattr(found, "tag"):
        return str(found)
    pieces: list[str] = []

    def walk(element: Any) -> None:
        block = element.tag in _BLOCKS
        pieces.append("\n" if block else "")
        pieces.append(_SPACE.sub(" ", element.text or ""))
        for child in element:
            walk(child)
            pieces.append(_SPACE.sub(" ", child.tail or ""))
        pieces.append("\n" if block else "")

    walk(found)
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line)


def _unread(path: Path, source: Source, tally: Tally, why: str) -> None:
    tally.read.update({"documents": 1, "bytes": path.stat().st_size})
    tally.drop(UNREADABLE, source.label(path), why)
