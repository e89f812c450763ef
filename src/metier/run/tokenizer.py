"""Tokenizers from files to folders: train one and choose its size, and compare several on several sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from metier.errors import MetierError
from metier.evaluation.intervals import ratio
from metier.evaluation.scores import Score
from metier.files import sha256_file, write_dir, write_json
from metier.recipe.tokenizer import TokenizerChoice
from metier.report.tokenizers import plot_comparison, plot_sizes
from metier.run.progress import Tick
from metier.run.texts import find_sources, tell_skipped
from metier.sources.refs import local_path
from metier.tokenization import (
    Size,
    count_tokens,
    load_tokenizer_file,
    save_tokenizer,
    size_curve,
    train_tokenizer,
)  # fmt: skip

_HELD_OUT = 20  # every so many-th text is kept from training where a size is to be chosen
_SAMPLE_BYTES = 4_000_000


@dataclass(frozen=True)
class TrainedFolder:
    """A tokenizer on disk: its size, and the curve that the size was chosen from (empty if it was given)."""

    folder: Path
    vocab_size: int
    curve: list[Size]


def train_to_folder(
    choice: TokenizerChoice, places: Sequence[str], out: Path, *, column: str = "text", tick: Tick | None = None
) -> TrainedFolder:
    """:func:`train_on` the files, folders or patterns named by ``places``.

    Raises:
        MetierError: no text, a file that cannot be read, a size that the text does not support.
    """
    refuse_other_folder(out, "training.json")
    sources = find_sources(places, column)
    tell_skipped(sources)
    for source in sources:
        source.check()
    return train_on(choice, sources, out, tick=tick)


class Texts(Protocol):
    """Texts that can be read more than once."""

    def texts(self) -> Iterator[str]:
        """All of them, in one order."""

    def to_json(self) -> dict[str, object]:
        """What they are, for the record."""


def train_on(
    choice: TokenizerChoice, sources: Sequence[Texts], out: Path, *, tick: Tick | None = None
) -> TrainedFolder:
    """Train on texts and write tokenizer.json, tokenizer_config.json and training.json (and sizes.svg) to ``out``.

    Where sizes are to be chosen among, every 20th text is kept from training, and the size is the one that writes
    them in the fewest bits at log2(V) bits a token.

    Raises:
        MetierError: no text, a size that the text does not support.
    """
    seen = _Seen(sources, _HELD_OUT if choice.sizes else 0)
    if choice.kind != "bpe":
        from metier.models.device import prepare_process  # imports torch

        prepare_process("cpu")  # buffers that are kept, not mapped anew, halve the time of Unigram's steps
    largest = max(choice.sizes) if choice.sizes else choice.vocab_size
    trained = train_tokenizer(
        seen.training(), choice.kind, largest,
        part_bytes=choice.part_bytes, part_size=choice.part_size, longest=choice.longest, progress=tick,
    )  # fmt: skip
    curve: list[Size] = []
    if choice.sizes:
        curve = size_curve(trained.at, choice.sizes, seen.held_out())
    size = min(curve, key=lambda one: one.bits).vocabulary if curve else choice.vocab_size
    with write_dir(out) as folder:
        save_tokenizer(trained.at(size), folder)
        record = {
            "settings": choice.model_dump(mode="json"),
            "vocab_size": size,
            "sizes": [asdict(one) for one in curve],
            "texts": seen.count,
            "bytes": seen.bytes,
            "held_out_every": seen.every or None,
            "sources": [source.to_json() for source in sources],
            "tokenizer_sha256": sha256_file(folder / "tokenizer.json"),
            "versions": {name: version(name) for name in ("metier", "tokenizers", "transformers", "numpy")},
        }
        write_json(folder / "training.json", record)
        if curve:
            plot_sizes(curve, folder / "sizes.svg")
    return TrainedFolder(out, size, curve)


class _Seen:
    """The texts of some sources, counted while they are trained on; some may be held out."""

    def __init__(self, sources: Sequence[Texts], every: int) -> None:
        self.sources, self.every, self.count, self.bytes = sources, every, 0, 0

    def _all(self) -> Iterator[tuple[int, str]]:
        yield from enumerate(text for source in self.sources for text in source.texts())

    def training(self) -> Iterator[str]:
        for number, text in self._all():
            if not self.every or number % self.every != self.every - 1:
                self.count += 1
                self.bytes += len(text.encode("utf-8"))
                yield text

    def held_out(self) -> list[str]:
        """Texts held out, up to 4 MB of them."""
        chosen, size = [], 0
        for text in (text for number, text in self._all() if number % self.every == self.every - 1):
            chosen.append(text)
            size += len(text.encode("utf-8"))
            if size >= _SAMPLE_BYTES:
                break
        if not chosen:
            raise MetierError(
                f"there are fewer than {self.every} texts: none is left to choose a size by",
                fix="give more texts, or a single --vocab-size",
            )
        return chosen


def refuse_other_folder(out: Path, mark: str) -> None:
    """A folder that is not the result of an earlier call is not replaced."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / mark).exists()):
        raise MetierError("something else is there already", where=str(out), fix="choose another folder with --out")


def resolve_tokenizer(name: str, *, offline: bool = False) -> tuple[str, Any]:
    """A tokenizer by base name, hub reference, folder or file: what to call it, and the tokenizer.

    Raises:
        MetierError: nothing has that name, or what is there is damaged.
    """
    path = local_path(name)
    if path.exists():
        return path.parent.name if path.name == "tokenizer.json" else path.name, load_tokenizer_file(path)
    from metier.models.bases import resolve

    return name, load_tokenizer_file(resolve(name, offline=offline).path)


def compare_tokenizers(
    names: Sequence[str],
    places: Sequence[str],
    *,
    column: str = "text",
    documents: int | None = None,
    seed: int = 0,
    offline: bool = False,
    tick: Tick | None = None,
) -> dict[str, dict[str, dict[str, Any]]]:
    """By tokenizer and source: documents, tokens, words, bytes; tokens a word, bytes a token and the share of stray
    bytes, each as a :class:`Score`.

    Args:
        documents: at most so many texts of each source, the first ones; all if left out.

    Raises:
        MetierError: an unknown tokenizer, two of one name, two sources of one name, no text in one.
    """
    tokenizers: dict[str, Any] = {}
    for name in names:
        label, tokenizer = resolve_tokenizer(name, offline=offline)
        if label in tokenizers:
            raise MetierError(f"two tokenizers are called '{label}'", where=name, fix="rename one of the folders")
        tokenizers[label] = tokenizer
    if not tokenizers:
        raise MetierError("there is no tokenizer to compare", fix="name one or more: --tokenizer NAME")
    found: dict[str, dict[str, dict[str, Any]]] = {label: {} for label in tokenizers}
    sources = find_sources(places, column)
    tell_skipped(sources)
    for source in sources:
        if any(source.name in by_source for by_source in found.values()):
            raise MetierError(f"two sources are called '{source.name}'", fix="name one yourself: NAME=PLACE")
        texts = list(islice(source.texts(), documents))
        if not texts:
            raise MetierError("the source holds no text", where=source.name, fix="check its files and --column")
        for label, tokenizer in tokenizers.items():
            found[label][source.name] = _measured(tokenizer, texts, seed)
            if tick:
                tick(1)
    return found


def _measured(tokenizer: Any, texts: Sequence[str], seed: int) -> dict[str, Any]:
    counts = count_tokens(tokenizer, texts)
    tokens, words = counts.tokens.tolist(), counts.words.tolist()
    return {
        "documents": len(texts),
        "tokens": sum(tokens),
        "words": sum(words),
        "bytes": int(counts.bytes.sum()),
        "tokens_per_word": ratio(tokens, words, seed=seed),
        "bytes_per_token": ratio(counts.bytes.tolist(), tokens, seed=seed),
        "stray_share": ratio(counts.stray.tolist(), tokens, seed=seed),
    }


def comparison_json(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The comparison with each score as ``{"value", "low", "high", "n"}``."""
    return {
        label: {
            source: {key: value.to_json() if isinstance(value, Score) else value for key, value in entry.items()}
            for source, entry in by_source.items()
        }
        for label, by_source in found.items()
    }


def write_comparison(found: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Write the plot of a comparison."""
    plot_comparison(found, path)
