"""A ``tokenizer.json`` as token shards need it. It is loaded where it is used, so it can be sent to other processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.files import sha256_file

Encode = Callable[[list[str]], list[list[int]]]
END_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""What ends a document, the first that the tokenizer has: a chat model's own end ends a turn."""


@dataclass(frozen=True)
class Encoder:
    """A tokenizer as the shards need it.

    Attributes:
        encode: from texts to token ids without special tokens; it must be picklable where several processes work.
        vocabulary: number of ids, added tokens included.
        end: the end-of-text token.
        sha256: of the tokenizer's file.
    """

    encode: Encode
    vocabulary: int
    end: int
    sha256: str


class _Encode:
    """A ``tokenizer.json``, loaded where it is used. Text that spells a special token is text."""

    def __init__(self, path: Path, sha256: str) -> None:
        self.path, self.sha256 = path, sha256

    def __call__(self, texts: list[str]) -> list[list[int]]:
        return [
            found.ids for found in _tokenizer(self.path, self.sha256).encode_batch_fast(texts, add_special_tokens=False)
        ]


@lru_cache(maxsize=2)
def _tokenizer(path: Path, sha256: str) -> Any:  # a file that was trained anew is another one
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(path))
    found.no_truncation()
    found.no_padding()
    found.encode_special_tokens = True
    return found


def tokenizer_encoder(file: Path) -> Encoder:
    """What the shards need of a ``tokenizer.json``.

    Raises:
        MetierError: a file that is none; a tokenizer without an end-of-text token.
    """
    try:
        sha256 = sha256_file(file)
        tokenizer = _tokenizer(file, sha256)
    except Exception as error:  # the library raises a bare Exception
        fix = "give a tokenizer.json of the tokenizers library, or a folder that holds one"
        raise MetierError(f"the tokenizer cannot be read: {error}", where=str(file), fix=fix) from error
    ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    end = next((token for token in END_TOKENS if token in ids), None) or _stated_end(file, ids)
    return Encoder(_Encode(file, sha256), max(ids.values()) + 1, ids[end], sha256)


def _stated_end(file: Path, ids: dict[str, int]) -> str:
    config = file.parent / "tokenizer_config.json"
    stated = json.loads(config.read_text("utf-8")).get("eos_token") if config.is_file() else None
    token = stated.get("content") if isinstance(stated, dict) else stated
    if token not in ids:
        fix = f"add one of {', '.join(END_TOKENS)} to it, or eos_token to tokenizer_config.json"
        raise MetierError("the tokenizer has no end-of-text token", where=str(file), fix=fix)
    return str(token)
