"""LLaMA-Factory as a system of ``finetune.py``. It wants other versions than metier: its Python is one of its own.

``benchmarks/peers.sh FOLDER`` makes that environment; ``--peer-python FOLDER/bin/python`` or ``METIER_PEER_PYTHON``
names it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from machine import peak_rss_mb

NOT_RUN = "not run: no --peer-python and no METIER_PEER_PYTHON (benchmarks/peers.sh makes that environment)"
PACKAGES = ("llamafactory", "torch", "transformers", "peft", "trl", "accelerate", "datasets")


def peer_versions(python: str) -> dict[str, str]:
    """What is installed beside that Python; an environment without LLaMA-Factory ends the benchmark."""
    code = (
        "import json; from importlib.metadata import version; "
        f"print(json.dumps({{name: version(name) for name in {PACKAGES!r}}}))"
    )
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(f"{python} does not run: {error}; make it with benchmarks/peers.sh") from error
    if done.returncode:
        raise SystemExit(f"{python} has no LLaMA-Factory (make it with benchmarks/peers.sh):\n{done.stderr[-1000:]}")
    return dict(json.loads(done.stdout))


def train_there(
    python: str, base: Path, conversations: list[list[dict[str, str]]], *, rank: int, rate: float, bf16: bool
) -> dict[str, Any]:
    """One epoch of LoRA on ``conversations`` (chat turns, the last one learnt) with LLaMA-Factory's own defaults.

    Returns its own ``train_runtime`` in seconds, the loss of every step, and the process's peak memory in MB.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "train.yaml"  # 0.9.5 cannot read a JSON file; JSON is YAML
        config.write_text(json.dumps(_settings(folder, base, rank, rate, bf16)))
        _write_data(folder, conversations)
        done = subprocess.run(
            [python, "-m", "llamafactory.cli", "train", str(config)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"LLaMA-Factory failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
        result = json.loads((folder / "out" / "train_results.json").read_text())
        history = json.loads((folder / "out" / "trainer_state.json").read_text())["log_history"]
    return {
        "seconds": result["train_runtime"],
        "losses": [entry["loss"] for entry in history if "loss" in entry],
        "peak_rss_mb": peak_rss_mb(resource.RUSAGE_CHILDREN),
    }


def _settings(folder: Path, base: Path, rank: int, rate: float, bf16: bool) -> dict[str, Any]:
    # without "template" it takes the one of the base's own tokenizer
    return {
        "stage": "sft", "do_train": True, "model_name_or_path": str(base), "dataset": "bench",
        "dataset_dir": str(folder), "output_dir": str(folder / "out"), "finetuning_type": "lora", "lora_rank": rank,
        "lora_alpha": 2 * rank, "lora_dropout": 0.0, "lora_target": "all", "per_device_train_batch_size": 8,
        "num_train_epochs": 1, "learning_rate": rate, "logging_steps": 1, "save_strategy": "no", "report_to": "none",
        "use_cpu": True, "bf16": bf16, "seed": 0,
    }  # fmt: skip


def _write_data(folder: Path, conversations: list[list[dict[str, str]]]) -> None:
    tags = {"role_tag": "role", "content_tag": "content", "system_tag": "system"}
    tags |= {"user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages"}
    entry = {"file_name": "bench.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({"bench": entry}))
    (folder / "bench.json").write_text(json.dumps([{"messages": turns} for turns in conversations]))
