"""Label scoring: metier against lm-eval's HFLM and transformers' generate, on one base and the same prompts.

    pip install -e '.[bench]'
    python benchmarks/score.py --json

Systems, each in a process of its own, in turn:

- ``metier``: likelihood of every label in one forward an example behind a stored prefix; throughput over all examples,
  and ``p50_ms``, the median time of one sentence alone, tokenisation included.
- ``lm-eval``: ``HFLM`` with its defaults, asked for the log-likelihood of every label of the same rendered strings. Its
  number format is that of the weights' file (``lm_eval_dtype``): bf16, which flatters us where a processor lacks it.
- ``generate``: ``transformers`` greedy generation of at most three tokens, batches of 8, padded on the left.

``floor_share`` is the share of the least time that the matmuls allow: 2 FLOP × weights of the linear layers × tokens of
a sentence over the peak measured here, against the time taken an example.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch
from machine import facts, in_turn, linear_weights, median, parser_for, peak_rss_mb

from metier.evaluation.scoring import score
from metier.inference.engines.torch_engine import TorchEngine
from metier.models.bases import resolve
from metier.models.device import choose_device, prepare_process
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.tasks import load_task

SYSTEMS = ["metier", "lm-eval", "generate"]


def prompts(options: argparse.Namespace) -> tuple[Encoder, list[dict[str, str]], list[str]]:
    base = resolve(options.base)
    loaded = load_task("finance-starter")
    encoder = Encoder(load_tokenizer(base.path), loaded.task)
    step = max(1, len(loaded.examples) // options.examples)
    return encoder, [dict(e.inputs) for e in loaded.examples[::step][: options.examples]], loaded.task.labels


def metier(options: argparse.Namespace) -> dict[str, Any]:
    device = choose_device()
    prepare_process(device.device)
    encoder, inputs, labels = prompts(options)
    model = load_model(resolve(options.base).path, dtype=device.torch_dtype, device=device.device)
    runner = Runner(model)
    engine = TorchEngine(runner, encoder)
    engine.label_logprobs([encoder.prompt(inputs[0])])  # stores the prefix
    score(runner, [encoder.choice_item(i, labels) for i in inputs[:8]])  # warms up
    start = time.perf_counter()
    scored = score(runner, [encoder.choice_item(i, labels) for i in inputs])
    seconds = time.perf_counter() - start
    alone = []
    for one in inputs[:100]:
        begin = time.perf_counter()
        engine.label_logprobs([encoder.prompt(one)])
        alone.append(time.perf_counter() - begin)
    tokens = statistics.fmean(scored.tokens)
    floor = 2 * linear_weights(model) * tokens / (device.gflops * 1e9)
    return {
        "examples_per_s": len(inputs) / seconds,
        "p50_ms": 1000 * statistics.median(alone),
        "tokens": tokens,
        "floor_ms": 1000 * floor,
        "floor_share": floor / (seconds / len(inputs)),
        "floor_share_alone": floor / statistics.median(alone),
        "peak_rss_mb": peak_rss_mb(),
        "answers": [labels[int(values.argmax())] for values in scored.logprobs],
    }


def lm_eval(options: argparse.Namespace) -> dict[str, Any]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    encoder, inputs, labels = prompts(options)
    model = HFLM(pretrained=str(resolve(options.base).path), device="cpu")
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


def main() -> None:
    options = parser_for(__doc__, SYSTEMS, examples=200).parse_args()
    if options.system:
        run = {"metier": metier, "lm-eval": lm_eval, "generate": generate}[options.system]
        print(json.dumps(run(options)))
        return
    passed = ["--examples", str(options.examples), "--base", options.base]
    found = in_turn(__file__, SYSTEMS, passed, options.repeats)
    speed = {name: median(runs, "examples_per_s") for name, runs in found.items()}
    ours, theirs = found["metier"][0]["answers"], found["lm-eval"][0]["answers"]
    result = {
        "benchmark": "score",
        "examples_per_s": round(speed["metier"], 2),
        "p50_ms": round(median(found["metier"], "p50_ms"), 2),
        "ratio_lm_eval": round(speed["metier"] / speed["lm-eval"], 2),
        "ratio_generate": round(speed["metier"] / speed["generate"], 2),
        "floor_share": round(median(found["metier"], "floor_share"), 3),
        "floor_share_alone": round(median(found["metier"], "floor_share_alone"), 3),
        "floor_ms": round(median(found["metier"], "floor_ms"), 2),
        "tokens_a_sentence": round(found["metier"][0]["tokens"], 1),
        "examples_per_s_lm_eval": round(speed["lm-eval"], 2),
        "examples_per_s_generate": round(speed["generate"], 2),
        "lm_eval_dtype": found["lm-eval"][0]["dtype"],
        "labels_agree_lm_eval": round(sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours), 4),
        "examples": options.examples,
        "repeats": options.repeats,
        **facts(),
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
