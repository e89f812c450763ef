"""Splits: stratified, grouped, seeded, and blind to the order of rows."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.tasks import PARTS, Example, fewer, only_test, prepare, split
from metier.tasks.prepare import normalised
from metier.tasks.splits import with_calibration

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.2}
FRACTIONS = st.sampled_from([SHARES, {"train": 0.7, "validation": 0.1, "test": 0.2}, dict.fromkeys(PARTS, 1 / 3)])


def rows(counts: dict[str, int], groups: dict[int, str] | None = None) -> list[Example]:
    labels = [label for label, n in counts.items() for _ in range(n)]
    return [
        Example(f"{i:04}", {"text": f"text {i}"}, label, (), (groups or {}).get(i), None, f"f.csv:{i}")
        for i, label in enumerate(labels)
    ]


@given(st.lists(st.integers(10, 150), min_size=2, max_size=5), st.integers(0, 999), FRACTIONS)
@settings(deadline=None, max_examples=60)
def test_each_class_is_within_one_of_its_share(sizes: list[int], seed: int, shares: dict[str, float]) -> None:
    examples = rows({f"c{i}": n for i, n in enumerate(sizes)})
    done = split(examples, seed=seed, fractions=shares)
    assert sorted(e.id for part in PARTS for e in done.parts[part]) == sorted(e.id for e in examples)
    for part in PARTS:
        counts = Counter(e.target for e in done.parts[part])
        for i, n in enumerate(sizes):
            assert abs(counts[f"c{i}"] - n * shares[part]) < 1


@given(st.integers(0, 50), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_the_same_rows_in_any_order_split_alike(seed: int, shuffle: random.Random) -> None:
    examples = rows({"a": 30, "b": 17}, {i: f"g{i % 9}" for i in range(0, 47, 2)})
    first = split(examples, seed=seed, fractions=SHARES).to_json(["a", "b"], {})
    shuffle.shuffle(examples)
    again = split(examples, seed=seed, fractions=SHARES).to_json(["a", "b"], {})
    assert first == again
    assert {part: sum(first["counts"][part].values()) for part in PARTS} == {p: len(first["ids"][p]) for p in PARTS}


@pytest.mark.parametrize(("part", "most"), [("validation", "train"), ("train", "validation")])
def test_how_many_rows_a_class_needs(part: str, most: str) -> None:
    shares = {name: 0.8 if name == most else 0.1 for name in PARTS}
    with pytest.raises(MetierError, match=f"the class 'b' has no example in {part}") as error:
        split(rows({"a": 40, "b": 5}), seed=0, fractions=shares)
    assert "at least 10 rows" in str(error.value.fix)
    split(rows({"a": 40, "b": 10}), seed=0, fractions=shares)


def test_no_examples_are_no_split() -> None:
    with pytest.raises(MetierError, match="there is no example"):
        split([], seed=0, fractions=SHARES, stratify=False)


def test_another_text_and_options_in_another_order_are_other_training_data() -> None:
    def hashed(text: str, *options: str, target: str = "a") -> str:
        made = [
            Example(f"{n}", {"text": f"{text} {n}"}, target, options, None, PARTS[n % 3], f"f.csv:{n}")
            for n in range(9)
        ]
        return str(split(made, seed=0, fractions=SHARES, stratify=False).to_json([], {})["hash"])

    found = [hashed("text", "a", "b"), hashed("text", "b", "a"), hashed("else", "a", "b")]
    assert len({*found, hashed("text", "a", "b", target="b")}) == 4


def test_another_seed_is_another_split() -> None:
    examples = rows({"a": 40, "b": 40})
    hashes = {split(examples, seed=seed, fractions=SHARES).to_json(["a", "b"], {})["hash"] for seed in range(5)}
    assert len(hashes) == 5


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), min_size=60, max_size=160),
    st.integers(0, 99),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_no_group_and_no_text_in_two_parts(drawn: list[tuple[str, int]], seed: int, lone_rows: bool) -> None:
    examples = [
        Example(f"{i:04}", {"text": f"Text {i % 90}!"}, label, (), None if lone_rows and i % 3 else f"g{group}")
        for i, (label, group) in enumerate(drawn)
    ]
    prepared = prepare(examples).examples
    assume(len({e.target for e in prepared}) > 1)
    try:
        done = split(prepared, seed=seed, fractions=SHARES)
    except MetierError:
        assume(False)
    homes, texts = defaultdict(set), defaultdict(set)
    for part in PARTS:
        for e in done.parts[part]:
            texts[normalised(e.inputs["text"])].add(part)
            if e.group:
                homes[e.group].add(part)
    assert all(len(found) == 1 for found in [*homes.values(), *texts.values()])


def test_rows_of_one_text_stay_together() -> None:
    examples = [Example(f"{i:04}", {"text": f"{'Tt'[i % 2]}ext {i // 2}"}, "ab"[i // 2 % 2]) for i in range(60)]
    done = split(examples, seed=0, fractions=SHARES)
    homes = [{e.inputs["text"].lower() for e in done.parts[part]} for part in PARTS]
    assert sum(map(len, homes)) == 30


def test_groups_come_near_their_shares() -> None:
    generator = random.Random(3)
    groups = {i: f"g{generator.randrange(120)}" for i in range(600)}
    done = split(rows({"a": 300, "b": 300}, groups), seed=0, fractions=SHARES)
    for part in PARTS:
        assert len(done.parts[part]) == pytest.approx(600 * SHARES[part], abs=12)


def fixed(parts: list[str | None], groups: dict[int, str] | None = None) -> list[Example]:
    return [
        Example(f"{i:04}", {"text": f"t{i}"}, "ab"[i % 2], (), (groups or {}).get(i), part, f"f.csv:{i}")
        for i, part in enumerate(parts)
    ]


def test_a_split_of_the_data_is_kept() -> None:
    done = split(fixed(["train"] * 20 + ["validation"] * 6 + ["test"] * 8), seed=0, fractions=SHARES)
    assert done.published
    assert [len(done.parts[part]) for part in PARTS] == [20, 6, 8]


@pytest.mark.parametrize(
    ("given_parts", "sizes"),
    [
        (["train"] * 50 + ["test"] * 10, (40, 10, 10)),
        (["train"] * 84 + ["validation"] * 16, (64, 16, 20)),
        (["train"] * 100, (64, 16, 20)),
    ],
)
def test_parts_the_data_lacks_are_cut_from_train(given_parts: list[str | None], sizes: tuple[int, ...]) -> None:
    done = split(fixed(given_parts), seed=1, fractions=SHARES)
    assert [len(done.parts[part]) for part in PARTS] == pytest.approx(sizes, abs=2)
    for part in {part for part in given_parts if part and part != "train"}:
        assert all(example.split == part for example in done.parts[part])


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (fixed(["train"] * 10 + [None] * 2), "2 of 12 rows have no split"),
        (fixed(["test"] * 12), "puts no row into train"),
        (fixed(["train"] * 10 + ["held"] * 2), "unknown part 'held'"),
        (
            fixed(["train"] * 10 + ["validation"] * 6, dict.fromkeys(range(10), "g")),
            "nothing is left of train for test",
        ),
        (fixed(["train"] * 10 + ["validation"] * 6, {0: "g", 12: "g"}), "the group 'g' stands in train and in valid"),
        (rows({"a": 9}), "all 9 rows have the label 'a'"),
        (rows({"a": 9, "b": 4}), "the class 'b' has 4 rows: too few to split"),
        ([], "no example"),
        ([*rows({"a": 9, "b": 9}), *rows({"a": 1})], "two examples have the id '0000'"),
        (rows({"a": 8, "b": 8}, dict.fromkeys(range(8), "g")), "'a' has no example in"),
    ],
)
def test_faults(examples: list[Example], said: str) -> None:
    with pytest.raises(MetierError, match=said) as error:
        split(examples, seed=0, fractions=SHARES)
    assert error.value.fix


def test_a_rare_class_that_names_others_is_told_as_several_labels() -> None:
    with pytest.raises(MetierError) as error:
        split(rows({"a": 9, "b": 9, "a;b": 2}), seed=0, fractions=SHARES)
    assert "a row has one label" in str(error.value.fix)


def test_half_of_validation_is_set_aside_for_calibration_with_whole_groups_and_labels_in_proportion() -> None:
    labels = rows({"down": 240, "up": 480}, {i: f"g{i // 4}" for i in range(720)})
    made = split(labels, seed=3, fractions={"train": 0.5, "validation": 0.3, "test": 0.2})
    halved = with_calibration(made)
    assert halved == with_calibration(made)
    assert halved.parts["train"] == made.parts["train"]
    assert halved.parts["test"] == made.parts["test"]
    both = [halved.parts[part] for part in ("validation", "calibration")]
    assert sorted(e.id for part in both for e in part) == [e.id for e in made.parts["validation"]]
    assert abs(len(both[0]) - len(both[1])) <= 4
    assert not {e.group for e in both[0]} & {e.group for e in both[1]}
    told, before = (one.to_json(["down", "up"], {}) for one in (halved, made))
    assert told["counts"]["calibration"]["down"] == pytest.approx(len(both[1]) / 3, abs=3)
    assert told["hash"] != before["hash"]
    assert list(before["counts"]) == ["train", "validation", "test"]


def test_fewer_examples_have_labels_in_proportion_and_more_of_them_hold_those() -> None:
    train = rows({"a": 60, "b": 30, "c": 10})
    few, more = fewer(train, 20, seed=1), fewer(train, 50, seed=1)
    assert Counter(e.target for e in few) == {"a": 12, "b": 6, "c": 2}
    assert Counter(e.target for e in fewer(train, 3, seed=1)) == {"a": 2, "b": 1}
    assert {e.id for e in few} < {e.id for e in more}
    assert fewer(train[::-1], 20, seed=1) == few != fewer(train, 20, seed=2)


def test_fewer_of_answers_that_hardly_recur_are_a_plain_sample() -> None:
    answers = ["none"] * 40 + [f"answer {n:02}" for n in range(60)]
    train = [Example(id=str(n), inputs={"text": str(n)}, target=answer) for n, answer in enumerate(answers)]
    few, more = fewer(train, 30, seed=1, written=True), fewer(train, 60, seed=1, written=True)
    assert {e.id for e in few} < {e.id for e in more}
    recurring = sum(e.target == "none" for e in few)
    assert 6 <= recurring <= 18  # of 30, where 40 of 100 recur
    rest = [int(e.target[-2:]) for e in few if e.target != "none"]
    assert max(rest) > 40 > 20 > min(rest)  # not those that come first in the alphabet
    own = [Example(id=str(n), inputs={"q": str(n)}, target=f"{n:02}", choices=(f"{n:02}", "x")) for n in range(60)]
    assert max(int(e.target) for e in fewer(own, 20, seed=1)) > 30  # options of its own for every question
    shared = [replace(e, target="yes" if n % 3 else "no", choices=("yes", "no")) for n, e in enumerate(own)]
    assert Counter(e.target for e in fewer(shared, 30, seed=1)) == {"yes": 20, "no": 10}


def test_what_is_only_asked_is_all_tested() -> None:
    examples = rows({"a": 3})
    made = only_test(examples, seed=0, fractions=SHARES, stratify=True)
    assert made.parts == {"train": [], "validation": [], "test": examples}
    with pytest.raises(MetierError, match="two examples have the id '0000'"):
        only_test([*examples, *rows({"b": 1})], seed=0, fractions=SHARES, stratify=True)
