"""Tokenizers in the form that the tokenizers library runs and transformers loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from metier.errors import MetierError
from metier.tokenization.words import RULE

END = "<|endoftext|>"
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
# GPT-2's way to write bytes as visible characters, which the library's ByteLevel steps use
ALPHABET = {**{b: chr(b) for b in _PRINTABLE}, **{b: chr(256 + i) for i, b in enumerate(_OTHERS)}}
BYTES = {char: byte for byte, char in ALPHABET.items()}


def written(piece: bytes) -> str:
    """A piece as vocabulary files write it: one character a byte."""
    return "".join(ALPHABET[byte] for byte in piece)


def unigram_tokenizer(chances: Mapping[bytes, float]) -> Tokenizer:
    """A Unigram tokenizer of pieces, the likeliest first; the end token has id 0 and can come of no text."""
    ordered = sorted(chances, key=lambda piece: (-chances[piece], piece))
    scores = [float(np.log(chances[piece])) for piece in ordered]
    vocabulary = [(END, scores[-1]), *zip(map(written, ordered), scores, strict=True)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=None, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(RULE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return finish(tokenizer)


def empty_bpe() -> Tokenizer:
    """A byte-level BPE tokenizer to be trained: GPT-2's words, one digit a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return finish(tokenizer)


def finish(tokenizer: Tokenizer) -> Tokenizer:
    """Set what all our tokenizers share: bytes back to text, and the end token."""
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END, normalized=False, special=True)])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and its configuration for ``AutoTokenizer``; begin, end and padding are the end token."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )
    fast.save_pretrained(folder)


def load_tokenizer_file(path: Path) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``, or of the folder that holds it.

    Raises:
        MetierError: there is none, or it is damaged.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise MetierError("there is no tokenizer.json", where=str(path), fix="name a folder or file that holds one")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises Exception itself
        what = f"the tokenizer cannot be read: {str(error)[:200]}"
        raise MetierError(what, where=str(file), fix="name a whole tokenizer.json of the tokenizers library") from error
