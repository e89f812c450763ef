"""Deciding the encoding of a text file once, for the whole file, and never guessing silently.

In order: what the user declared; a byte-order mark; UTF-8, strictly; what the file states; what a detector finds.
Nothing is ever replaced by a question mark: a file that does not decode from end to end is an error that names the byte
and the line.
"""

from __future__ import annotations

import codecs
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from metier.errors import MetierError
from metier.sources.compression import explained, open_bytes

log = logging.getLogger(__name__)

_MARKS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_told: set[tuple[Path, str]] = set()  # a table is opened more than once
_BLOCK = 1 << 20
_HEAD_BYTES = 4096  # browsers look for what a page states in 1,024
_SAMPLE_BYTES = 1 << 18  # of lines that are not ASCII: the only ones that tell encodings apart
_ENOUGH_BYTES = 60  # above ASCII; a detector's word on less is a guess
_HIGH = bytes(range(0x80, 0x100))
_HIGH_RUN = re.compile(r"[^\x00-\x7f]+")
_SIGN_IN_WORD = re.compile(r"(?<=[a-z])[\u2030\xa1-\xa9\xab-\xac\xae-\xb3\xb5\xb6\xb8-\xb9\xbb-\xbf\xd7\xf7](?=[a-z])")
_CONTROL = re.compile(r"[\x80-\x9f]")
_CANDIDATES = [
    *("iso8859_2", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("cp932", "euc_jp", "gb18030", "big5", "euc_kr", "cp949"),
]
_BROWSERS = {  # what pages mean by a name: https://encoding.spec.whatwg.org/#names-and-labels
    **{"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874"},
    **{"shift_jis": "cp932", "euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030"},
}
_MULTIBYTE = {"cp932", "euc_jp", "gb18030", "big5", "euc_kr", "cp949"}


def decide_encoding(path: Path, declared: str | None = None, stated: re.Pattern[bytes] | None = None) -> str:
    """The name of the codec that decodes the whole of ``path`` (decompressed first if need be).

    Args:
        declared: by the user; the file must decode so.
        stated: finds in the file's beginning what it says of itself, such as a page's ``<meta charset>``. That is
            often out of date: it counts where the file is not UTF-8 and decodes so.

    Raises:
        MetierError: an empty file; an unknown codec; bytes that do not decode, with offset and line; a file that
            mixes encodings; NUL bytes, which no table of text holds.
    """
    with explained(path):
        with open_bytes(path) as file:
            start = file.read(_HEAD_BYTES)
        if not start:
            raise MetierError("the file is empty", where=str(path), fix="give a file with at least one row")
        encoding = _declared(path, declared, start) or _marked(start)
        if encoding:
            _verify(path, encoding, declared)
            return encoding
        for codec in ["utf-8", *_stated(start, stated)]:
            if _decodes(path, codec):
                _refuse_nul(path)
                return codec
        return _detect(path)


def _declared(path: Path, declared: str | None, start: bytes) -> str | None:
    if not declared:
        return None
    name = codec_of(declared, str(path))
    return "utf-8-sig" if name == "utf-8" and start.startswith(codecs.BOM_UTF8) else name


def codec_of(declared: str, where: str) -> str:
    """Python's own name of an encoding.

    Raises:
        MetierError: there is none of that name, or one that is not of text, such as base64.
    """
    try:
        "".encode(declared)
        return codecs.lookup(declared).name
    except (LookupError, ValueError):
        fix = "use a name that Python knows: utf-8, latin-1, cp1252, utf-16, shift_jis, gb18030, …"
        raise MetierError(f"unknown encoding {declared!r}", where=where, fix=fix) from None


def refuse_unwritable_name(path: Path) -> None:
    """A name that is not UTF-8, as old archives give, could not be written down beside what the file holds.

    Raises:
        MetierError: such a name.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise MetierError("the file's name is not UTF-8", where=shown, fix="rename the file or the folder") from None


def _stated(start: bytes, pattern: re.Pattern[bytes] | None) -> list[str]:
    """The codecs that the name which a page gives can mean: what browsers take it for, and itself."""
    found = pattern.search(start) if pattern else None
    if found is None:
        return []
    name = found[1].decode()
    try:
        ascii = b"<".decode(name) == "<"  # the name itself was read so; and some codecs are not of text
    except (LookupError, UnicodeError):
        return []
    codec = codecs.lookup(name).name
    return [_BROWSERS.get(codec, codec), codec] if ascii else []


def _marked(start: bytes) -> str | None:
    return next((name for mark, name in _MARKS if start.startswith(mark)), None)


def _blocks(path: Path) -> Iterator[bytes]:
    with open_bytes(path) as file:
        while block := file.read(_BLOCK):
            yield block


def _first_fault(path: Path, encoding: str) -> tuple[int, str] | None:
    """Offset (bytes) and reason of the first byte that does not decode, or None."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    offset = 0  # of the block, less what the decoder still holds of the one before
    for block in _blocks(path):
        held = len(decoder.getstate()[0])
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            return max(offset - held + error.start, 0), error.reason
        offset += len(block)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return max(offset - len(error.object) + error.start, 0), error.reason
    return None


def _decodes(path: Path, encoding: str) -> bool:
    try:
        return _first_fault(path, encoding) is None
    except UnicodeError:
        return False


def _verify(path: Path, encoding: str, declared: str | None) -> None:
    try:
        fault = _first_fault(path, encoding)
    except UnicodeError as error:
        fault = (0, str(error))
    if fault:
        why = "as declared" if declared else "as its byte-order mark says"
        fix = "declare another `encoding:`" if declared else "save the file anew as UTF-8, or declare its `encoding:`"
        raise MetierError(f"not {encoding}, {why}: {fault[1]}", where=_place(path, fault[0]), fix=fix)
    if not encoding.startswith(("utf-16", "utf-32")):
        _refuse_nul(path)


def _refuse_nul(path: Path) -> None:
    offset = 0
    for block in _blocks(path):
        at = block.find(b"\0")
        if at >= 0:
            fix = "remove it; or, if the file is UTF-16, declare `encoding: utf-16-le` (or utf-16-be)"
            raise MetierError("a NUL byte, which text does not hold", where=_place(path, offset + at), fix=fix)
        offset += len(block)


def _place(path: Path, offset: int) -> str:
    seen = line = 0
    for block in _blocks(path):
        line += block[: max(offset - seen, 0)].count(b"\n")
        seen += len(block)
        if seen > offset:
            break
    return f"{path}, line {line + 1}, byte offset {offset}"


def _detect(path: Path) -> str:
    from charset_normalizer import from_bytes

    _refuse_nul(path)
    sample, utf8_lines, other_lines, first_utf8, first_other = _sample(path)
    found = _western(path, sample)
    if found is None and len(sample) - len(sample.translate(None, _HIGH)) >= _ENOUGH_BYTES:
        likely = [_japanese(sample), *(match.encoding for match in from_bytes(sample, cp_isolation=_CANDIDATES))]
        found = next((name for name in likely if name and _plausible(sample, name) and _decodes(path, name)), None)
    # A single-byte text is never UTF-8 by chance; pairs of bytes in East Asian encodings now and then are.
    rare = found in _MULTIBYTE and utf8_lines <= 0.2 * other_lines
    if utf8_lines and not rare:
        raise MetierError(
            f"mixed encodings: line {first_utf8} is UTF-8 and line {first_other} is not ({utf8_lines} such lines "
            f"against {other_lines}); tried UTF-8 and {found or 'a detector'}",
            where=_place(path, (_first_fault(path, "utf-8") or (0, ""))[0]),
            fix=f"save the file in one encoding, or declare `encoding: {found or 'cp1252'}` to read all of it so",
        )
    if found is None:
        fault = _first_fault(path, "utf-8") or (0, "")
        fix = "declare `encoding:`, or save the file as UTF-8"
        tried = "tried UTF-8, cp1252, latin-1 and a detector"
        raise MetierError(f"the encoding cannot be told; {tried}", where=_place(path, fault[0]), fix=fix)
    if (path, found) not in _told:
        log.warning("%s is not UTF-8: read as %s, as a detector found; save it as UTF-8 to be sure", path, found)
    _told.add((path, found))
    return found


def _western(path: Path, sample: bytes) -> str | None:
    """cp1252 (or latin-1) if the bytes look like western European text, which a detector often mistakes.

    There, letters with accents stand alone or in pairs among plain ones, and signs do not stand inside words; in any
    other alphabet read as cp1252 they stand in long rows, or signs stand inside words.
    """
    name = next((codec for codec in ("cp1252", "latin-1") if _decodes(path, codec)), None)
    if name is None:
        return None
    runs = [len(run) for run in _HIGH_RUN.findall(sample.decode(name, errors="ignore"))]
    in_long_runs = sum(length for length in runs if length > 3)
    return name if in_long_runs <= 0.02 * sum(runs) and _plausible(sample, name) else None


def _plausible(sample: bytes, name: str) -> bool:
    """Whether, decoded so, next to no signs stand inside words, and next to no control codes anywhere."""
    text = sample.decode(name, errors="ignore")
    high = sum(len(run) for run in _HIGH_RUN.findall(text))
    return high > 0 and len(_SIGN_IN_WORD.findall(text)) + len(_CONTROL.findall(text)) <= 0.02 * high


def _japanese(sample: bytes) -> str | None:
    """The Japanese encoding in which a third of the text is kana, if there is one."""
    for name in ("cp932", "euc_jp"):
        high = re.findall(r"[^\x00-\x7f]", sample.decode(name, errors="ignore"))
        if sum("\u3040" <= letter <= "\u30ff" for letter in high) > len(high) / 3:
            return name
    return None


def _sample(path: Path) -> tuple[bytes, int, int, int, int]:
    """Lines that are not ASCII; how many of them are valid UTF-8 and how many not; the first of each."""
    sample = bytearray()
    counts, firsts = [0, 0], [0, 0]
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                kind = 0
            except UnicodeDecodeError:
                kind = 1
            counts[kind] += 1
            firsts[kind] = firsts[kind] or number
            if len(sample) < _SAMPLE_BYTES:
                sample += line
    return bytes(sample), counts[0], counts[1], firsts[0], firsts[1]
