"""One way to train every kind of tokenizer, and to have it at several sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer

from metier.errors import MetierError, nearest
from metier.tokenization.bpe import cut_bpe, train_bpe
from metier.tokenization.build import unigram_tokenizer
from metier.tokenization.merge import PART_BYTES, PART_SIZE, cut, train_split
from metier.tokenization.unigram import LONGEST, train_unigram
from metier.tokenization.words import count_windows

KINDS = ("bpe", "unigram", "unigram-split")
SMALLEST = 257  # 256 bytes and the end token
_SPARE = 1.1  # pieces left for the last cut by probability, as in sentencepiece


@dataclass(frozen=True)
class Trained:
    """A tokenizer that can be had at any size up to ``largest``; ``at`` raises :class:`MetierError` beyond it."""

    kind: str
    largest: int
    at: Callable[[int], Tokenizer]


def train_tokenizer(
    texts: Iterable[str],
    kind: str,
    size: int,
    *,
    part_bytes: int = PART_BYTES,
    part_size: int | None = None,
    longest: int = LONGEST,
    progress: Callable[[int], None] | None = None,
) -> Trained:
    """Learn a vocabulary of ``size`` tokens: bytes, the end token, and pieces.

    Args:
        texts: read once, in order; only ``unigram`` keeps what it reads.
        kind: ``bpe``; ``unigram``, one model of the whole text; or ``unigram-split``, BloombergGPT's split and merge.
        size: the largest size that will be asked for.
        part_bytes: text of one part of ``unigram-split``.
        part_size: most pieces of one part's model; ``size``, or 16,384 where that is more, if left out.
        longest: most bytes in a piece of a Unigram model.
        progress: told the bytes of text that are done.

    Raises:
        MetierError: an unknown kind, no text, or a size that the text does not support.
    """
    if kind not in KINDS:
        raise MetierError(f"there is no kind of tokenizer '{kind}'", fix=nearest(kind, KINDS))
    if size < SMALLEST:
        raise MetierError(
            f"a vocabulary of {size} has no room for the 256 bytes and the end token", fix=f"ask for {SMALLEST} or more"
        )
    if kind == "bpe":
        return _bpe(_told(texts, progress), size)
    if kind == "unigram":
        windows = count_windows(_told(texts, progress))
        chances = train_unigram(windows, max(SMALLEST, int(_SPARE * size)), longest=longest)
    else:
        most = part_size or max(PART_SIZE, size)
        chances = train_split(texts, part_bytes=part_bytes, part_size=most, longest=longest, progress=progress).chances
    capped = kind == "unigram-split" and part_size is not None and part_size < size
    more = f"ask for fewer, or for parts of more pieces than {part_size:,} (part_size)" if capped else None
    cut(chances, size, *filter(None, [more]))  # refuses a size that is too large
    largest = sum(len(piece) > 1 for piece in chances) + SMALLEST
    return Trained(kind, largest, lambda wanted: unigram_tokenizer(cut(chances, wanted)))


def _bpe(texts: Iterable[str], size: int) -> Trained:
    """BPE, refused where the library silently gives fewer tokens than were asked for."""
    counted = _Counted(texts)
    whole = train_bpe(counted, size)
    largest = whole.get_vocab_size()
    if not counted.bytes:
        raise MetierError("there is no text to learn a vocabulary from", fix="check the files and the column of texts")

    def at(wanted: int) -> Tokenizer:
        if wanted > largest:
            raise MetierError(
                f"a vocabulary of {wanted} is larger than the text supports: the largest possible is {largest}",
                where="vocab_size",
                fix="ask for fewer, or give more text",
            )
        return cut_bpe(whole, wanted)

    at(size)
    return Trained("bpe", largest, at)


class _Counted:
    """An iterable that remembers whether it gave any text."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts, self.bytes = texts, 0

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            self.bytes += len(text)
            yield text


def _told(texts: Iterable[str], progress: Callable[[int], None] | None) -> Iterator[str]:
    for text in texts:
        yield text
        if progress:
            progress(len(text.encode("utf-8")))
