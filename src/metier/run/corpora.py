"""A recipe with ``pretrain``: curate its corpus, learn it, measure what is held out."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path

from metier.errors import MetierError
from metier.evaluation.evidence import read_scores, write_scores
from metier.files import write_text
from metier.models.bases import resolve
from metier.recipe import Recipe
from metier.run.corpus_preflight import corpus_preflight
from metier.run.corpus_tokenizer import tokenizer_file
from metier.run.curate import curate
from metier.run.mixes import compare_mixes
from metier.run.pretrain import Corpus, pretrain
from metier.run.pretrain_parts import bits_file
from metier.run.progress import console
from metier.run.samples import write_samples
from metier.sources import Lock
from metier.training import distributed


def learn_corpus(recipe_path: Path, recipe: Recipe, path: Path, *, data_root: Path | None, offline: bool) -> Path:
    """Curate into ``path``, then pretrain on what was curated; under ``torchrun`` the first process curates for all.

    Returns:
        The folder of the model: ``path/specialist``, or ``path/pretrained/specialist`` where a task is learnt after it;
        ``…/mixes/mixed/specialist`` where mixes are compared.

    Errors: :class:`MetierError` of either; a continued base whose tokenizer is not the corpus's.
    """
    assert recipe.pretrain is not None
    assert recipe.corpus is not None
    distributed.start()
    if distributed.is_first():
        if not (path / "corpus" / "tokens").is_dir():  # what cannot be learnt is told before hours of curating
            corpus_preflight(recipe_path, recipe, data_root=data_root, offline=offline)
        curate(recipe_path, out=path, data_root=data_root, offline=offline)
    distributed.barrier()
    roots = [recipe_path.parent, Path(), *([data_root] if data_root else [])]
    tokenizer = tokenizer_file(recipe, path, roots, offline).parent
    base = None
    if recipe.pretrain.method == "continue":
        base = resolve(recipe.base, lock=Lock.load(path / "lock.json"), offline=offline, where="recipe, base").path
    out = path / "pretrained" if recipe.task else path
    corpus = Corpus(
        sources=_folders(path, "train"),
        weights=recipe.corpus.weights,
        hold_outs={
            f"{name}.{split}" if split == "later" else name: folder
            for split in ("held_out", "later")
            for name, folder in _folders(path, split).items()
        },
        tokenizer=tokenizer,
    )
    if not corpus.sources:
        raise MetierError(
            "everything that was curated is held out: nothing is left to learn",
            where=f"{recipe_path}, corpus.hold_out",
            fix="hold out a smaller share, or give more documents",
        )
    if distributed.is_first():
        _forget_others(out, corpus.hold_outs)
    if recipe.pretrain.mixes:
        learnt = compare_mixes(recipe, corpus, out, base=base)
    else:
        learnt = pretrain(
            recipe.pretrain, corpus, out, base=base, seed=recipe.seed, device=recipe.device, dtype=recipe.dtype
        )
    if distributed.is_first():
        from metier.report import write_card, write_report

        write_samples(out, learnt / "specialist", corpus, seed=recipe.seed, device=recipe.device)
        if out != path:  # the task's report takes the run's own place
            write_text(out / "ledger.json", (path / "ledger.json").read_text(encoding="utf-8"))
        write_text(out / "recipe.yaml", recipe_path.read_text(encoding="utf-8"))
        console.print(f"  report: [bold]{write_report(out)}[/]")
        write_card(out)
    distributed.barrier()
    return learnt / "specialist"


def _folders(path: Path, split: str) -> dict[str, Path]:
    """Token shards by source, of those in the ledger that have a document in ``split``."""
    sources = json.loads((path / "ledger.json").read_text("utf-8"))["sources"]
    return {n: path / "corpus" / "tokens" / split / n for n in sorted(sources) if split in sources[n]["splits"]}


def _forget_others(out: Path, hold_outs: Container[str]) -> None:
    """Of hold-outs that are none any more neither scores nor predictions stay, nor what was continued from them."""
    for folder in [out, *out.glob("mixes/*")]:
        scores = read_scores(folder / "evidence" / "scores.json")
        others = [name for name in scores if name not in hold_outs]
        for name in others:
            for system in scores.pop(name):
                bits_file(folder, name, system).unlink(missing_ok=True)
        if others:
            write_scores(folder / "evidence" / "scores.json", scores)
            (folder / "evidence" / "samples.json").unlink(missing_ok=True)
