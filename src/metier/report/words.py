"""Numbers as a reader wants them: rounded once, with interval, unit and sign."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"  # what belongs to a number must not be torn from it at a line's end


@dataclass(frozen=True)
class Metric:
    """How a metric is called, which way is better, and what it means in one sentence."""

    name: str
    title: str
    higher_is_better: bool
    meaning: str


_METRICS = {
    m.name: m
    for m in (
        Metric(
            "weighted_f1",
            "weighted F1",
            True,
            "Weighted F1 joins, for each class, how often an answer of that class is right and how many of the class "
            "are found, and averages over the classes by their size. 1 is perfect.",
        ),
        Metric(
            "macro_f1",
            "macro F1",
            True,
            "Macro F1 joins, for each class, how often an answer of that class is right and how many of the class "
            "are found, and gives every class the same weight. 1 is perfect.",
        ),
        Metric(
            "average_weighted_f1",
            "average weighted F1",
            True,
            "Average weighted F1 is the plain mean, over the questions that are asked of every text, of each "
            "question's weighted F1. 1 is perfect.",
        ),
        Metric("accuracy", "accuracy", True, "Accuracy is the share of answers that are right."),
        Metric("exact_match", "exact match", True, "Exact match is the share of answers equal to the reference."),
        Metric(
            "entity_f1",
            "entity F1",
            True,
            "Entity F1 joins how many of the entities given are right and how many of the right ones are given, over "
            "all sentences; an entity is right if its type and its words agree. 1 is perfect.",
        ),
        Metric("entity_precision", "entity precision", True, "Share of the entities given that are right."),
        Metric("entity_recall", "entity recall", True, "Share of the right entities that are given."),
        Metric(
            "bits_per_byte",
            "bits per byte",
            False,
            "Bits per byte is how many bits the model needs for one byte of text it has not seen. Less is better.",
        ),
    )
}


def metric(name: str) -> Metric:
    """The description of a metric; an unknown one is called by its own name and taken as higher-is-better."""
    return _METRICS.get(name) or Metric(name, name.replace("_", " "), True, "")


SYSTEM_ORDER = ("majority", "tfidf", "base", "base-generated", "base-fewshot")
_SYSTEMS = {
    "majority": "Most frequent answer",
    "tfidf": "TF-IDF + logistic regression",
    "base": "Base, zero-shot",
    "base-fewshot": "Base, few-shot",
    "alone": "Adapter for this task alone",
    "after-nothing": "Learnt on the base as it was",
    "specialist": "Specialist",
    "base-generated": "Base, zero-shot, written",
    "specialist-generated": "Specialist, written",
}


def system_title(name: str) -> str:
    """What a system is called on the page; one that a recipe added keeps its name."""
    mix = name.removeprefix("after-")
    return _SYSTEMS.get(name, name if mix == name else f"Learnt after the mix {mix}")


def system_key(name: str) -> tuple[int, str]:
    """Sort key: the baselines from cheap to dear, what a recipe added, the specialist last."""
    if name == "specialist":
        return (len(SYSTEM_ORDER) + 1, name)
    return (SYSTEM_ORDER.index(name) if name in SYSTEM_ORDER else len(SYSTEM_ORDER), name)


METHODS = {
    "none": "no training",
    "lora": "LoRA",
    "full": "full fine-tuning",
    "prompt": "prompt tuning",
    "continue": "continued pretraining",
}
PLACES = {
    "embedded": "shipped with metier",
    "local": "files on this machine",
    "pypi": "the Python package index",
    "hub": "the Hugging Face hub",
}


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A decimal with a true minus sign; an en dash where there is no value."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def span(score: Mapping[str, Any], digits: int = 3, *, sign: bool = False) -> str:
    """The interval of a score: ``[0.855, 0.897]``, or a plain statement that there is none."""
    if score.get("low") is None or score.get("high") is None:
        return "(no interval)"
    return f"[{number(score['low'], digits, sign=sign)},{NBSP}{number(score['high'], digits, sign=sign)}]"


def scored(score: Mapping[str, Any], digits: int = 3, *, sign: bool = False) -> str:
    """A score with its interval: ``0.877 [0.855, 0.897]``."""
    return f"{number(score['value'], digits, sign=sign)} {span(score, digits, sign=sign)}"


def p_value(p: float) -> str:
    """``p < 0.001`` or ``p = 0.023``."""
    return f"p{NBSP}<{NBSP}0.001" if p < 0.001 else f"p{NBSP}={NBSP}{p:.3f}"


def percent(share: float, digits: int = 1, *, sign: bool = False) -> str:
    """A share as a percentage: ``12.3 %``."""
    return number(100 * share, digits, sign=sign) + f"{NBSP}%"


def count(value: float | None) -> str:
    """A whole number with thousands marked."""
    return "\N{EN DASH}" if value is None else f"{round(value):,}"


def plural(n: int, one: str, many: str | None = None) -> str:
    """``1 example``, ``968 examples``."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: ``0.4 s``, ``38 s``, ``6 min 12 s``, ``1 h 4 min``."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 9.95:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NBSP}s"
    if whole < 3600:
        return f"{whole // 60}{NBSP}min {whole % 60}{NBSP}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def joined(parts: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def size(bytes_: float) -> str:
    """Bytes in the largest unit that keeps the number above one."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes_ >= scale:
            return f"{bytes_ / scale:.1f}{NBSP}{unit}"
    return f"{bytes_:.0f}{NBSP}B"


def capitalise(text: str) -> str:
    """The text with its first letter large, the others as they are."""
    return text[:1].upper() + text[1:]


def date(stamp: str) -> str:
    """``2026-10-18T07:30:00Z`` as ``2026-10-18 07:30 UTC``."""
    return stamp.replace("T", " ")[:16] + " UTC" if stamp.endswith("Z") else stamp


def speed(per_second: float) -> str:
    """A rate with as many digits as it deserves: ``9.4``, ``34``, ``12,500``."""
    return number(per_second, 1) if per_second < 20 else count(per_second)


def threshold(probability: float) -> str:
    """A threshold, rounded down: rounded up it would withhold the very answers that it was read from."""
    return f"{math.floor(probability * 1000) / 1000:.3f}"


def escaped(text: object) -> str:
    """Text from outside, made safe for a line or a table cell of Markdown."""
    flat = " ".join(str(text).split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "\\`")
