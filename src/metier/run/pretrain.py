"""Pretraining, from nothing or continued: token shards in, a specialist and its bits per byte out."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metier.corpus.mixture import Mixture
from metier.corpus.shards import TokenShards
from metier.errors import MetierError
from metier.evaluation.evidence import merge_scores
from metier.evaluation.perplexity import HoldOut, sliding_bits
from metier.evaluation.retention import write_bits
from metier.files import replacing, sha256_file, sha256_json, write_dir
from metier.models.adapters import train_everything
from metier.models.architectures import build
from metier.models.device import Device, prepare_process
from metier.models.load import load_model, no_bars, parameters
from metier.models.sequences import SequenceModel
from metier.recipe.pretrain import Pretrain
from metier.run.pretrain_again import device_of, first_looks
from metier.run.pretrain_parts import (
    batch_of,
    bits_file,
    declared_steps,
    outline,
    perplexity_entry,
    planned_sources,
    planned_steps,
    refuse_to_run_out,
    same_tokenizer,
    schedule_of,
    shape_of,
)
from metier.run.pretrain_tokenizer import learnable
from metier.run.progress import bar, console
from metier.run.stages import RunDirectory, now, open_run, stage_key, versions
from metier.training import distributed
from metier.training.loop import Progress, train
from metier.training.memory import Footprint, available_bytes, refuse_if_too_large
from metier.training.sequences import Sequences


@dataclass(frozen=True)
class Corpus:
    """Where the tokens are.

    Attributes:
        sources: folder of training shards by the source's name.
        weights: share of each source; None is by size. In continued pretraining the share of general text is the
            replay.
        hold_outs: folder of held-out shards by name.
        tokenizer: the folder of the tokenizer that made all of them.
    """

    sources: dict[str, Path]
    weights: dict[str, float] | None
    hold_outs: dict[str, Path]
    tokenizer: Path


def pretrain(
    choice: Pretrain,
    corpus: Corpus,
    out: Path,
    *,
    base: Path | None = None,
    beside: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
) -> Path:
    """Pretrain as ``choice`` says and measure on every hold-out; under ``torchrun`` with all its processes.

    Args:
        base: folder of the model to continue from; None from nothing.
        beside: another run directory. Where it holds what the base gives on the same hold-outs, that is taken over.

    Returns:
        The run directory ``out``: ``checkpoints/``, ``log.jsonl``, ``specialist/`` (loads in plain transformers),
        ``evidence/scores.json``. What is done is not done again; a killed run continues.

    Errors: :class:`MetierError` before anything is computed for shards that do not fit the tokenizer or each other,
    for a tokenizer that is not the base's, for a corpus that is too short, and where the memory would not suffice.
    """
    distributed.start()
    with _held(out) as directory:
        work = _Pretraining(choice, corpus, out, base, seed, device_of(directory, device, dtype), directory)
        work.resolve()
        work.measure("base", beside) if base else None
        work.train()
        work.measure("specialist")
    return out


@contextlib.contextmanager
def _held(out: Path) -> Iterator[RunDirectory | None]:
    """The run directory, held by the first process for all."""
    if not distributed.is_first():
        yield None
        return
    with open_run(out) as directory:
        yield directory


class _Pretraining:
    """What the stages share."""

    def __init__(
        self,
        choice: Pretrain,
        corpus: Corpus,
        path: Path,
        base: Path | None,
        seed: int,
        device: Device,
        directory: RunDirectory | None,
    ) -> None:
        if (base is None) != (choice.method == "scratch"):
            raise MetierError(
                f"{choice.method} with{'out' if base is None else ''} a base",
                where="recipe, base",
                fix="name the base to continue from, or use pretrain.method: scratch",
            )
        self.choice, self.corpus, self.path, self.base = choice, corpus, path, base
        self.seed, self.device, self.directory = seed, device, directory
        self.specialist = path / "specialist"

    def resolve(self) -> None:
        """Open and check every shard, count the steps, and say what will be done."""
        prepare_process(self.device.device)
        self.tokenizer = learnable(self.corpus.tokenizer / "tokenizer.json", self.base)
        shards = {name: TokenShards.open(folder) for name, folder in self.corpus.sources.items()}
        held = {name: TokenShards.open(folder) for name, folder in self.corpus.hold_outs.items()}
        self.index = same_tokenizer({**shards, **held})
        if len(self.tokenizer) > self.index["vocabulary"]:
            raise MetierError(
                f"the tokenizer has {len(self.tokenizer):,} tokens, the shards were made with "
                f"{self.index['vocabulary']:,}",
                where=str(self.corpus.tokenizer),
                fix="give the tokenizer that the corpus was curated with",
            )
        self.mixture = Mixture(shards, self.corpus.weights, self.choice.sequence_length, self.seed, self.choice.stop)
        self.batch = batch_of(self.choice)
        self.steps = planned_steps(self.choice, self.mixture)
        refuse_to_run_out(self.choice, self.mixture)
        self.sources = planned_sources(self.choice, self.mixture)
        self.held = {
            name: HoldOut.of(name, found, most_tokens=self.choice.measure_tokens) for name, found in held.items()
        }
        self.looks = {
            name: HoldOut.of(name, found, most_tokens=self.choice.evaluate_tokens) for name, found in held.items()
        }
        looks = first_looks(self.directory, self.choice)
        self.key = sha256_json(
            [
                self.choice.model_dump(mode="json", exclude={"checkpoint_every", "measure_tokens"}) | looks,
                [(name, found.index["files"]) for name, found in {**shards, **held}.items()],
                self.corpus.weights,
                [sha256_file(file) for file in sorted(self.base.glob("*.safetensors"))] if self.base else None,
                # not how many processes: what two began, or finished, one goes on from
                [self.seed, self.device.dtype, self.device.device, versions()["torch"]],
            ]
        )
        done = self.directory is not None and _finished(self.directory, self.key, self.specialist)
        self.done = distributed.any_rank(done)
        if not self.done:
            self._refuse_if_too_large()
        self._record(
            device=self.device.to_json(), versions=versions(), seed=self.seed, sources=self.sources, first_looks=looks
        )

    def train(self) -> None:
        """The loop, then the specialist's folder."""
        if self.done:
            _say("  [dim]pretrain: done before[/]")
            return
        causal = self._fresh()
        model = self._sequence_model(causal)
        trainable, everything = parameters(causal)
        if self.choice.checkpoint_activations:
            causal.gradient_checkpointing_enable({"use_reentrant": False})
        if distributed.world_size() > 1:
            distributed.shard(model)
        tokens = self.batch.before(self.steps) * self.choice.sequence_length
        _say(
            f"  {self.choice.method}: {everything:,} weights, {self.steps:,} steps, {tokens:,} tokens = "
            f"{tokens / everything:.1f} a weight, peak rate {self.choice.rate:g}; {self.device.why}"
        )
        if self.steps < (declared := declared_steps(self.choice)):
            stop = f"a source has run out (stop: {self.mixture.stop})"
            _say(f"  the mixture ends after {self.steps:,} of {declared:,} steps: {stop}")
        for name, one in self.sources.items():
            epochs = f"{one['epochs']:.2f} epochs of them"
            _say(f"  {name:<20} weight {one['weight']:.1%}, {one['tokens']:,} tokens, {epochs}")
        work = Sequences(
            model,
            self.mixture,
            steps=self.steps,
            batch=self.batch,
            micro_batch_tokens=self.choice.micro_batch_tokens,
        )
        result = self._run_loop(work, model)
        self._write(causal)
        self._record_training(result, trainable, everything)

    def measure(self, system: str, beside: Path | None = None) -> None:
        """Bits per byte of every hold-out, with intervals over documents, as evidence; ``beside`` may hold them."""
        distributed.barrier()
        if self.directory is None or not self.held:
            return
        folder = self.base if system == "base" else self.specialist
        other = "base" if self.base and system == "specialist" else None
        files = [bits_file(self.path, name, system) for name in self.held]
        reads = [
            system,
            _weights_of(folder),
            [(h.name, h.ids) for h in self.held.values()],
            self.choice.sequence_length,
        ]
        stage, score = f"measure-{system}", functools.partial(self._score, system, folder)
        if beside and stage_key(beside, stage) == self.directory.sha(reads):
            there = [bits_file(beside, name, system) for name in self.held]
            if all(file.exists() for file in there):
                score = functools.partial(_take_over, there, files)
        if not self.directory.stage(stage, reads, files, score):
            _say(f"  [dim]measure {system}: done before[/]")
        for name in self.held:
            entry = perplexity_entry(self.path, name, system, self.seed, against=other)
            merge_scores(self.path / "evidence" / "scores.json", name, system, entry)
            found = entry["metrics"]["bits_per_byte"]
            ends = "(no interval)" if found["low"] is None else f"[{found['low']:.3f}, {found['high']:.3f}]"
            _say(f"  {name:<20} {system:<11} bits_per_byte {found['value']:.3f}  {ends}  n = {found['n']}")

    # -- helpers -------------------------------------------------------------------------------------------------

    def _fresh(self) -> Any:
        if self.base is not None:
            return train_everything(load_model(self.base, dtype=self.device.torch_dtype, device=self.device.device))
        shape = shape_of(self.choice, self.index["vocabulary"])
        length = self.choice.sequence_length
        causal = build(shape, end=self.index["end_token"], sequence_length=length, seed=self.seed)
        return causal.to(self.device.device, self.device.torch_dtype)

    def _sequence_model(self, causal: Any) -> SequenceModel:
        return SequenceModel(causal, separator=self.index["end_token"] if self.choice.document_mask else None)

    def _refuse_if_too_large(self) -> None:
        """Before anything is allocated."""
        footprint = Footprint.of(
            outline(self.choice, self.index["vocabulary"], self.base).to(self.device.torch_dtype),
            sequence_length=self.choice.sequence_length,
            micro_batch_tokens=self.choice.micro_batch_tokens,
            checkpointed=self.choice.checkpoint_activations,
            processes=distributed.world_size(),
        )
        refuse_if_too_large(footprint, available_bytes(self.device.device))

    def _run_loop(self, work: Sequences, model: SequenceModel) -> Progress:
        schedule = schedule_of(self.choice, self.seed)
        with bar("pretrain", self.steps) if distributed.is_first() else _silent() as advance:
            shown = 0

            def report(progress: Progress, total: int, loss: float, rate: float) -> None:
                nonlocal shown
                speed = progress.tokens / max(progress.seconds, 1e-9)
                advance(progress.step - shown, f"loss {loss:.3f} · {speed:,.0f} tokens/s")
                shown = progress.step

            return train(
                work,
                schedule,
                folder=self.path / "checkpoints",
                log=self.path / "log.jsonl",
                key=self.key,
                looks=f"{self.choice.evaluate_tokens} tokens of each hold-out",
                validate=(lambda: self._look(model)) if self.looks else None,
                report=report,
                say=lambda text: _say(f"  {text}"),
            )

    def _look(self, model: SequenceModel) -> dict[str, float]:
        """Bits per byte of every hold-out; training keeps the weights whose mean over them is lowest."""
        found = {}
        for name, held in self.looks.items():
            bits = self._bits(model, held)
            found[f"bits_per_byte.{name}"] = float(bits.sum() / held.bytes.sum())
        return {"metric": -float(np.mean(list(found.values()))), **found}

    def _bits(self, model: SequenceModel, held: HoldOut, tick: Callable[[int], None] | None = None) -> np.ndarray:
        return sliding_bits(
            model,
            held.documents,
            begin=self.index["end_token"],
            window=self.choice.sequence_length,
            progress=tick,
        )

    def _score(self, system: str, folder: Path | None) -> None:
        assert folder is not None
        model = self._sequence_model(load_model(folder, dtype=self.device.torch_dtype, device=self.device.device))
        for name, held in self.held.items():
            with bar(f"{system} on {name}", sum(len(ids) for ids in held.documents)) as advance:
                bits = self._bits(model, held, advance)
            write_bits(bits_file(self.path, name, system), held.ids, bits, held.bytes)

    def _write(self, causal: Any) -> None:
        """The specialist as transformers reads it: config, safetensors, tokenizer."""
        state = distributed.whole_state(causal)
        if distributed.is_first():
            with no_bars(), write_dir(self.specialist) as temporary:
                causal.save_pretrained(temporary, state_dict=state)
                self.tokenizer.save_pretrained(temporary)
        distributed.barrier()

    def _record_training(self, result: Progress, trainable: int, everything: int) -> None:
        if self.directory is None:
            return
        about = {
            "method": self.choice.method,
            "trainable_parameters": trainable,
            "total_parameters": everything,
            "processes": distributed.world_size(),
            "steps": result.step,
            "sequences": result.examples,
            "tokens": result.tokens,
            "seconds": round(result.seconds, 1),
            "tokens_per_s": round(result.tokens / max(result.seconds, 1e-9), 1),
            "epochs": self.mixture.epochs(self.batch.before(result.step)),
            "skipped_steps": result.skipped,
            "best_step": result.best_step,
            "stopped": result.stopped,
        }
        stage = {"key": self.key, "seconds": round(result.seconds, 2), "finished": now()}
        self.directory.manifest["stages"]["pretrain"] = stage
        self._record(training=about)

    def _record(self, **parts: Any) -> None:
        if self.directory is not None:
            self.directory.record(pretrain=self.choice.model_dump(mode="json"), **parts)


def _finished(directory: RunDirectory, key: str, specialist: Path) -> bool:
    done = directory.manifest["stages"].get("pretrain")
    return bool(done and done["key"] == key and (specialist / "config.json").exists())


def _take_over(there: list[Path], here: list[Path]) -> None:
    for old, new in zip(there, here, strict=True):
        with replacing(new) as temporary:
            shutil.copyfile(old, temporary)


def _weights_of(folder: Path | None) -> list[str]:
    return [sha256_file(file) for file in sorted(folder.glob("*.safetensors"))] if folder else []


@contextlib.contextmanager
def _silent() -> Iterator[Callable[..., None]]:
    yield lambda *_: None


def _say(text: str) -> None:
    if distributed.is_first():
        console.print(text)
