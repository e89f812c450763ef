"""The tokenizer that a corpus is cut with: one that is there already, or one trained on the corpus itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from metier.corpus.work import Work
from metier.errors import MetierError
from metier.models.bases import catalogue, resolve
from metier.recipe import Recipe
from metier.recipe.tokenizer import TokenizerChoice
from metier.run.progress import bar, console
from metier.run.stages import RunDirectory
from metier.run.tokenizer import train_on

FOLDER = "tokenizer"


def tokenizer_file(recipe: Recipe, run: Path, roots: list[Path], offline: bool) -> Path:
    """The ``tokenizer.json`` of a recipe's corpus: trained in its ``run``, of a base, or a folder or file of one's own.

    Args:
        roots: folders that a relative path is looked for in.

    Errors: :class:`MetierError` where nothing has that name.
    """
    assert recipe.corpus is not None
    choice = recipe.corpus.tokenizer
    if recipe.tokenizer:
        return (run / FOLDER / "tokenizer.json").resolve()
    if choice not in catalogue() and not choice.startswith("hf:"):
        for place in [Path(choice)] if Path(choice).is_absolute() else [root / choice for root in roots]:
            file = place / "tokenizer.json" if place.is_dir() else place
            if file.is_file():
                return file.resolve()
    try:
        return resolve(choice, offline=offline).path / "tokenizer.json"
    except MetierError as error:
        if error.where:
            raise
        fix = f"name a tokenizer.json, a folder that holds one, or a base: {', '.join(catalogue())}"
        raise MetierError(f"there is no tokenizer {choice!r}", where="recipe, corpus.tokenizer", fix=fix) from error


@dataclass(frozen=True)
class _Kept:
    """The texts of one source that may be learnt: neither dropped nor held out."""

    work: Work
    number: int

    @property
    def name(self) -> str:
        return self.work.sources[self.number].name

    def texts(self) -> Iterator[str]:
        return self.work.kept(self.number)

    def to_json(self) -> dict[str, object]:
        return {"name": self.name}


def train_in_run(choice: TokenizerChoice, work: Work, run: RunDirectory, keys: list[str]) -> int:
    """Train on what is learnt of the corpus, into ``<run>/tokenizer``; returns 0 where that was done before."""
    sources = [_Kept(work, number) for number in range(len(work.sources))]

    def train() -> None:
        total = sum(len(text.encode()) for source in sources for text in source.texts())
        with bar("tokenizer, bytes", total) as advance:
            done = train_on(choice, sources, run.path / FOLDER, tick=advance)
        console.print(f"  tokenizer: {done.vocab_size:,} tokens, {choice.kind}")

    outputs = [run.path / FOLDER / name for name in ("tokenizer.json", "training.json")]
    reads = [keys, [source.domain for source in work.sources], vars(work.hold_out), choice.model_dump(mode="json")]
    return run.stage("corpus/tokenizer", reads, outputs, train)
