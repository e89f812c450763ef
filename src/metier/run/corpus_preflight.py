"""``metier validate`` for a recipe with a corpus: files are found, tokenizer and shape resolve, memory is reckoned."""

from __future__ import annotations

from pathlib import Path

from metier.corpus.source import expand, left_out, told_left_out
from metier.models.bases import resolve
from metier.models.device import choose_device
from metier.recipe import Recipe
from metier.recipe.pretrain import Pretrain
from metier.run.corpus_tokenizer import tokenizer_file
from metier.run.pretrain_parts import outline
from metier.run.pretrain_tokenizer import learnable
from metier.sources.document import SCHEMES
from metier.training.memory import Footprint, available_bytes, refuse_if_too_large

SHARE = 0.35  # of the measured matmul rate that pretraining reaches, from runs on two cores
FETCHED = (*SCHEMES, "pypi", "hf")


def corpus_preflight(path: Path, recipe: Recipe, *, data_root: Path | None, offline: bool) -> list[str]:
    """What curating and learning the corpus would read, make and cost, a line each; nothing is fetched or written.

    The time is 6 FLOPs a weight and token at ``SHARE`` of this machine's measured matmul rate.

    Errors: :class:`MetierError` for files that are not there, an unknown tokenizer or base, two that do not belong
    together, sizes that do not go together, and where the memory would not suffice.
    """
    assert recipe.corpus is not None
    roots = [path.parent, Path(), *([data_root] if data_root else [])]
    lines = []
    for source in recipe.corpus.sources:
        paths = [source.path] if isinstance(source.path, str) else source.path
        far = [one for one in paths if one.partition(":")[0] in FETCHED]
        near = [one for one in paths if one not in far]
        files = [file for one in near for file in expand(one, roots)]
        parts = [f"{len(files)} files, {sum(file.stat().st_size for file in files):,} bytes"] if files else []
        others = [file for one in near for file in left_out(one, roots)]
        parts += [told_left_out(others)] if others else []
        lines.append(
            f"source    {source.name or paths[0]}: " + ", ".join([*parts, *(f"{one} (fetched)" for one in far)])
        )
    if recipe.tokenizer:
        vocabulary = max(recipe.tokenizer.sizes or [recipe.tokenizer.vocab_size])
        lines.append(f"tokenizer trained on the corpus: {recipe.tokenizer.kind}, at most {vocabulary:,} tokens")
    else:
        from metier.corpus.encoder import tokenizer_encoder

        file = tokenizer_file(recipe, Path(), roots, offline)
        vocabulary = tokenizer_encoder(file).vocabulary
        if recipe.pretrain:
            learnable(file, _base(recipe, offline))
        lines.append(f"tokenizer {recipe.corpus.tokenizer}: {vocabulary:,} tokens")
    return lines + (_learning(recipe, recipe.pretrain, vocabulary, offline) if recipe.pretrain else [])


def _base(recipe: Recipe, offline: bool) -> Path | None:
    """Folder of the base to continue from; None from nothing."""
    if recipe.pretrain is None or recipe.pretrain.method == "scratch":
        return None
    return resolve(recipe.base, offline=offline, where="recipe, base").path


def _learning(recipe: Recipe, choice: Pretrain, vocabulary: int, offline: bool) -> list[str]:
    device = choose_device(recipe.device, recipe.dtype)
    causal = outline(choice, vocabulary, _base(recipe, offline)).to(device.torch_dtype)
    need = Footprint.of(
        causal,
        sequence_length=choice.sequence_length,
        micro_batch_tokens=choice.micro_batch_tokens,
        checkpointed=choice.checkpoint_activations,
    )
    refuse_if_too_large(need, available_bytes(device.device))
    tokens = choice.tokens or int(choice.steps or 0) * choice.batch_sequences * choice.sequence_length
    models = len(choice.mixes or [0]) * len(recipe.seeds or [0])
    lines = [
        f"model     {choice.method}, {need.parameters:,} weights; {tokens:,} tokens, "
        f"{tokens / need.parameters:.1f} a weight" + (f"; {models} models" if models > 1 else ""),
        f"device    {device.device}, {device.dtype}: {device.why}",
        f"memory    about {need.peak / 1e9:.1f} GB at the peak (this machine has {device.memory_gb:g})",
    ]
    if device.gflops:
        seconds = 6 * need.parameters * tokens * models / (device.gflops * 1e9 * SHARE)
        lines.append(f"time      about {seconds / 60:.1f} minutes of training (an estimate), measuring not counted")
    return lines
