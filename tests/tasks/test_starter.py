"""The starter set: original, varied, balanced, and unlike the published sets."""

from __future__ import annotations

import csv
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.tasks import load_task, prepare
from metier.tasks.prepare import normalised
from tests.tasks.near import near_pairs, words

STYLES = {"announcement", "headline", "filing", "analyst", "central-bank", "post"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    text = (resources.files("metier.tasks") / "data" / "finance_starter.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_size_labels_and_styles(rows: list[dict[str, str]]) -> None:
    assert len(rows) >= 1200
    labels = Counter(row["label"] for row in rows)
    assert set(labels) == {"positive", "neutral", "negative"}
    assert min(labels.values()) >= 0.2 * len(rows)
    styles = Counter(row["style"] for row in rows)
    assert set(styles) == STYLES
    assert min(styles.values()) >= 40
    assert len({row["case"] for row in rows}) >= 8
    assert all(row["text"] == " ".join(row["text"].split()) for row in rows)


def test_it_loads_without_duplicates(rows: list[dict[str, str]]) -> None:
    loaded = load_task("finance-starter", offline=True)
    assert loaded.where.startswith("embedded: ")
    assert len(prepare(loaded.examples).examples) == len(loaded.examples) == len(rows)


def test_no_two_sentences_are_alike(rows: list[dict[str, str]]) -> None:
    assert list(near_pairs([row["text"] for row in rows], None, 0.6)) == []


def test_no_sentence_is_from_a_published_set(rows: list[dict[str, str]], data_root: Path) -> None:
    own = [row["text"] for row in rows]
    for name in ("financial-phrasebank", "fiqa-sentiment", "twitter-financial-news"):
        published = [e.inputs["text"] for e in load_task(name, data_root=data_root, offline=True).examples]
        assert not {normalised(text) for text in own} & {normalised(text) for text in published}
        assert list(near_pairs(own, published, 0.7)) == []


@given(st.lists(st.text("abcde ", max_size=14), max_size=12), st.sampled_from([0.5, 0.6, 0.7, 1.0]))
def test_the_search_for_alike_pairs_finds_all(texts: list[str], least: float) -> None:
    slow = 0
    for i, one in enumerate(texts):
        for other in texts[:i]:
            a, b = words(one), words(other)
            slow += bool(a) and len(a & b) / max(1, len(a | b)) >= least
    assert len(list(near_pairs(texts, None, least))) == slow
