"""Label scoring: metier against lm-eval's HFLM and transformers' generate, on one base and the same prompts.

    pip install -e '.[bench,serve]'
    python benchmarks/score.py --json

Systems, each in a process of its own, in turn:

- ``torch``, ``openvino``: metier's engines for a specialist, label probabilities behind a stored prefix; throughput
  over all examples, and ``p50_ms``, the median time of one sentence alone; tokenisation is included in both. The
  OpenVINO graph is made from the base and checked against torch first (``metier export``), outside the timed part. The
  headline is the engine that ``engine: auto`` picks here; ``engine_reason`` says why.
- ``lm-eval``: ``HFLM`` with its defaults, asked for the log-likelihood of every label of the same rendered strings. Its
  number format is that of the weights' file (``lm_eval_dtype``), bf16, which flatters us where a processor lacks it:
  there ``lm-eval-float32`` runs too, and ``ratio_lm_eval`` is against the faster of the two.
- ``generate``: ``transformers`` greedy generation of at most three tokens, batches of 8, padded on the left.

The sentences are PhraseBank's (50Agree) where METIER_DATA names the folder of published data sets, otherwise those of
the starter set (``sentences`` says which).

``floor_share`` is the share of the least time that the matmuls allow: 2 FLOP × weights of the linear layers × tokens of
a sentence over the peak measured here, against the time taken an example.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import facts, in_turn, linear_weights, median, parser_for, peak_rss_mb

from metier.inference.engines import Engine
from metier.inference.engines.choose import faster
from metier.inference.engines.openvino_engine import OpenvinoEngine
from metier.inference.engines.openvino_export import write_graph
from metier.inference.engines.torch_engine import TorchEngine
from metier.models.bases import resolve
from metier.models.device import choose_device, prepare_process
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.tasks import Loaded, load_task

ENGINES = ["torch", "openvino"]
PEERS = ["lm-eval", "lm-eval-float32", "generate"]
ALONE = 100  # sentences that are timed alone


def sentences() -> Loaded:
    place = os.environ.get("METIER_DATA")
    return (
        load_task("financial-phrasebank", "50agree", data_root=Path(place)) if place else load_task("finance-starter")
    )


def prompts(options: argparse.Namespace) -> tuple[Encoder, list[dict[str, str]], list[str]]:
    loaded = sentences()
    encoder = Encoder(load_tokenizer(resolve(options.base).path), loaded.task)
    step = max(1, len(loaded.examples) // options.examples)
    return encoder, [dict(e.inputs) for e in loaded.examples[::step][: options.examples]], loaded.task.labels


def torch_engine(options: argparse.Namespace, dtype: str = "auto") -> TorchEngine:
    device = choose_device(dtype=dtype)
    prepare_process(device.device)
    encoder, _, _ = prompts(options)
    return TorchEngine(Runner(load_model(resolve(options.base).path, dtype=device.torch_dtype, device="cpu")), encoder)


def openvino_engine(folder: Path) -> OpenvinoEngine:
    about = json.loads((folder / "engine.json").read_text())
    variant = about["variant"]
    return OpenvinoEngine(folder / "model.xml", tuple(about["prefix"]), variant["name"], variant["config"])


def export(options: argparse.Namespace) -> dict[str, Any]:
    """Write the graph of the base, as a specialist's is written, and let ``auto`` choose."""
    reference = torch_engine(options)
    encoder, inputs, _ = prompts(options)
    exact = reference if reference.about.startswith("float32") else torch_engine(options, "float32")
    folder = Path(options.folder)
    about = write_graph(folder, reference, exact, [encoder.prompt(i) for i in inputs], key="benchmark")
    picked, reason = faster(reference, openvino_engine(folder))
    return {"picked": picked.name, "reason": reason, "check": about["check"], "tried": about["tried"]}


def engine(options: argparse.Namespace) -> dict[str, Any]:
    encoder, inputs, labels = prompts(options)
    reference = torch_engine(options)
    weights = linear_weights(reference.runner.model)
    found: Engine = reference if options.system == "torch" else openvino_engine(Path(options.folder))
    found.label_logprobs([encoder.prompt(i) for i in inputs[:8]])  # stores the prefix, warms up
    start = time.perf_counter()
    values = found.label_logprobs([encoder.prompt(i) for i in inputs])
    seconds = time.perf_counter() - start
    alone = []
    for one in inputs[:ALONE]:
        begin = time.perf_counter()
        found.label_logprobs([encoder.prompt(one)])
        alone.append(time.perf_counter() - begin)
    tokens = [len(encoder.prompt(i)) - len(reference.prefix) for i in inputs]
    peak = choose_device().gflops * 1e9
    floors = [2 * weights * statistics.fmean(some) / peak for some in (tokens, tokens[:ALONE])]
    return {
        "examples_per_s": len(inputs) / seconds,
        "p50_ms": 1000 * statistics.median(alone),
        "tokens": statistics.fmean(tokens),
        "floor_ms": 1000 * floors[0],
        "floor_share": floors[0] / (seconds / len(inputs)),
        "floor_share_alone": floors[1] / statistics.fmean(alone),
        "about": found.about,
        "answers": [labels[int(row.argmax())] for row in values],
    }


def lm_eval(options: argparse.Namespace) -> dict[str, Any]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    encoder, inputs, labels = prompts(options)
    dtype = {"dtype": "float32"} if options.system == "lm-eval-float32" else {}
    model = HFLM(pretrained=str(resolve(options.base).path), device="cpu", **dtype)
    texts = [(encoder.render(i), label) for i in inputs for label in labels]
    requests = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=n) for n, pair in enumerate(texts)]
    start = time.perf_counter()
    found = [value for value, _ in model.loglikelihood(requests, disable_tqdm=True)]
    seconds = time.perf_counter() - start
    rows = [found[i : i + len(labels)] for i in range(0, len(found), len(labels))]
    answers = [labels[row.index(max(row))] for row in rows]
    return {"examples_per_s": len(inputs) / seconds, "dtype": str(model.model.dtype), "peak_rss_mb": peak_rss_mb(),
            "answers": answers}  # fmt: skip


def generate(options: argparse.Namespace) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM

    device = choose_device()
    encoder, inputs, labels = prompts(options)
    tokenizer = encoder.tokenizer
    tokenizer.padding_side = "left"
    model = AutoModelForCausalLM.from_pretrained(resolve(options.base).path, dtype=device.torch_dtype).eval()
    answers = []
    start = time.perf_counter()
    with torch.inference_mode():
        for at in range(0, len(inputs), 8):
            texts = [encoder.render(i) for i in inputs[at : at + 8]]
            batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
            out = model.generate(**batch, max_new_tokens=3, do_sample=False, pad_token_id=tokenizer.pad_token_id or 0)
            new = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            answers += [next((x for x in labels if text.strip().lower().startswith(x)), None) for text in new]
    seconds = time.perf_counter() - start
    return {"examples_per_s": len(inputs) / seconds, "peak_rss_mb": peak_rss_mb(), "answers": answers}


RUN = {"export": export, "torch": engine, "openvino": engine, "lm-eval": lm_eval, "lm-eval-float32": lm_eval,
       "generate": generate}  # fmt: skip


def main() -> None:
    parser = parser_for(__doc__, list(RUN), examples=200)
    parser.add_argument("--folder", help="where the exported graph is, for a system alone")
    options = parser.parse_args()
    if options.system:
        print(json.dumps(RUN[options.system](options)))
        return
    native = choose_device().dtype == "bfloat16"
    systems = ENGINES + [name for name in PEERS if not (native and name == "lm-eval-float32")]
    with tempfile.TemporaryDirectory() as folder:
        passed = ["--examples", str(options.examples), "--base", options.base, "--folder", folder]
        exported = in_turn(__file__, ["export"], passed, 1)["export"][0]
        found = in_turn(__file__, systems, passed, options.repeats)
    print(json.dumps(summary(options, exported, found), indent=None if options.json else 2))


def summary(
    options: argparse.Namespace, exported: dict[str, Any], found: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    speed = {name: median(runs, "examples_per_s") for name, runs in found.items()}
    picked = found[exported["picked"]]
    peers = {name: value for name, value in speed.items() if name.startswith("lm-eval")}
    fastest = max(peers, key=peers.__getitem__)
    ours, theirs = picked[0]["answers"], found[fastest][0]["answers"]
    return {
        "benchmark": "score",
        "engine": exported["picked"],
        "engine_reason": exported["reason"],
        "examples_per_s": round(speed[exported["picked"]], 2),
        "p50_ms": round(median(picked, "p50_ms"), 2),
        "ratio_lm_eval": round(speed[exported["picked"]] / speed[fastest], 2),
        "ratio_generate": round(speed[exported["picked"]] / speed["generate"], 2),
        "floor_share": round(median(picked, "floor_share"), 3),
        "floor_share_alone": round(median(picked, "floor_share_alone"), 3),
        "floor_ms": round(median(picked, "floor_ms"), 2),
        "tokens_a_sentence": round(picked[0]["tokens"], 1),
        "engines": {
            name: {
                "examples_per_s": round(speed[name], 2),
                "p50_ms": round(median(found[name], "p50_ms"), 2),
                "about": found[name][0]["about"],
            }
            for name in ENGINES
        },
        "export": {key: exported[key] for key in ("check", "tried")},
        "examples_per_s_lm_eval": {name: round(value, 2) for name, value in peers.items()},
        "lm_eval_dtype": {name: found[name][0]["dtype"] for name in peers},
        "ratio_lm_eval_default": round(speed[exported["picked"]] / speed["lm-eval"], 2),
        "examples_per_s_generate": round(speed["generate"], 2),
        "labels_agree_lm_eval": round(sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours), 4),
        "sentences": sentences().task.name,
        "examples": options.examples,
        "repeats": options.repeats,
        **facts(),
    }


if __name__ == "__main__":
    main()
