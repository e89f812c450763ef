"""Rows that are learnt from more often: how often, from which column or file, and never from what is measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.recipe import load_recipe
from metier.run.data import Data, prepare_data
from metier.run.keys import training_key
from metier.sources import write_table
from metier.tasks import from_table, prepare
from metier.tasks.prepare import key_of
from metier.training.order import weighted_draw
from tests.toy import sentences, write_recipe

weights = st.lists(st.floats(0.01, 1000), min_size=1, max_size=60)


@given(weights, st.integers(0, 9), st.integers(0, 9))
def test_each_is_drawn_in_proportion(given_weights: list[float], seed: int, epoch: int) -> None:
    drawn = weighted_draw(given_weights, seed=seed, epoch=epoch)
    assert len(drawn) == len(given_weights)
    assert drawn == weighted_draw(given_weights, seed=seed, epoch=epoch)
    counts = Counter(drawn)
    for index, weight in enumerate(given_weights):
        wanted = len(given_weights) * weight / sum(given_weights)
        assert abs(counts[index] - wanted) < 1 + 1e-6


def test_what_one_epoch_leaves_out_another_takes() -> None:
    counts: Counter[int] = Counter()
    for epoch in range(400):
        counts.update(weighted_draw([100.0, *[1.0] * 99], seed=0, epoch=epoch))
    assert counts[0] == pytest.approx(400 * 100 * 100 / 199, rel=0.01)
    assert len(counts) == 100
    assert max(counts[i] for i in range(1, 100)) < 2 * min(counts[i] for i in range(1, 100))


def test_equal_weights_are_every_row_once() -> None:
    assert sorted(weighted_draw([2.0] * 50, seed=1, epoch=3)) == list(range(50))


def test_a_table_says_how_much_a_row_weighs(tmp_path: Path) -> None:
    rows = [{"text": "sales rose", "label": "up", "times": "100"}, {"text": "sales fell", "label": "down", "times": ""}]
    write_table(tmp_path / "t.csv", rows, ["text", "label", "times"])
    assert [e.weight for e in from_table("t", tmp_path / "t.csv", weight="times").examples] == [100.0, None]
    twin = {"text": "Sales rose.", "label": "up", "times": "3"}
    write_table(tmp_path / "t.csv", [rows[1], twin, rows[0]], ["text", "label", "times"])
    kept = prepare(from_table("t", tmp_path / "t.csv", weight="times").examples).examples
    assert sorted(e.weight or 0 for e in kept) == [0, 100]
    for wrong in ("0", "-1", "much", "nan", "inf"):
        write_table(tmp_path / "t.csv", [*rows, {**rows[0], "text": "x", "times": wrong}], ["text", "label", "times"])
        with pytest.raises(MetierError, match="a weight is not a number above 0") as caught:
            from_table("t", tmp_path / "t.csv", weight="times")
        assert f"{wrong!r}" in str(caught.value)
    with pytest.raises(MetierError, match="no column 'time'"):
        from_table("t", tmp_path / "t.csv", weight="time")


def with_experts(folder: Path, base: Path, rows: list[tuple[str, str]], more: str = "exemplar_weight: 50") -> Path:
    write_table(folder / "experts.csv", [{"sentence": t, "mood": m} for t, m in rows], ["sentence", "mood"])
    path = write_recipe(folder, base, extra="measure: {systems: []}\n")
    path.write_text(path.read_text().replace("label: mood}", f"label: mood, exemplars: experts.csv, {more}}}"))
    return path


def prepared(path: Path) -> Data:
    return prepare_data(load_recipe(path), data_root=None, lock=None, offline=True)


def test_exemplars_are_learnt_and_never_what_is_measured(toy_base: Path, tmp_path: Path) -> None:
    plain = prepared(write_recipe(tmp_path, toy_base))
    measured, learnt = plain.part("test")[0], plain.part("train")[0]
    rows = [("An expert's own words", "neutral"), (measured.text, measured.target), (learnt.text, learnt.target)]
    data = prepared(with_experts(tmp_path, toy_base, rows))
    heavy = {e.text for e in data.part("train") if e.weight == 50}
    assert heavy == {"An expert's own words", learnt.text}
    assert len(data.part("train")) == len(plain.part("train")) + 1
    assert [e.id for e in data.part("test")] == [e.id for e in plain.part("test")]
    held_out = {key_of(e) for name in ("validation", "test") for e in data.part(name)}
    assert not held_out & {key_of(e) for e in data.part("train")}
    with pytest.raises(MetierError, match="every exemplar stands in"):
        prepared(with_experts(tmp_path, toy_base, rows[1:2]))
    with pytest.raises(MetierError, match="unknown label"):
        prepared(with_experts(tmp_path, toy_base, [("x", "joyful")]))
    weighted = with_experts(tmp_path, toy_base, rows)
    weighted.write_text(weighted.read_text().replace("exemplars: experts.csv, ", ""))
    with pytest.raises(MetierError, match="'exemplar_weight' is for the rows of 'exemplars'"):
        load_recipe(weighted)


def test_another_weight_is_another_training(toy_base: Path, tmp_path: Path) -> None:
    from metier.models.bases import resolve
    from metier.models.device import choose_device

    keys, device, base = [], choose_device("cpu", "float32"), resolve(str(toy_base))
    for weight in ("3", "50"):
        path = with_experts(tmp_path, toy_base, [("An expert's words", "neutral")], f"exemplar_weight: {weight}")
        keys.append(training_key(load_recipe(path), prepared(path), None, base, device))
    assert keys[0] != keys[1]


def test_a_run_says_how_much_the_expert_counts(
    toy_base: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    rows = [(text + " indeed", mood) for text, mood in sentences(4, seed=77)]
    path = with_experts(tmp_path, toy_base, rows)
    path.write_text(path.read_text().replace("adapt: {epochs: 3", "adapt: {method: prompt, length: 3, epochs: 1"))
    code, _, err = command("run", path, "--out", tmp_path / "out")
    assert code == 0, err
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())["training"]["weighted"]
    assert told == {"examples": 4, "share_seen": round(200 / (200 + 168), 4)}
    assert "4 examples weigh more: 54% of what is seen" in " ".join(err.split())
    assert "Weighted up" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
