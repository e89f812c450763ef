"""Label probabilities by OpenVINO, from what ``metier export`` wrote into the specialist's folder.

Neither the base nor the adapter is loaded: the exported graph holds the merged weights, and the keys and values of
the fixed prompt prefix as constants.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metier.errors import MetierError
from metier.files import sha256_file, sha256_json
from metier.inference.bundle import Bundle
from metier.inference.engines import Prompt
from metier.models.batching import sorted_runs
from metier.models.packed import Item

# What an export is made of besides the specialist: raised when the graph, its inputs or outputs change.
FORMAT = 1
# The files of a specialist that decide what it answers, before calibration.
_WEIGHTS = ("*.safetensors", "adapter_config.json", "config.json")
_TEMPLATE = ("template.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def require(package: str) -> Any:
    """Import ``openvino`` or ``nncf``.

    Errors: :class:`MetierError` naming the extra when it is not installed.
    """
    # both would report their use to a server on the network; without this package they do not
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MetierError(
            f"the openvino engine needs the package '{package}', which is not installed",
            fix="pip install 'metier[serve]', or use --engine torch",
        ) from error


def export_folder(bundle: Bundle) -> Path:
    """Where the export of a specialist is."""
    return bundle.folder / "engines" / "openvino"


def bundle_key(bundle: Bundle) -> str:
    """Hash of a specialist's weights and template: an export of another one is stale."""
    files = sorted({file for pattern in (*_WEIGHTS, *_TEMPLATE) for file in bundle.folder.glob(pattern)})
    return sha256_json([FORMAT, [(file.name, sha256_file(file)) for file in files]])


def is_exported(bundle: Bundle) -> bool:
    """Whether there is an export, fresh or stale."""
    return (export_folder(bundle) / "engine.json").exists()


def load_engine(bundle: Bundle) -> OpenvinoEngine:
    """The exported engine of a specialist.

    Errors: :class:`MetierError` when there is none, it is of another specialist or damaged, or OpenVINO is missing.
    """
    folder = export_folder(bundle)
    again = f"metier export {_run_folder(bundle)} --engine openvino"
    if not is_exported(bundle):
        raise MetierError("this specialist has not been exported for openvino", where=str(folder), fix=again)
    try:
        about = json.loads((folder / "engine.json").read_text(encoding="utf-8"))
        key, name, config = about["key"], str(about["variant"]["name"]), dict(about["variant"]["config"])
        prefix = tuple(int(token) for token in about["prefix"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise MetierError(f"the export is damaged: {error}", where=str(folder / "engine.json"), fix=again) from error
    if key != bundle_key(bundle):
        raise MetierError("the export is stale: the specialist has changed since", where=str(folder), fix=again)
    require("openvino")
    try:
        return OpenvinoEngine(folder / "model.xml", prefix, name, config)
    except RuntimeError as error:
        raise MetierError(f"the export cannot be loaded: {str(error)[:300]}", where=str(folder), fix=again) from error


def _run_folder(bundle: Bundle) -> Path:
    return bundle.folder.parent if bundle.folder.name == "specialist" else bundle.folder


class OpenvinoEngine:
    """Runs an exported graph: token ids behind the prefix in, log-probabilities of the labels out."""

    name = "openvino"

    def __init__(self, model: Path, prefix: Prompt, variant: str, config: dict[str, str]) -> None:
        ov = require("openvino")
        self.prefix, self.about = prefix, f"{variant} on cpu"
        # threads bound to a core stand still whenever another process has work there
        fixed = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,
        }
        self._request = ov.Core().compile_model(model, "CPU", {**fixed, **config}).create_infer_request()
        self._one_at_a_time = threading.Lock()

    def label_logprobs(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """As :meth:`Engine.label_logprobs`.

        Errors: :class:`MetierError` for a prompt that does not begin with the exported prefix.
        """
        cut = len(self.prefix)
        for prompt in prompts:
            if prompt[:cut] != self.prefix or len(prompt) == cut:
                raise MetierError(
                    "this prompt does not begin as all prompts did when the specialist was exported",
                    fix="use --engine torch for it",
                )
        items = [Item(tuple(prompt[cut:]), ()) for prompt in prompts]
        parts = [(run, self._infer([items[i].trunk for i in run])) for run in sorted_runs(items, prefix=cut)]
        if not parts:
            return np.empty((0, 0))
        result = np.empty((len(prompts), parts[0][1].shape[1]))
        for run, values in parts:
            result[run] = values
        return result

    def _infer(self, trunks: Sequence[Prompt]) -> np.ndarray:
        """``(trunks, labels)``. Shorter ones are padded on the left, where the graph looks away."""
        longest = max(map(len, trunks))
        ids = np.array([(0,) * (longest - len(trunk)) + trunk for trunk in trunks], np.int64)
        lengths = np.array([len(trunk) for trunk in trunks], np.int64)
        with self._one_at_a_time:
            return np.array(self._request.infer([ids, lengths])[0], np.float64)
