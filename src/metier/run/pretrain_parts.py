"""What pretraining is made of: plain values from the recipe's, and the evidence's names and entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from metier.corpus.mixture import Mixture
from metier.corpus.shards import TokenShards
from metier.errors import MetierError
from metier.evaluation.intervals import ratio, ratio_difference
from metier.evaluation.retention import read_bits
from metier.models.architectures import empty
from metier.models.load import load_config
from metier.models.shapes import Shape
from metier.recipe.pretrain import Pretrain
from metier.training.loop import Schedule
from metier.training.sequences import BatchSizes
from metier.training.spikes import SpikeRule


def shape_of(choice: Pretrain, vocabulary: int) -> Shape:
    """The shape of a model from scratch.

    Errors: :class:`MetierError` for sizes that do not go together, naming the recipe's field.
    """
    sizes = {"layers": int(choice.layers or 0), "hidden": int(choice.hidden or 0), "heads": int(choice.heads or 0)}
    try:
        return Shape.usual(choice.architecture or "bloom", vocabulary=vocabulary, **sizes)
    except MetierError as error:
        where = f"recipe, {(error.where or 'model').replace('model', 'pretrain')}"
        raise MetierError(error.what, where=where, fix=error.fix) from error


def outline(choice: Pretrain, vocabulary: int, base: Path | None) -> Any:
    """The model that will be trained on the meta device: its shape without its numbers, which take no memory.

    Errors: :class:`MetierError` as :func:`shape_of`, and for a base with fewer tokens than the ``vocabulary`` or
    fewer positions than a sequence.
    """
    if base is None:
        with torch.device("meta"):
            return empty(shape_of(choice, vocabulary))
    config = load_config(base)
    rows = config.get_text_config().vocab_size
    positions = getattr(config.get_text_config(), "max_position_embeddings", None) or choice.sequence_length
    if choice.sequence_length > positions:  # rotations go on beyond them, but were never learnt
        raise MetierError(
            f"the base knows {positions:,} positions, fewer than a sequence of {choice.sequence_length:,} tokens",
            where="recipe, pretrain.sequence_length",
            fix=f"use {positions} or less",
        )
    if vocabulary > rows:
        raise MetierError(
            f"the base has {rows:,} tokens, the tokenizer {vocabulary:,}",
            where="recipe, corpus.tokenizer",
            fix="curate with the base's own tokenizer, or extend the base's vocabulary first",
        )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def schedule_of(choice: Pretrain, seed: int) -> Schedule:
    """The loop's schedule for a recipe's pretraining."""
    return Schedule(
        learning_rate=choice.rate,
        warmup=choice.warmup,
        floor=choice.rate * choice.final_rate,
        weight_decay=choice.weight_decay,
        betas=choice.betas,
        clip=choice.clip,
        validate_every=choice.evaluate_every,
        checkpoint_every=choice.checkpoint_every,
        seed=seed,
        field="pretrain",
        spikes=SpikeRule(**choice.spikes.model_dump()) if choice.spikes else None,
    )


def batch_of(choice: Pretrain) -> BatchSizes:
    """Sequences an optimizer step, with their warm-up."""
    return BatchSizes(choice.batch_sequences, choice.first_batch_sequences or 0, choice.batch_warmup_steps)


def declared_steps(choice: Pretrain) -> int:
    """Optimizer steps that the recipe asks for, by itself or by its tokens."""
    return choice.steps or batch_of(choice).steps_for(int(choice.tokens or 0) // choice.sequence_length)


def planned_steps(choice: Pretrain, mixture: Mixture) -> int:
    """Steps as declared, and no more than the mixture has sequences for.

    Errors: :class:`MetierError` where there is not one batch.
    """
    batch, steps = batch_of(choice), declared_steps(choice)
    most = steps if mixture.sequences is None else min(steps, batch.steps_for(mixture.sequences))
    if most < 1:
        raise MetierError(
            f"there is not one batch of {batch.at(0)} sequences of {choice.sequence_length} tokens",
            where="recipe, pretrain.batch_sequences",
            fix="give more text or tokens, smaller batches or shorter sequences",
        )
    return most


def refuse_to_run_out(choice: Pretrain, mixture: Mixture) -> None:
    """Errors: :class:`MetierError` where no source may run out (``stop: error``) and one would."""
    sequences = batch_of(choice).before(planned_steps(choice, mixture))
    short = {name: found for name, found in mixture.epochs(sequences).items() if found > 1}
    if choice.stop == "error" and short:
        told = ", ".join(f"{name} after 1 of {found:.2f} epochs" for name, found in short.items())
        raise MetierError(
            f"a source would run out (stop: error): {told}",
            where="recipe, pretrain.stop",
            fix="train on fewer tokens, lower its weight, or declare stop: repeat or a number of epochs",
        )


def planned_sources(choice: Pretrain, mixture: Mixture) -> dict[str, dict[str, Any]]:
    """For each source its weight in the mixture, its tokens, and how many epochs of it the planned steps take."""
    epochs = mixture.epochs(batch_of(choice).before(planned_steps(choice, mixture)))
    return {
        name: {"weight": weight, "tokens": mixture.shards[name].tokens, "epochs": round(epochs[name], 4)}
        for name, weight in mixture.weights.items()
    }


def same_tokenizer(shards: dict[str, TokenShards]) -> dict[str, Any]:
    """The index that all share."""
    if not shards:
        raise MetierError("there is nothing to train on", where="corpus", fix="name at least one source")
    first = next(iter(shards.values())).index
    for found in shards.values():
        if any(found.index[field] != first[field] for field in ("vocabulary", "end_token", "tokenizer_sha256")):
            raise MetierError(
                "these shards were made with another tokenizer than the others",
                where=str(found.folder),
                fix="curate all sources and hold-outs with one tokenizer",
            )
    return first


def bits_file(run: Path, hold_out: str, system: str) -> Path:
    """Where the bits of each document are kept."""
    return run / "evidence" / "predictions" / f"{hold_out}.{system}.parquet"


def perplexity_entry(run: Path, hold_out: str, system: str, seed: int, *, against: str | None) -> dict[str, Any]:
    """The entry of ``scores.json``; with ``against`` also the difference from another system on the same documents."""
    bits, sizes = read_bits(bits_file(run, hold_out, system))
    entry: dict[str, Any] = {
        "status": "ok",
        "metrics": {"bits_per_byte": ratio(bits, sizes, seed=seed).to_json()},
    }
    if against:
        before, _ = read_bits(bits_file(run, hold_out, against))
        change = ratio_difference(bits, before, sizes, seed=seed).to_json()
        entry["against"] = {against: {"metric": "bits_per_byte", "difference": change}}
    return entry
