"""Unicode and whitespace repair: mojibake, entities, control characters, line ends, runs of blanks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from metier.corpus.text import Step, Tally, Texts
from metier.errors import MetierError

_BLANKS = re.compile(r"(?<![ \t\xa0])[ \t\xa0]*\n")  # looked at once a row of blanks, however long it is
_MANY_LINES = re.compile(r"\n{3,}")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")
# what ftfy repairs in a line of ASCII: entities and terminal escapes
_SUSPECT = re.compile(r"&#?\w+;|\x1b")


def repair_step() -> Step:
    """Repair every text; one that is empty afterwards is dropped."""
    repair = repairer()

    def step(texts: Texts, tally: Tally) -> Texts:
        for text in texts:
            repaired = repair(text.text)
            if repaired:
                yield text if repaired == text.text else replace(text, text=repaired)
            else:
                tally.drop("empty", text.id)

    return step


def repairer() -> Callable[[str], str]:
    """A function that repairs a text with ftfy (Speer 2019), line by line and only where a line can need it.

    Raises:
        MetierError: without the extra ``curate``.
    """
    try:
        import ftfy
    except ImportError as error:
        raise missing("ftfy") from error
    config = ftfy.TextFixerConfig(normalization="NFC", uncurl_quotes=False, fix_line_breaks=False, explain=False)

    def line(found: str) -> str:
        return found if found.isascii() and not _SUSPECT.search(found) else ftfy.fix_text(found, config)

    def repair(text: str) -> str:
        if "\r" in text or "\u2028" in text or "\x0c" in text:
            text = re.sub("\r\n|[\r\x0c\u2028\u2029\x85]", "\n", text)
        if not text.isascii() or _SUSPECT.search(text):
            text = "\n".join([line(found) for found in text.split("\n")])
        text = _MANY_LINES.sub("\n\n", _BLANKS.sub("\n", _CONTROL.sub("", text))).strip()
        return text.encode("utf-8", "replace").decode() if not text.isascii() else text  # lone surrogates

    return repair


def missing(package: str, extra: str = "curate") -> MetierError:
    """The error of an extra that is not installed."""
    return MetierError(f"{package} is not installed", fix=f"pip install 'metier[{extra}]'")
