"""Published figures: they agree with the catalogue, and their intervals with their test sizes."""

from __future__ import annotations

import pytest

from metier.errors import MetierError
from metier.evaluation.published import figures, half_width, majority_weighted_f1, tables
from metier.tasks import catalogue


def test_they_agree_with_the_catalogue() -> None:
    for table in tables():
        for name, test in table.tests.items():
            task = catalogue.get(name)
            assert test.metric == task.metric
            if table.protocol != "unstated":
                assert task.protocols[table.protocol].test_rows == test.n
        for system in table.systems:
            assert set(system.scores) <= set(table.tests)
            assert all(0 < value < 1 for value in system.scores.values())


@pytest.mark.parametrize(
    ("task", "system", "points"),
    [
        ("financial-phrasebank", "FinGPT v3.3", 1.8),
        ("fiqa-sentiment", "FinGPT v3.3", 3.9),
        ("twitter-financial-news", "FinGPT v3.3", 1.2),
        ("nwgi", "FinGPT v3.3", 1.5),
        ("financial-phrasebank", "BloombergGPT", 3.1),
        ("fiqa-sentiment", "BloombergGPT", 5.5),
    ],
)
def test_half_widths(task: str, system: str, points: float) -> None:
    figure = next(f for f in figures(task) if f.system.title.startswith(system))
    assert 100 * half_width(figure.value, int(figure.n or 0)) == pytest.approx(points, abs=0.06)


def test_the_majority_baseline_is_computed() -> None:
    assert majority_weighted_f1({"positive": 277, "negative": 116, "neutral": 577}) == pytest.approx(0.444, abs=5e-4)
    assert majority_weighted_f1({"positive": 141, "negative": 76, "neutral": 18}) == pytest.approx(0.450, abs=5e-4)
    found = [f for f in figures("financial-phrasebank") if f.mark == "computed"]
    assert [f.system.title for f in found] == ["Always 'neutral'"]


def test_what_is_secondary_or_without_a_size_says_so() -> None:
    figure = next(f for f in figures("gold-headlines") if f.system.title == "BERT")
    assert (figure.mark, figure.n, figure.low) == ("secondary", None, None)
    finbert = next(f for f in figures("financial-phrasebank") if f.system.title == "FinBERT")
    assert any("trained on PhraseBank" in note for note in finbert.notes)
    with pytest.raises(MetierError, match="no published figures are known for 'phrasebank'"):
        figures("phrasebank")
