"""The published sets, where they are at hand: their counts, and what is wrong in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from metier.tasks import PARTS, load_task, prepare, split

COUNTS = [
    ("financial-phrasebank", "50agree", {"neutral": 2879, "positive": 1363, "negative": 604}, 4833),
    ("financial-phrasebank", "66agree", {"neutral": 2535, "positive": 1168, "negative": 514}, None),
    ("financial-phrasebank", "75agree", {"neutral": 2146, "positive": 887, "negative": 420}, None),
    ("financial-phrasebank", "allagree", {"neutral": 1391, "positive": 570, "negative": 303}, None),
    ("fiqa-sentiment", None, {"positive": 719, "negative": 363, "neutral": 91}, 1168),
    ("twitter-financial-news", None, {"neutral": 6178, "positive": 1923, "negative": 1442}, 9417),
    ("drug-reviews", None, {"positive": 633, "negative": 256, "neutral": 90}, 978),
]


@pytest.mark.parametrize(("name", "variant", "labels", "kept"), COUNTS)
def test_classes(data_root: Path, name: str, variant: str | None, labels: dict[str, int], kept: int | None) -> None:
    loaded = load_task(name, variant, data_root=data_root, offline=True)
    assert Counter(e.target for e in loaded.examples) == labels
    assert loaded.where.startswith("local: ")
    prepared = prepare(loaded.examples)
    if kept:
        assert len(prepared.examples) == kept
    parts = split(prepared.examples, seed=0, fractions={"train": 0.64, "validation": 0.16, "test": 0.2}).parts
    for part, share in zip(PARTS, (0.64, 0.16, 0.2), strict=True):
        assert len(parts[part]) == pytest.approx(share * len(prepared.examples), abs=6)


def test_phrasebank_contradicts_itself_twice(data_root: Path) -> None:
    report = prepare(load_task("financial-phrasebank", data_root=data_root).examples).report
    assert (report["contradictory_texts"], report["contradictory_rows_dropped"]) == (2, 4)
    assert (report["exact_merged"], report["normalised_merged"]) == (6, 3)


@pytest.mark.parametrize(
    ("name", "gold"),
    [
        ("piqa", (910, 928)),
        ("arc-easy", (596, 585, 633, 561, 1)),
        ("openbookqa", (138, 126, 132, 104)),
    ],
)
def test_gold_choices_are_balanced(data_root: Path, name: str, gold: tuple[int, ...]) -> None:
    examples = load_task(name, data_root=data_root, offline=True).examples
    found = Counter(e.choices.index(e.target) for e in examples)
    assert tuple(found[i] for i in range(len(gold))) == gold


@pytest.mark.parametrize(
    ("name", "documents", "size"), [("wikipedia-passages", 12271, 7.0e6), ("wikitext-2", 62, 1.2e6)]
)
def test_documents(data_root: Path, name: str, documents: int, size: float) -> None:
    examples = load_task(name, data_root=data_root, offline=True).examples
    assert len(examples) == documents
    assert sum(len(e.inputs["text"].encode()) for e in examples) == pytest.approx(size, rel=0.1)


def test_gold_headlines_ask_nine_questions(data_root: Path) -> None:
    examples = load_task("gold-headlines", data_root=data_root, offline=True).examples
    assert len(examples) == 9 * 10570
    yes = Counter(e.inputs["question"] for e in examples if e.target == "yes")
    assert sorted(yes.values()) == sorted([8602, 4412, 444, 3912, 8455, 147, 1797, 172, 2001])


def test_financial_entities(data_root: Path) -> None:
    loaded = load_task("financial-ner", data_root=data_root, offline=True)
    assert Counter(e.split for e in loaded.examples) == {"train": 1164, "test": 303}
    assert {part: len({e.group for e in loaded.examples if e.split == part}) for part in ("train", "test")} == {
        "train": 5,
        "test": 3,
    }
    kinds = Counter(item.split(": ")[0] for e in loaded.examples for item in e.target.split("; "))
    assert (kinds["MISC"], sum(kinds.values()) - kinds["none"]) == (14, 1486)
    prepared = prepare(loaded.examples).examples
    parts = split(prepared, seed=0, fractions={"train": 0.7, "validation": 0.1, "test": 0.2}, stratify=False).parts
    assert all(parts.values())
    groups = [{e.group for e in parts[part]} for part in PARTS]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 8


def test_financial_entities_of_bloomberg(data_root: Path) -> None:
    loaded = load_task("financial-ner", protocol="bloomberg", data_root=data_root, offline=True)
    assert Counter(e.split for e in loaded.examples) == {"train": 511, "test": 98}
    assert not any(e.target == "none" or "MISC" in e.target for e in loaded.examples)


def test_convfinqa_has_a_row_for_each_turn(data_root: Path) -> None:
    examples = load_task("convfinqa", data_root=data_root, offline=True).examples
    assert (len(examples), len({e.id.rsplit(" turn ", 1)[0] for e in examples})) == (1490, 421)
    assert len({e.group for e in examples}) == 218


def test_the_rows_that_fingpt_tests_on(data_root: Path) -> None:
    loaded = load_task("financial-phrasebank", protocol="fingpt", data_root=data_root, offline=True)
    assert Counter(e.split for e in loaded.examples) == {"train": 3634, "test": 1212}
    parts = split(loaded.examples, seed=0, fractions={"train": 0.7, "validation": 0.1, "test": 0.2}).parts
    assert len(parts["test"]) == 1212
    assert {e.id for e in parts["train"] + parts["validation"]} == {e.id for e in loaded.examples if e.split == "train"}
