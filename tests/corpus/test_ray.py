"""The same curation under Ray: marked, because starting Ray takes longer than all other tests of the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus.both_ways import local_bytes, same_work
from tests.run.test_curate import contents, speeches, write_tokenizer


@pytest.mark.ray
def test_ray_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("datatrove", reason="needs the extra scale")
    ray = pytest.importorskip("ray", reason="needs the extra scale")
    from datatrove.executor.ray import RayPipelineExecutor

    from metier.corpus.datatrove_steps import run_with

    write_tokenizer(tmp_path)
    speeches(tmp_path / "speeches")
    work = same_work(tmp_path, tmp_path / "ray")
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        run_with(
            work,
            lambda pipeline, tasks, logs: RayPipelineExecutor(
                pipeline=pipeline, tasks=tasks, logging_dir=logs, mem_per_cpu_gb=0.5
            ),
        )
    finally:
        ray.shutdown()
    assert contents(work.tokens) == local_bytes(tmp_path)
