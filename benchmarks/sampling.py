"""Sampling several texts a question behind solved examples, as self-consistency does: metier against transformers.

    METIER_DATA=FOLDER python benchmarks/sampling.py --json

Systems, each in a process of its own, in turn:

- ``metier``: ``metier.models.generate``, all questions and their samples in one call, the solved examples held once.
- ``transformers``: ``generate`` with ``num_return_sequences``, a question at a time, as it comes.

Both run the same weights in the same number format on the same prompts (``--shots`` solved questions of MedQA in front)
and write exactly ``--tokens`` tokens for each of ``--samples`` samples a question at temperature 0.7: no end token ends
them, so that both do the same work. ``tokens_per_s`` are written tokens a second; reading the prompts is in the time,
loading the weights and, for metier, ordering them for its matmuls is not.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from machine import facts, in_turn, median, parser_for, peak_rss_mb

from metier.inference.engines.fastest import LeanAtTimes
from metier.models.bases import resolve
from metier.models.device import choose_device, prepare_process
from metier.models.forward import Runner
from metier.models.generate import generate
from metier.models.load import load_model, load_tokenizer
from metier.tasks import load_task

SYSTEMS = ["metier", "transformers"]
TEMPERATURE = 0.7
NEVER = -1  # no token has this number


def prompts(options: argparse.Namespace, tokenizer: Any) -> list[tuple[int, ...]]:
    examples = load_task("medqa", data_root=Path(os.environ["METIER_DATA"])).examples
    asked = ["\n".join([*e.inputs.values(), *e.choices, "Answer:"]) for e in examples]
    solved = [f"{text} {e.target}\n\n" for text, e in zip(asked, examples, strict=True)]
    before, count = "".join(solved[: options.shots]), options.shots + options.examples
    return [tuple(tokenizer.encode(before + text)) for text in asked[options.shots : count]]


def alone(options: argparse.Namespace) -> dict[str, Any]:
    device = choose_device()
    base = resolve(options.base)
    tokenizer = load_tokenizer(base.path)
    asked = prompts(options, tokenizer)
    wanted = len(asked) * options.samples * options.tokens
    if options.system == "metier":
        prepare_process(device.device)
        runner = Runner(load_model(base.path, dtype=device.torch_dtype, device=device.device))
        many = [prompt for prompt in asked for _ in range(options.samples)]
        with LeanAtTimes(runner):  # as strategies write
            start = time.perf_counter()
            found = generate(
                runner, tokenizer, many, ends=[NEVER], max_new_tokens=options.tokens, temperature=TEMPERATURE,
                seeds=list(range(len(many))),
            )  # fmt: skip
        seconds = time.perf_counter() - start
        written = sum(len(text.ids) for text in found)
    else:
        from transformers import AutoModelForCausalLM

        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(base.path, dtype=device.torch_dtype).eval()
        start, written = time.perf_counter(), 0
        for prompt in asked:
            with torch.inference_mode():
                rows = model.generate(
                    torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=True,
                    temperature=TEMPERATURE, top_k=0, top_p=1.0, num_return_sequences=options.samples,
                    min_new_tokens=options.tokens, max_new_tokens=options.tokens, pad_token_id=0,
                )  # fmt: skip
            written += rows[:, len(prompt) :].numel()
        seconds = time.perf_counter() - start
    if written != wanted:
        raise SystemExit(f"{options.system} wrote {written} of {wanted} tokens")
    return {"tokens_per_s": written / seconds, "peak_rss_mb": peak_rss_mb(), "prompt_tokens": len(asked[0])}


def main() -> None:
    parser = parser_for(__doc__, SYSTEMS, examples=4, repeats=2)
    parser.add_argument("--samples", type=int, default=11)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--shots", type=int, default=5)
    options = parser.parse_args()
    if "METIER_DATA" not in os.environ:
        parser.error("set METIER_DATA to the folder of published data sets")
    if options.system:
        print(json.dumps(alone(options)))
        return
    given = [f"--{name}={getattr(options, name)}" for name in ("examples", "samples", "tokens", "shots", "base")]
    runs = in_turn(__file__, SYSTEMS, given, options.repeats)
    rate = {name: median(found, "tokens_per_s") for name, found in runs.items()}
    result = {
        "benchmark": "sampling",
        "tokens_per_s": round(rate["metier"], 1),
        "tokens_per_s_transformers": round(rate["transformers"], 1),
        "ratio_transformers": round(rate["metier"] / rate["transformers"], 2),
        "peak_rss_mb": {name: median(found, "peak_rss_mb") for name, found in runs.items()},
        "prompt_tokens": runs["metier"][0]["prompt_tokens"],
        "questions": options.examples,
        "samples": options.samples,
        "tokens": options.tokens,
        "repeats": options.repeats,
        **facts(),
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
