"""BM25, the shots it chooses, and the chain that looks things up and cites."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.evaluation.scoring import Scored
from metier.inference.strategies import Bm25, Budget, Chain, Passage, chain_of_retrieval, choose, passages
from metier.inference.strategies.long_form import citations, claims_of
from metier.models.encode import Encoder
from metier.models.generate import Written
from metier.models.load import load_tokenizer
from metier.tasks import Example, Task, Template

TASK = Task(name="essay", version=1, kind="generation", title="Essay", template=Template(input="{text}"))
LIBRARY = [
    Passage("a#0", "Insulin lowers blood sugar."),
    Passage("b#0", "Shares rose in Helsinki."),
    Passage("c#0", "Metformin is given first in diabetes."),
]


def test_the_nearest_share_rare_words_and_ties_keep_their_order() -> None:
    index = Bm25(["the cat sat", "the dog sat", "the cat and the cat", "", "the"])
    assert index.nearest("CAT", 2) == [2, 0]
    assert index.nearest("zebra", 3) == [0, 1, 2]
    assert index.nearest("", 2) == [0, 1]
    assert index.nearest("cat", 2, without=[2]) == [0, 1]
    with pytest.raises(MetierError, match="no text to search"):
        Bm25(["", " "])


@settings(max_examples=40)
@given(st.text(" \n.ab", max_size=120), st.integers(1, 9))
def test_passages_keep_every_word_in_order(text: str, words: int) -> None:
    found = passages("d", text, words)
    assert " ".join(p.text for p in found).split() == text.split()
    assert all(len(p.text.split()) <= words for p in found)
    assert len({p.id for p in found}) == len(found)


def example(n: int, text: str, label: str = "x") -> Example:
    return Example(str(n), {"text": text}, label)


AB = Task(name="ab", version=1, kind="classification", title="AB", labels=["a", "b"])
POOL = [example(n, text, "ab"[n % 2]) for n, text in enumerate(["cat dog", "cat", "fish", "bird cat", "dog dog"])]


def test_shots_are_the_same_each_time_and_never_the_question_itself() -> None:
    question = POOL[1]
    for select in ("fixed", "sampled", "nearest"):
        one, two = (choose(AB, POOL, 2, select, 3) for _ in range(2))
        assert [e.id for e in one(question)] == [e.id for e in two(question)]
        assert len(one(question)) == 2
        for example_ in POOL:
            assert example_.id not in [e.id for e in one(example_)]
    fixed, new = choose(AB, POOL, 2, "fixed", 3), example(9, "cow")
    assert all({e.target for e in fixed(e)} == {"a", "b"} for e in (*POOL, new))
    same = [e.id for e in fixed(new)]
    assert all([e.id for e in fixed(other)] == same for other in POOL if other.id not in same)
    assert choose(AB, POOL, 2, "nearest", 0)(example(9, "dog"))[-1].id == "4"  # the nearest stands next to the question
    drawn = choose(AB, POOL, 2, "sampled", 0)
    assert len({tuple(e.id for e in drawn(example(n, "dog"))) for n in range(9)}) > 1
    with pytest.raises(MetierError, match="5 to choose from"):
        choose(AB, POOL, 5, "fixed", 0)


def test_a_fixed_shot_stands_there_twice_only_where_its_label_has_no_other() -> None:
    pool = [example(n, "x" * (1 if n else 40), "a" if n in (0, 3) else "b") for n in range(20)]
    for seed in range(4):
        shots = choose(AB, pool, 4, "fixed", seed)(example(99, "x"))
        assert sorted(e.target for e in shots) == ["a", "a", "b", "b"]
        assert len({e.id for e in shots}) == 4
    lone = [example(n, "x", "a" if n == 3 else "b") for n in range(20)]
    assert [e.id for e in choose(AB, lone, 4, "fixed", 0)(example(99, "x"))].count("3") == 2


def test_letters_take_turns_among_fixed_shots() -> None:
    task = Task(name="mc", version=1, kind="multiple_choice", title="MC",
                template=Template(input="{text}\n{options}", options="lettered"))  # fmt: skip
    pool = [Example(str(n), {"text": "x" * (n % 3)}, "good", ("good", "bad")[:: 1 if n < 9 else -1]) for n in range(12)]
    for seed in range(4):
        shots = choose(task, pool, 4, "fixed", seed)(pool[0])
        assert sorted(e.choices.index(e.target) for e in shots) == [0, 0, 1, 1]
    assert len(choose(task, pool, 4, "fixed", 0, "text")(pool[0])) == 4


def test_lists_of_claims_and_citations() -> None:
    assert claims_of("1. One.\n- Two\n\n* Two\n(3) Three\n---", 5) == ["One.", "Two", "Three"]
    assert claims_of("a\nb\nc", 2) == ["a", "b"]
    assert citations("So [2], and [1, 2], but [7] or [0].", 2) == ([2, 1], [7, 0])
    assert citations("nothing", 3) == ([], [])
    assert citations("[1-3] [2; 5][Source 4]", 5) == ([1, 2, 3, 5, 4], [])
    assert citations("[Sources 1 and 2], [ 2–9 ], [0-1]", 3) == ([1, 2, 3], [9, 0])
    assert citations("[2019-2021] [1-999999] [3-1] [12.5 mg] [a1]", 3) == ([1, 2, 3], [2019, 2021, 999999])


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.sampled_from([", ", "; ", " and ", ",", "] ["]))
def test_every_number_in_brackets_is_cited_or_invented(numbers: list[int], between: str) -> None:
    cited, invented = citations(f"It is so [{between.join(map(str, numbers))}].", 20)
    assert sorted(cited + invented) == sorted(set(numbers))
    assert all(n <= 20 for n in cited)


class Scripted:
    """Writes what the step that it recognises calls for."""

    max_tokens = 2000

    def __init__(self, tokenizer: Any, claims: str = "1. Insulin lowers sugar.\n2. Metformin is first.") -> None:
        self.tokenizer, self.asked, self.claims = tokenizer, [], claims

    def encoder(self, task: Task, *, longer: int = 0, room: int = 0, answer: int = 0, shots: Any = ()) -> Encoder:
        return Encoder(self.tokenizer, task, self.max_tokens, shots)

    def write(
        self, encoder: Encoder, prompts: Sequence[tuple[int, ...]], *, room: int, temperature: float,
        seeds: Sequence[int],
    ) -> list[Written]:  # fmt: skip
        texts = [self.tokenizer.decode(prompt) for prompt in prompts]
        self.asked += texts
        return [Written((1, 2), self._say(text), True) for text in texts]

    def score(self, items: Any) -> Scored:
        raise AssertionError("nothing is chosen in a long answer")

    def _say(self, text: str) -> str:
        if "List the claims" in text:
            return self.claims
        if "search query" in text:
            return re.findall(r"Claim: (.*)", text)[-1]
        if "this passage says" in text:
            return "it says: " + re.findall(r"Passage: (.*)<", text)[-1]
        if "from these sources" in text:
            return "Insulin [1] and metformin [2], perhaps [9]."
        return "DRAFT about insulin"


def test_the_chain_of_retrieval_step_by_step(toy_base: Path) -> None:
    model = Scripted(load_tokenizer(toy_base))
    asked = [example(0, "What helps in diabetes?"), example(1, "And insulin?")]
    spent = chain_of_retrieval(model, TASK, asked, LIBRARY, Chain(documents=1))
    one = spent.answered[0]
    assert [s.stage for s in one.samples] == ["draft", "claims", "query", "query", "summary", "summary", "answer"]
    assert [s.document for s in one.samples if s.stage == "summary"] == ["a#0", "c#0"]
    assert one.facts == {"claims": 2, "sources": ["a#0", "c#0"], "cited": ["a#0", "c#0"], "invented": 1}
    final = [text for text in model.asked if "from these sources" in text]
    assert len(final) == 2
    assert all("DRAFT" not in text and "[2] it says: Metformin" in text for text in final)
    assert one.prediction.answer == "Insulin [1] and metformin [2], perhaps [9]."
    assert one.prediction.tokens == sum(s.tokens for s in one.samples)


def test_a_source_that_does_not_fit_is_not_shown_and_cannot_be_cited(toy_base: Path) -> None:
    model = Scripted(load_tokenizer(toy_base))
    library = [Passage(p.id, f"{p.text} {'Filler is written here. ' * 12}") for p in LIBRARY]
    whole = chain_of_retrieval(model, TASK, [example(0, "What helps?")], library, Chain(documents=1)).answered[0]
    assert (whole.facts or {})["cited"] == ["a#0", "c#0"]
    assert (whole.facts or {})["invented"] == 1
    model = Scripted(load_tokenizer(toy_base))
    model.max_tokens = 560
    said: list[str] = []
    short = chain_of_retrieval(
        model, TASK, [example(0, "What helps?")], library, Chain(documents=1), say=said.append
    ).answered[0]
    final = next(text for text in model.asked if "from these sources" in text)
    assert "[1] it says: Insulin" in final
    assert "[2]" not in final
    assert " … " not in final
    assert short.facts == {"claims": 2, "sources": ["a#0"], "cited": ["a#0"], "invented": 2}
    assert any("1 of 2 sources do not fit into the prompt" in line for line in said)


def test_a_draft_without_claims_looks_up_the_question(toy_base: Path) -> None:
    model = Scripted(load_tokenizer(toy_base), claims="\n")
    spent = chain_of_retrieval(model, TASK, [example(0, "Where did shares rise?")], LIBRARY, Chain(documents=1))
    assert (spent.answered[0].facts or {})["sources"] == ["b#0"]
    with pytest.raises(MetierError, match="writes long answers"):
        chain_of_retrieval(model, TASK.model_copy(update={"kind": "multiple_choice"}), [], LIBRARY)
    with pytest.raises(MetierError, match=r"too small for one question[\s\S]*fewer samples, claims or documents"):
        chain_of_retrieval(model, TASK, [example(0, "x")], LIBRARY, budget=Budget(tokens=5))
