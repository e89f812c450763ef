"""The medical and general sets: published counts, the traps in them, and what may not be done with them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.recipe import Recipe, TaskChoice
from metier.run import standin
from metier.run.data import prepare_data
from metier.tasks import get, load_task
from metier.tasks.formats import READERS

SUBJECTS = {"anatomy": 135, "clinical-knowledge": 265, "college-biology": 144, "college-medicine": 173,
            "medical-genetics": 100, "professional-medicine": 272}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "variant", "parts"),
    [
        ("medqa", None, {"test": 1273, "train": 1272}),
        ("pubmedqa", None, {"test": 500, "train": 500}),
        ("pubmedqa", "fold-9", {"test": 500, "train": 450, "validation": 50}),
        ("mmlu-medical", None, {"test": 1089, "validation": 123, "train": 30}),
        ("ncbi-disease", None, {"train": 5424, "validation": 923, "test": 940}),
        ("healthsearchqa", None, {None: 3173}),
        ("liveqa-medical", None, {None: 104}),
        ("medication-qa", None, {None: 690}),
        ("arc-challenge", None, {None: 1172}),
        ("winogrande", None, {None: 1267}),
        ("lambada", None, {None: 5153}),
    ],
)
def test_published_counts(data_root: Path, name: str, variant: str | None, parts: dict[str | None, int]) -> None:
    loaded = load_task(name, variant, data_root=data_root, offline=True)
    assert Counter(e.split for e in loaded.examples) == parts
    assert loaded.where.startswith("local: ")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_subjects_of_mmlu(data_root: Path, subject: str) -> None:
    examples = load_task("mmlu-medical", subject, data_root=data_root, offline=True).examples
    assert sum(e.split == "test" for e in examples) == SUBJECTS[subject]


def places(examples: list) -> tuple[int, ...]:  # type: ignore[type-arg]
    found = Counter(e.choices.index(e.target) for e in examples)
    return tuple(found[place] for place in range(len(examples[0].choices)))


def test_the_right_answers_of_medqa(data_root: Path) -> None:
    examples = load_task("medqa", data_root=data_root, offline=True).examples
    assert places([e for e in examples if e.split == "test"]) == (353, 309, 346, 265)
    assert places([e for e in examples if e.split == "train"]) == (330, 316, 352, 274)
    first = next(e for e in examples if e.split == "train")
    assert first.inputs["text"].startswith("A 21-year-old sexually active male")  # the stem, not only the last sentence
    assert first.inputs["text"].endswith("which of the following was given?")
    assert first.target == "Ceftriaxone"


def test_medmcqa_counts_its_answers_from_one_and_repeats_options(data_root: Path) -> None:
    loaded = load_task("medmcqa", data_root=data_root, offline=True)
    assert any("21 of 4183 questions hold the same option twice" in warning for warning in loaded.warnings)
    rows = [json.loads(line) for line in (data_root / "medicine/medmcqa/dev.json").read_text().splitlines()]
    right = {row["id"]: row["op" + "abcd"[row["cop"] - 1]] for row in rows}
    assert len(loaded.examples) == 4162
    assert all(e.target == right[e.id].strip() for e in loaded.examples)
    assert {e.split for e in loaded.examples} == {"test"}
    assert len({e.group for e in load_task("medmcqa", "by-subject", data_root=data_root).examples}) == 21


def test_pubmedqa_has_the_official_test_and_the_published_folds(data_root: Path) -> None:
    official = json.loads((data_root / "medicine/pubmedqa/test_ground_truth.json").read_text())
    folds = []
    for number in range(10):
        examples = load_task("pubmedqa", f"fold-{number}", data_root=data_root, offline=True).examples
        assert {e.id: e.target for e in examples if e.split == "test"} == official
        folds.append({e.id for e in examples if e.split == "validation"})
    assert len(set().union(*folds)) == sum(map(len, folds)) == 500
    wordings = {variant: load_task("pubmedqa", variant, data_root=data_root, offline=True) for variant in
                ("reasoning-required", "reasoning-free", "question-only")}  # fmt: skip
    fields = {variant: set(loaded.examples[0].inputs) for variant, loaded in wordings.items()}
    assert fields["question-only"] == {"question"} == set(wordings["question-only"].task.template.fields())
    required, free = (wordings[v].examples[0].inputs["context"] for v in ("reasoning-required", "reasoning-free"))
    assert required.startswith("Programmed cell death")
    assert free.startswith("Results depicted mitochondrial dynamics")
    assert Counter(e.target for e in wordings["question-only"].examples) == {"yes": 552, "no": 338, "maybe": 110}


def test_pubmedqa_in_another_order_is_refused(data_root: Path, tmp_path: Path) -> None:
    entries = json.loads((data_root / "medicine/pubmedqa/ori_pqal.json").read_text())
    file = tmp_path / "ori_pqal.json"
    file.write_text(json.dumps(dict(reversed(entries.items()))))
    with pytest.raises(MetierError, match="do not give the official test half") as error:
        READERS["pubmedqa"](file, file.name, {})
    assert error.value.where == "ori_pqal.json"


def test_diseases_are_written_as_they_are_read(data_root: Path) -> None:
    examples = load_task("ncbi-disease", data_root=data_root, offline=True).examples
    found = [entity for e in examples for entity in e.target.split("; ") if entity != "none"]
    assert len(found) == 5134 + 787 + 960
    assert all(entity.startswith("DISEASE: ") and entity[9:] for entity in found)
    assert all(entity[9:] in e.inputs["text"] for e in examples for entity in e.target.split("; ") if entity != "none")


def test_a_blank_is_asked_for_without_the_instruction(data_root: Path) -> None:
    example = load_task("winogrande", data_root=data_root, offline=True).examples[0]
    assert example.inputs["text"].startswith("Sarah was a much better surgeon")
    assert example.choices == ("Sarah", "Maria")


def test_lambada_is_cut_before_its_last_word(data_root: Path) -> None:
    example = load_task("lambada", data_root=data_root, offline=True).examples[0]
    assert example.inputs["text"].endswith("I don't care about")
    assert example.target == "signs"


def recipe(name: str, variant: str | None = None, **more: object) -> Recipe:
    return Recipe.model_validate({"name": "x", "task": {"name": name, "variant": variant}, **more})


def test_who_learnt_the_evaluation_is_not_evaluated_on_it() -> None:
    with pytest.raises(MetierError, match="would be no evaluation"):
        standin.refuse(recipe("medmcqa", "by-subject"), get("medmcqa"))
    standin.refuse(recipe("medmcqa", "by-subject"), get("medqa"))
    standin.refuse(recipe("medqa"), get("medmcqa"))
    own = TaskChoice(file="medmcqa.csv", name="medmcqa")
    standin.refuse(Recipe(name="x", task=own), get("medmcqa"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (recipe("medmcqa"), "has only rows to test on"),
        (recipe("healthsearchqa"), "questions without right answers"),
        (recipe("medmcqa", "by-subject", retention={"tasks": ["medmcqa"]}), "measures forgetting on them"),
    ],
)
def test_what_cannot_be_learnt_is_refused(data_root: Path, asked: Recipe, message: str) -> None:
    with pytest.raises(MetierError, match=message):
        prepare_data(asked, data_root=data_root, lock=None, offline=True)


def test_whole_subjects_are_learnt(data_root: Path) -> None:
    data = prepare_data(recipe("medmcqa", "by-subject"), data_root=data_root, lock=None, offline=True)
    groups = [{e.group for e in data.part(part)} for part in ("train", "validation", "test")]
    assert all(groups)
    assert sum(map(len, groups)) == len(set().union(*groups)) == 21
