"""What a tokenizer makes of texts: tokens, words, bytes and stray bytes, document by document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from metier.tokenization.build import BYTES

_AT_ONCE = 512  # documents encoded together


@dataclass(frozen=True)
class Counts:
    """Counts for each document, all ``(documents,)``.

    Attributes:
        tokens: tokens, without special ones.
        words: words between white space.
        bytes: bytes of UTF-8.
        stray: tokens that are no text: unknown, or a byte (or more) that is only a part of a character.
    """

    tokens: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]
    stray: npt.NDArray[np.int64]


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> Counts:
    """Encode each text by itself and count."""
    no_text = _stray(tokenizer)
    rows = []
    for start in range(0, len(texts), _AT_ONCE):
        group = list(texts[start : start + _AT_ONCE])
        for text, encoding in zip(group, tokenizer.encode_batch(group, add_special_tokens=False), strict=True):
            ids = np.array(encoding.ids, dtype=np.int64)
            rows.append((len(ids), len(text.split()), len(text.encode("utf-8")), int(no_text[ids].sum())))
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Counts(*columns)


def _stray(tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    """By id: whether a token is unknown or only a part of a character."""
    vocabulary = tokenizer.get_vocab()
    unknown = getattr(tokenizer.model, "unk_token", None)
    byte_level = '"ByteLevel"' in tokenizer.to_str().partition('"vocab"')[0]
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    found = np.zeros(max(vocabulary.values()) + 1, dtype=bool)
    for token, number in vocabulary.items():
        if token in added:
            found[number] = token == unknown
        elif byte_level:
            found[number] = not _whole(token)
        else:
            found[number] = bool(re.fullmatch(r"<0x[89A-F][0-9A-F]>", token)) or token == unknown
    return found


def _whole(token: str) -> bool:
    """Whether the bytes of a byte-level token are whole characters."""
    try:
        bytes(BYTES[char] for char in token).decode("utf-8")
    except (UnicodeDecodeError, KeyError):
        return False
    return True
