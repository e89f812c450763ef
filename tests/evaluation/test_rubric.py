"""Axes, and what ratings of them come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.evaluation.rubric import Rating, summarise
from metier.evaluation.rubric_axes import load_rubric, presets, read_rubric

OWN = """
name: own
axes:
  - name: tone
    question: How does it sound?
    options: [1, 2, 3, yes, on]
    good: [3, on]
"""
PAIR = 'name: p\nmode: pairwise\naxes: [{name: wrong, question: "Which is worse?", prefer: other}]\n'
LENGTHS = {(f"q{i}", system): length for i in range(8) for system, length in (("x", 100), ("y", 50))}


def test_published_axes() -> None:
    assert presets() == ["clinician", "clinician-pairwise", "lay", "lay-pairwise"]
    clinician, lay, pair = (load_rubric(name) for name in ("clinician", "lay", "clinician-pairwise"))
    assert [len(found.axes) for found in (clinician, lay, pair)] == [12, 2, 9]
    assert [axis.name for axis in lay.axes] == ["intent", "helpfulness"]
    assert "Nature 620:172" in clinician.source
    assert {axis.name: clinician.good(axis) for axis in clinician.axes}["bias"] == ["no"]
    assert sum(axis.prefer == "other" for axis in pair.axes) == 5
    assert pair.options(pair.axes[0]) == ["A", "B", "tie"]


def test_own_axes_are_words_as_they_are_spelt() -> None:
    rubric = read_rubric(OWN, "own.yaml")
    [axis] = rubric.axes
    assert (axis.options, rubric.good(axis), axis.title) == (["1", "2", "3", "yes", "on"], ["3", "on"], "Tone")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("tone", "to ne"), "axes.1.name"),
        (("tone", "answer"), "column of this name"),
        (("good: [3, on]", "good: [4]"), "'good' names '4'"),
        (("good: [3, on]", "good: [1, 2, 3, yes, on]"), "names every option"),
        (("options", "optoins"), "did you mean 'options'?"),
        (("[1, 2, 3, yes, on]", "[yes]"), "two options"),
        (("[1, 2, 3, yes, on]", "[Yes, yes]"), "each once"),
        (("[1, 2, 3, yes, on]", "[1, 2"), "line"),
        (("[1, 2, 3, yes, on]", "[1, 2"), "put quotes around"),
        (("How does it sound?", ""), "question"),
        (("name: own", "name: own\nmode: both"), "mode"),
        (("name: own", "name: own\nmode: pairwise"), "A, B and tie"),
        (("    good: [3, on]", "    prefer: other"), "mode pairwise"),
        (("axes:", "axes: []\nrest:"), "axes"),
        ((OWN, "- a list"), "mapping"),
    ],
)
def test_axes_that_are_wrong(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(OWN.replace(*change))
    with pytest.raises(MetierError) as caught:
        load_rubric(str(path))
    assert "own.yaml" in str(caught.value)
    assert told in str(caught.value)


def test_axes_twice_absent_or_misspelt(tmp_path: Path) -> None:
    twice = OWN + OWN.split("axes:\n")[1].replace("tone", "Tone")
    with pytest.raises(MetierError, match=r"axis 2 .*used twice"):
        read_rubric(twice, "own.yaml")
    with pytest.raises(MetierError, match="did you mean 'clinician'"):
        load_rubric("clinican")
    with pytest.raises(MetierError, match="no such file"):
        load_rubric(str(tmp_path / "none.yaml"))


def rated(rater: str, value_x: str, value_y: str) -> list[Rating]:
    values = (("x", value_x), ("y", value_y))
    return [Rating(f"q{i}", f"{s}{i}", rater, "tone", (s,), v) for i in range(8) for s, v in values]


def test_people_and_machines_are_never_pooled() -> None:
    rubric = read_rubric(OWN, "own")
    people = rated("anna", "3", "1") + rated("ben", "on", "2")
    alone = summarise(rubric, people, [], LENGTHS, seed=0)
    both = summarise(rubric, people + rated("judge", "1", "3"), ["judge"], LENGTHS, seed=0)
    assert both["groups"]["people"] == alone["groups"]["people"]
    assert list(both["groups"]) == ["people", "machine: judge"]
    good = {name: group["axes"]["tone"]["systems"]["x"]["good"]["value"] for name, group in both["groups"].items()}
    assert good == {"people": 1, "machine: judge": 0}
    assert [pair["raters"] for pair in both["between"]["tone"]] == [["anna", "judge"], ["ben", "judge"]]
    axis = both["groups"]["people"]["axes"]["tone"]
    assert axis["systems"]["x"]["options"]["3"]["count"] == 8
    assert axis["systems"]["x"]["options"]["3"]["value"] == 0.5
    assert axis["agreement"]["raw"]["value"] == 0  # both good, but no two the same option
    [test] = axis["tests"]
    assert (test["first"], test["second"], test["difference"]["value"], test["p"]) == ("x", "y", 1, 2 / 2**8)
    assert axis["length"]["longer"]["value"] == 1  # x is longer and better throughout


def test_bonferroni_counts_every_test_of_a_group() -> None:
    rubric = read_rubric(OWN.replace("tone", "a") + OWN.split("axes:\n")[1].replace("tone", "b"), "own")
    ratings = [
        Rating(f"q{i}", f"{s}{i}", "anna", axis, (s,), "3" if s == "x" else "1")
        for axis in "ab" for i in range(8) for s in ("x", "y", "z")
    ]  # fmt: skip
    lengths = {(f"q{i}", s): 9 for i in range(8) for s in "xyz"}
    group = summarise(rubric, ratings, [], lengths, seed=0)["groups"]["people"]
    assert group["tests"] == 6
    for axis in group["axes"].values():
        for test in axis["tests"]:
            assert test["p_bonferroni"] == min(1, 6 * test["p"])


def test_comparisons_follow_the_answers_wherever_they_stood() -> None:
    rubric = read_rubric(PAIR, "pair")
    # x is named as the worse one each time, now on side A, now on side B; two ties
    sides = [(("x", "y"), "A"), (("y", "x"), "B")] * 3 + [(("x", "y"), "tie")] * 2
    ratings = [Rating(f"q{i}", f"i{i}", "anna", "wrong", systems, value) for i, (systems, value) in enumerate(sides)]
    other = [Rating(r.question, r.item, "ben", r.axis, r.systems[::-1], {"A": "B", "B": "A"}.get(r.value, "tie"))
             for r in ratings]  # fmt: skip
    axis = summarise(rubric, ratings + other, [], LENGTHS, seed=0)["groups"]["people"]["axes"]["wrong"]
    [pair] = axis["pairs"]
    assert (pair["first"], pair["wins"]["count"], pair["ties"]["count"], pair["losses"]["count"]) == ("x", 0, 4, 12)
    assert pair["win_rate"]["value"] == pytest.approx(2 / 16)
    assert axis["side_a"]["value"] == 0.5
    assert axis["agreement"]["raw"]["value"] == 1  # the same answers, though on other sides
    assert axis["length"]["longer"]["value"] == 0  # the longer answer is x, and it is the worse one
    [test] = axis["tests"]
    assert test["difference"]["value"] == pytest.approx(-12 / 16)
    assert test["difference"]["n"] == 16
    assert test["p"] == pytest.approx(2 / 2**6)  # swapping a question of ties changes nothing
