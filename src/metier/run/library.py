"""Passages to look things up in: from documents, or from a corpus that was curated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from metier.corpus.readers import read_source
from metier.corpus.shards import TokenShards
from metier.corpus.source import Source, expand
from metier.corpus.text import Tally
from metier.errors import MetierError
from metier.inference.strategies.retrieval import Passage, passages
from metier.models.load import load_tokenizer
from metier.recipe import load_recipe
from metier.run.corpus_tokenizer import tokenizer_file


def load_library(
    place: str,
    roots: Sequence[Path],
    *,
    text: str | Sequence[str] | None = None,
    split_on: str = "file",
    offline: bool = False,
) -> list[Passage]:
    """The passages of a file, a folder or a glob below one of ``roots``, or of a curated run directory; of tables those
    of the fields ``text``.

    Errors: :class:`MetierError` where nothing is there, or it cannot be read.
    """
    fields = (text,) if isinstance(text, str) else tuple(text or ())
    found = list(_passages(place, roots, fields, split_on, offline))
    return found or _refuse_empty(place)


def check_library(
    place: str, roots: Sequence[Path], *, text: str | Sequence[str] | None, split_on: str, offline: bool
) -> None:
    """As :func:`load_library`, up to the first passage."""
    fields = (text,) if isinstance(text, str) else tuple(text or ())
    if next(_passages(place, roots, fields, split_on, offline), None) is None:
        _refuse_empty(place)


def _refuse_empty(place: str) -> NoReturn:
    raise MetierError("the documents hold no text to look things up in", where=place, fix="name other documents")


def _passages(
    place: str, roots: Sequence[Path], fields: tuple[str, ...], split_on: str, offline: bool
) -> Iterator[Passage]:
    curated = next((root / place for root in roots if (root / place / "corpus" / "tokens").is_dir()), None)
    texts = _curated(curated, offline) if curated else _documents(place, roots, fields, split_on)
    for id, whole in texts:
        yield from passages(id, whole)


def _documents(place: str, roots: Sequence[Path], fields: tuple[str, ...], split_on: str) -> Iterator[tuple[str, str]]:
    files = expand(place, list(roots))
    for text in read_source(Source("library", tuple(files), text=fields, split_on=split_on), Tally()):
        yield text.id.removeprefix("library/"), text.text


def _curated(run: Path, offline: bool) -> Iterator[tuple[str, str]]:
    """The documents of the training part, out of their tokens."""
    recipe = load_recipe(run / "recipe.yaml")
    assert recipe.corpus is not None
    file = tokenizer_file(recipe, run, [run, Path()], offline)
    tokenizer = load_tokenizer(file.parent)
    for index in sorted((run / "corpus" / "tokens" / "train").glob("*/index.json")):
        shards = TokenShards.open(index.parent)
        for number, id in enumerate(shards.ids()):
            yield id, str(tokenizer.decode(shards.document(number)[:-1].tolist()))
