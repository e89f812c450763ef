"""Texts cut into the chunks that no token crosses, counted, and gathered into parts of bounded size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

# BloombergGPT's rule (Wu et al. 2023, arXiv:2303.17564, section 2.3): spaces belong to alphabetic chunks, so that
# a token may hold several words; every digit stands alone.
RULE = "[ A-Za-z]+|[0-9]|[^A-Za-z0-9]+"
# The same for training, in windows: an alphabetic chunk may be a whole chapter, and work is done window by window.
# 48 characters are at most 192 bytes of UTF-8.
_WINDOWS = re.compile("[ A-Za-z]{1,192}|[0-9]|[^A-Za-z0-9]{1,48}")


def count_windows(texts: Iterable[str]) -> Counter[bytes]:
    """How often each window (bytes of UTF-8, at most 192) occurs."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(_WINDOWS.findall(text))
    return Counter({window.encode("utf-8"): count for window, count in found.items()})


def in_parts(texts: Iterable[str], part_bytes: int) -> Iterator[tuple[list[str], int]]:
    """Texts gathered into parts of about ``part_bytes`` bytes of UTF-8, with each part's size; long texts are cut."""
    gathered: list[str] = []
    size = 0
    for text in texts:
        for start in range(0, len(text), part_bytes):
            piece = text[start : start + part_bytes]
            gathered.append(piece)
            size += len(piece.encode("utf-8"))
            if size >= part_bytes:
                yield gathered, size
                gathered, size = [], 0
    if gathered:
        yield gathered, size
