"""Taking SEC filings apart into items, with edgartools."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from metier.errors import MetierError
from metier.sources.cache import cache_root
from metier.sources.markup import strip_html


class Item(NamedTuple):
    """A part of a filing: its item (``I/1A``, ``7``, ``2.02``; empty for a whole filing), title and text."""

    item: str
    title: str
    text: str


def load_itemiser() -> Callable[[str, str], list[Item]]:
    """A function from a filing's source (HTML, plain text or a full submission) and its form to its items.

    It gives the items in the filing's order; or one part, the whole text, where no item is found (the case for plain
    text: most filings before 2001) or the library cannot read it. Nothing in it touches a network.

    Raises:
        MetierError: edgartools is not installed.
    """
    # the library makes its folder when it is imported, by default in the user's home
    os.environ.setdefault("EDGAR_LOCAL_DATA_DIR", str(cache_root() / "edgartools"))
    try:
        from edgar.documents import HTMLParser, ParserConfig
        from edgar.documents.exceptions import HTMLParsingError
        from edgar.sgml import FilingSGML
    except ImportError as error:
        fix = "pip install 'metier[collect]'"
        raise MetierError(f"edgar: needs edgartools, which cannot be imported: {error}", fix=fix) from error

    def itemise(source: str, form: str) -> list[Item]:
        if re.search(r"<SEC-(?:DOCUMENT|HEADER)>|-----BEGIN PRIVACY", source[:2000]):
            submission = FilingSGML.from_text(source)
            source = submission.html() or submission.text() or ""
        if not re.search(r"<(?:html|body|div|p|table|font|span)\b", source[:50_000], re.IGNORECASE):
            return [Item("", "", source.strip())]
        try:
            document = HTMLParser(ParserConfig(form=form)).parse(source)
        except HTMLParsingError:  # whatever the library meets in it
            return [Item("", "", strip_html(source))]
        found = [_item(section) for section in document.sections.values() if section.item]
        return _bounded([item for item in found if item.text]) or [Item("", "", document.text().strip())]

    return itemise


def _bounded(items: list[Item]) -> list[Item]:
    """Items without what follows them: the library lets some run on into the next item, the last into signatures."""
    cut = []
    for item, after in zip(items, [*items[1:], None], strict=False):
        if after:
            text = item.text.removesuffix(after.text).rstrip()
        else:
            text = re.split(r"(?m)^[ \t]*SIGNATURES?[ \t]*$", item.text, maxsplit=1)[0].rstrip()
        cut.append(item._replace(text=text or item.text))
    return cut


def _item(section: Any) -> Item:
    number = str(section.item)
    if re.fullmatch(r"\d{3}", number):  # items of an 8-K: 2.02 is given as 202
        number = f"{number[0]}.{number[1:]}"
    text = section.text().strip()
    heading = " ".join(text.partition("\n")[0].split())
    title = heading if heading.lower().startswith("item") and len(heading) <= 200 else f"Item {number}"
    return Item(f"{section.part}/{number}" if section.part else number, title, text)
