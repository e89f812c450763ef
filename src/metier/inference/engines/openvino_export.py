"""Exporting a specialist for OpenVINO, and the check without which nothing is written."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metier.errors import MetierError
from metier.evaluation.evidence import read_predictions
from metier.files import write_dir, write_json
from metier.inference.bundle import Bundle, read_bundle
from metier.inference.engines import Prompt, median_seconds
from metier.inference.engines.graph import LabelScorer
from metier.inference.engines.openvino_engine import OpenvinoEngine, bundle_key, export_folder, require
from metier.inference.engines.torch_engine import TorchEngine, load_runner
from metier.models.device import choose_device, prepare_process
from metier.models.encode import Encoder
from metier.models.layers import causal_model
from metier.models.load import load_tokenizer
from metier.tasks.example import BETWEEN

AGREEMENT = 0.995  # least share of texts with the same label
DIFFERENCE = 0.02  # greatest mean difference of probabilities
TEXTS = 256  # at most, for the check
TIMED = 8  # texts that are timed alone
GAIN = 0.9  # share of the exact weights' time below which inexact ones are preferred


@dataclass(frozen=True)
class Agreement:
    """How an engine's probabilities compare with torch's on ``n`` texts.

    Attributes:
        agreement: share of texts with the same likeliest label.
        mean_difference, max_difference: over the texts, of a text's greatest difference among its labels.
    """

    n: int
    agreement: float
    mean_difference: float
    max_difference: float

    @property
    def good(self) -> bool:
        """Whether the engine may stand in for torch."""
        return self.agreement >= AGREEMENT and self.mean_difference <= DIFFERENCE

    def __str__(self) -> str:
        return (
            f"same label on {self.agreement:.2%} of {self.n} texts, probabilities differ by "
            f"{self.mean_difference:.4f} on average and {self.max_difference:.4f} at most"
        )


def compare(expected: np.ndarray, found: np.ndarray) -> Agreement:
    """Compare log-probabilities, both ``(texts, labels)``."""
    gaps = np.abs(np.exp(expected) - np.exp(found)).max(1)
    same = float((expected.argmax(1) == found.argmax(1)).mean())
    return Agreement(len(expected), same, float(gaps.mean()), float(gaps.max()))


def export_openvino(run: Path, *, offline: bool = False) -> dict[str, Any]:
    """Write ``engines/openvino`` into a run's specialist, once it agrees with torch on the run's own texts.

    The graph is compiled with float32 and with 8-bit weights, and in each number format that this processor has; the
    fastest on sentences alone is kept.

    Returns:
        what ``engine.json`` says: ``key``, ``variant``, ``prefix``, ``check`` (n, agreement, differences, speed of
        both engines) and ``tried``, all variants.

    Errors: :class:`MetierError` when OpenVINO is missing, the specialist has no labels, the base cannot be exported,
    the run has no texts to check with, or no variant agrees.
    """
    require("openvino"), require("nncf")
    bundle = read_bundle(run)
    if bundle.task.kind != "classification":
        raise MetierError(
            f"openvino has fixed labels, and a specialist for {bundle.task.kind.replace('_', ' ')} has none",
            where=str(bundle.folder),
            fix="nothing is to be exported: the torch engine answers",
        )
    encoder = Encoder(load_tokenizer(bundle.folder), bundle.task, bundle.max_tokens)
    prompts = [encoder.prompt(inputs) for inputs in _check_inputs(bundle)]
    device = choose_device("cpu", bundle.dtype)
    prepare_process(device.device)
    reference = TorchEngine(load_runner(bundle, device="cpu", dtype=device.dtype, offline=offline), encoder)
    exact = reference
    if device.dtype != "float32":
        exact = TorchEngine(load_runner(bundle, device="cpu", dtype="float32", offline=offline), encoder)
    with write_dir(export_folder(bundle)) as temporary:
        return write_graph(temporary, reference, exact, prompts, key=bundle_key(bundle))


def write_graph(
    folder: Path, reference: TorchEngine, exact: TorchEngine, prompts: list[Prompt], *, key: str
) -> dict[str, Any]:
    """Write the graph of ``exact``, a float32 engine, and ``engine.json`` into ``folder``, as :func:`export_openvino`.

    Args:
        reference: the torch engine as it serves here, whose time is compared. The graph has to agree with ``exact`` on
            ``prompts``: in 16 bits torch itself is not exact.
        key: what the graph was made from.
    """
    ov, nncf = require("openvino"), require("nncf")
    expected, device = exact.label_logprobs(prompts), choose_device("cpu", "float32")
    _write_variants(ov, nncf, _convert(ov, exact), folder)
    found, tried = _fastest_that_agrees(folder, reference, prompts, expected, _variants(ov))
    about = {
        "key": key,
        "prefix": list(reference.prefix),
        "labels": reference.encoder.task.labels,
        "variant": {"name": found["name"], "config": found["config"]},
        "check": {**found["check"], "torch_ms": found["torch_ms"], "openvino_ms": found["ms"],
                  "torch": reference.about, "processor": device.cpu, "threads": device.threads},
        "tried": tried,
        "openvino": str(ov.get_version()),
    }  # fmt: skip
    _keep(folder, found["weights"])
    write_json(folder / "engine.json", about)
    return about


def _check_inputs(bundle: Bundle) -> list[dict[str, str]]:
    """Inputs of the run's validation part, then of its test part: only whether both engines agree is looked at."""
    file = bundle.folder.parent / "evidence" / "predictions" / f"{bundle.task.name}.specialist.parquet"
    if not file.exists():
        raise MetierError(
            "there are no texts here to check the export with",
            where=str(file),
            fix="export from the run directory of a finished run",
        )
    fields = bundle.task.template.fields()
    predictions = sorted(read_predictions(file), key=lambda p: p.split != "validation")
    # evidence holds the fields of an example in one string
    parts = [p.text.split(BETWEEN, len(fields) - 1) for p in predictions]
    inputs = [dict(zip(fields, texts, strict=True)) for texts in parts if len(texts) == len(fields)]
    if not inputs:
        fix = "run the recipe again, with rows that have all of them"
        raise MetierError("no text of the run's evidence has all fields of the template", where=str(file), fix=fix)
    return inputs[:TEXTS]


def _convert(ov: Any, engine: TorchEngine) -> Any:
    """The specialist as an OpenVINO graph with inputs ``ids (batch, time)`` and ``lengths (batch,)``."""
    runner, max_tokens = engine.runner, engine.encoder.max_tokens
    config = causal_model(runner.model).config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if not runner.packing or (window and window < max_tokens):
        why = f"its attention sees {window} tokens at most" if runner.packing else runner.why
        raise MetierError(f"this base cannot be exported for openvino: {why}", fix="use --engine torch")
    stored = [(keys.clone(), values.clone()) for keys, values in engine.stored or []]
    scorer = LabelScorer(runner.model, stored, engine.answers).eval().requires_grad_(False)
    example = (torch.full((2, 3), engine.answers[0][0]), torch.tensor([3, 2]))
    try:
        with torch.no_grad(), _quiet():
            return ov.convert_model(scorer, example_input=example)
    except (ov.frontend.OpConversionFailure, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise MetierError(
            f"this base cannot be exported for openvino: {type(error).__name__}: {str(error)[:300]}",
            fix="use --engine torch",
        ) from error


def _write_variants(ov: Any, nncf: Any, graph: Any, folder: Path) -> None:
    ov.save_model(graph, folder / "float32.xml", compress_to_fp16=False)
    # its handler holds the terminal since it was imported; its own set_log_level would also mute whoever listens to it
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with _quiet():
        graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_ASYM)
    ov.save_model(graph, folder / "int8.xml", compress_to_fp16=False)


def _variants(ov: Any) -> list[dict[str, Any]]:
    """Weights and number formats to try, the exact one first."""
    fast = [("bfloat16", "bf16")] if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else []
    formats = [("float32", "f32"), *fast]
    return [
        {"name": f"{weights} weights, {name}", "weights": weights, "config": {"INFERENCE_PRECISION_HINT": hint}}
        for weights in ("float32", "int8")
        for name, hint in formats
    ]


def _fastest_that_agrees(
    folder: Path,
    reference: TorchEngine,
    prompts: list[Prompt],
    expected: np.ndarray,
    variants: list[dict[str, Any]],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Time every variant, check from the fastest on; ``(the first that agrees, all with their figures)``."""
    for variant in variants:
        engine = _compile(folder, variant, reference.prefix)
        slow, fast = median_seconds([reference, engine], prompts[:TIMED])
        variant |= {"ms": round(fast * 1000, 2), "torch_ms": round(slow * 1000, 2)}
        del engine  # each holds a copy of the weights
    exact = variants[0]["ms"]
    worth = [v for v in variants[1:] if v["ms"] < GAIN * exact]
    others = [v for v in variants[1:] if v["ms"] >= GAIN * exact]
    for variant in [*sorted(worth, key=lambda v: v["ms"]), variants[0], *others]:
        agreement = compare(expected, _compile(folder, variant, reference.prefix).label_logprobs(prompts))
        variant["check"] = asdict(agreement)
        if agreement.good:
            return variant, variants
    told = "; ".join(f"{v['name']}: {Agreement(**v['check'])}" for v in variants)
    raise MetierError(
        f"the export does not agree with torch and was not written: {told}",
        where=str(folder.parent),
        fix=f"wanted are {AGREEMENT:.1%} same labels and a mean difference of at most {DIFFERENCE}; use --engine torch",
    )


def _compile(folder: Path, variant: dict[str, Any], prefix: Prompt) -> OpenvinoEngine:
    return OpenvinoEngine(folder / f"{variant['weights']}.xml", prefix, variant["name"], variant["config"])


def _keep(folder: Path, weights: str) -> None:
    """Leave the chosen graph as ``model.xml`` and ``model.bin``."""
    for ending in ("xml", "bin"):
        (folder / f"{weights}.{ending}").rename(folder / f"model.{ending}")
    for file in [*folder.glob("*.xml"), *folder.glob("*.bin")]:
        if file.stem != "model":
            file.unlink()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep tracing's warnings and nncf's tables and bars off the terminal."""
    nowhere = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        yield
