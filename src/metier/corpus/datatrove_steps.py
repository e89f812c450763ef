"""The units of work under datatrove's executors: local, Slurm, Ray (the extra ``scale``). Same bytes as without.

run_with(work, lambda pipeline, tasks, logs: RayPipelineExecutor(pipeline=pipeline, tasks=tasks, logging_dir=logs))
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from metier.corpus.clean import VERSION
from metier.corpus.repair import missing
from metier.corpus.work import Work
from metier.files import sha256_file, sha256_json, write_text

try:
    from datatrove.pipeline.base import PipelineStep
except ImportError as error:
    raise missing("datatrove", "scale") from error

Phase = Literal["clean", "deduplicate", "pack", "assemble"]
MakeExecutor = Callable[[list[PipelineStep], int, str], Any]
"""From a pipeline, the number of its tasks and a folder for logs to an executor."""


class CorpusStep(PipelineStep):  # type: ignore[misc]
    """One phase of a curation for the rank that the executor gives; it passes no documents on, files do."""

    name = "metier"
    type = "corpus"

    def __init__(self, work: Work, phase: Phase) -> None:
        super().__init__()
        self.work, self.phase = work, phase

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
        """Do the rank's part of every source.

        Raises:
            ValueError: an executor with another number of tasks than the work has parts.
        """
        parts = self.work.world_size if self.phase in ("clean", "pack") else 1
        if world_size != parts:
            raise ValueError(f"{world_size} tasks for the {parts} parts of the phase {self.phase}")
        with self.track_time():
            self._phase(rank)
        yield from ()

    def _phase(self, rank: int) -> None:
        if self.phase == "deduplicate":
            self.work.deduplicate()
            return
        for number in range(len(self.work.sources)):
            if self.phase == "clean":
                self.work.clean(number, rank)
            elif self.phase == "pack":
                self.work.pack(number, rank)
            else:
                self.work.assemble(number)


def run_with(work: Work, make: MakeExecutor) -> None:
    """Carry out all phases, one executor after another; tasks that were done with the same inputs are not done again.

    Args:
        work: what to do; its folder must be in reach of every worker.
        make: makes an executor, whose ``run`` returns when all its tasks are done.
    """
    logs, now = work.folder / "logs", _key(work)  # marks of finished tasks are in it: they hold for these inputs alone
    key, moving = logs / "key", logs / "assembling"
    if logs.exists() and not (key.exists() and key.read_text("utf-8") == now):
        shutil.rmtree(logs)
    elif moving.exists():  # it was stopped while it moved what was packed
        for done in ("pack", "assemble"):
            shutil.rmtree(logs / done, ignore_errors=True)
    write_text(key, now)
    phases: tuple[Phase, ...] = ("clean", "deduplicate", "pack", "assemble")
    for phase in phases:
        tasks = work.world_size if phase in ("clean", "pack") else 1
        if phase == "assemble":
            write_text(moving, "")
        make([CorpusStep(work, phase)], tasks, str(logs / phase)).run()
    moving.unlink()
    work.remove_others()


def _key(work: Work) -> str:
    """The hash of all that the result depends on."""
    sources = [
        [source.settings(), source.domain, source.licence, source.redistributable, *map(sha256_file, source.files)]
        for source in (replace(one, labels={}) for one in work.sources)  # an executor writes the work as JSON: no paths
    ]
    encoder = work.encoder and [work.encoder.sha256, work.encoder.vocabulary, work.encoder.end]
    questions = hashlib.sha256(pickle.dumps(work.questions)).hexdigest()
    return sha256_json([VERSION, sources, encoder, vars(work.hold_out), questions, work.world_size])
