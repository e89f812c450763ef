"""Near-duplicates between train and test: the shortcut finds what comparing all pairs finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metier.tasks import Example
from metier.tasks.near import THRESHOLD, jaccard, near_duplicates

TEXTS = st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=9).map(" ".join), max_size=8)


def examples(texts: list[str], part: str) -> list[Example]:
    return [Example(id=f"{part}{i}", inputs={"text": text}, target="x") for i, text in enumerate(texts)]


@given(TEXTS, TEXTS, st.sampled_from([0.5, 0.8, 1.0]))
def test_it_finds_every_pair(train: list[str], test: list[str], threshold: float) -> None:
    found = near_duplicates(examples(train, "a"), examples(test, "b"), threshold)
    sets = [[frozenset(text.split()) for text in texts] for texts in (train, test)]
    close = [[jaccard(b, a) >= threshold for a in sets[0]] for b in sets[1]]
    assert found["pairs"] == sum(map(sum, close))
    assert found["test_examples"] == sum(map(any, close))


def test_case_and_punctuation_do_not_count_and_the_closest_come_first() -> None:
    words = "profit rose in the third quarter of the year on strong demand"
    train = examples([words, words.replace("strong", "weak"), "nothing like it"], "a")
    found = near_duplicates(train, examples([words.upper() + "!", "another text"], "b"))
    assert (found["pairs"], found["test_examples"], found["threshold"]) == (2, 1, THRESHOLD)
    assert [sample["similarity"] for sample in found["samples"]] == [1.0, 0.833]
    assert found["samples"][0]["train"] == words


def test_every_field_counts_and_a_sample_says_whether_the_labels_agree() -> None:
    def row(number: int, firm: str, target: str) -> Example:
        return Example(f"{number}", {"text": "profit rose again", "firm": firm}, target)

    train = [row(0, "Alma", "up")]
    found = near_duplicates(train, [row(1, "Alma", "up"), row(2, "Alma", "down"), row(3, "Borel Cirrus", "up")])
    assert found["pairs"] == 2
    assert [sample["same_label"] for sample in found["samples"]] == [True, False]
    many = near_duplicates(train, [row(number, "Alma", "up") for number in range(30)])
    assert (many["pairs"], len(many["samples"])) == (30, 10)


def test_nothing_to_compare() -> None:
    assert near_duplicates([], examples(["a"], "b"))["pairs"] == 0
