"""Continuations written by a pretrained model: evidence to be read, not a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from metier.corpus.shards import TokenShards
from metier.evaluation.perplexity import HoldOut
from metier.files import sha256_file, sha256_json, write_json
from metier.models.device import choose_device
from metier.models.load import load_model, load_tokenizer
from metier.run.pretrain import Corpus

PROMPT, NEW, COUNT = 16, 40, 3  # tokens of a prompt, tokens written, prompts
TEMPERATURE = 0.8


def write_samples(out: Path, specialist: Path, corpus: Corpus, *, seed: int, device: str = "auto") -> None:
    """Continue the first tokens of the first held-out documents; ``out/evidence/samples.json``.

    One document of each hold-out in turn until there are three. What was written by the same weights is kept.
    """
    if not corpus.hold_outs:
        return
    target = out / "evidence" / "samples.json"
    key = sha256_json([[sha256_file(file) for file in sorted(specialist.glob("*.safetensors"))], seed, PROMPT, NEW])
    if target.exists() and json.loads(target.read_text("utf-8")).get("key") == key:
        return
    tokenizer = load_tokenizer(specialist)
    chosen = choose_device(device, "float32")
    model = load_model(specialist, dtype=torch.float32, device=chosen.device).eval()
    found: list[dict[str, Any]] = []
    for number, (name, ids, document) in enumerate(_prompts(corpus)):
        torch.manual_seed(seed + number)
        given = torch.tensor([ids], device=chosen.device)
        with torch.inference_mode():
            written = model.generate(
                given, attention_mask=torch.ones_like(given), do_sample=True, temperature=TEMPERATURE, top_k=0,
                max_new_tokens=NEW, pad_token_id=tokenizer.eos_token_id,
            )  # fmt: skip
        text = tokenizer.decode(written[0, len(ids) :].tolist(), skip_special_tokens=True)
        found.append({"hold_out": name, "document": document, "prompt": tokenizer.decode(ids), "written": text})
    about = {"key": key, "seed": seed, "temperature": TEMPERATURE, "new_tokens": NEW, "samples": found}
    write_json(target, about)


def _prompts(corpus: Corpus) -> list[tuple[str, list[int], str]]:
    """``(hold-out, first tokens, document)``."""
    held = {name: HoldOut.of(name, TokenShards.open(folder)) for name, folder in corpus.hold_outs.items()}
    most = max(len(one.documents) for one in held.values())
    turns = [
        (name, [int(i) for i in one.documents[place][:PROMPT]], str(one.ids[place]))
        for place in range(min(most, COUNT))
        for name, one in held.items()
        if place < len(one.documents) and len(one.documents[place])
    ]
    return turns[:COUNT]
