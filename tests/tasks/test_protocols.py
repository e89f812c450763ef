"""Published protocols: their rows, their wording, and what is said where they cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.models.encode import Encoder
from metier.models.load import load_tokenizer
from metier.recipe import Recipe
from metier.run.data import few_shots, prepare_data
from metier.tasks import Example, catalogue, load_task, plain
from metier.tasks.protocols import arrange, under
from metier.tasks.task import Protocol, RowSplit
from tests.toy import sentences


def rows(count: int) -> list[Example]:
    return [Example(str(i), {"text": f"row {i}"}, "up") for i in range(count)]


def test_rows_are_split_as_the_datasets_library_does() -> None:
    protocol = Protocol(title="P", rows="same", test_rows=5, split=RowSplit(test=0.25, seed=42))
    found = arrange(rows(20), protocol, "t")
    # Dataset.from_dict({"x": list(range(20))}).train_test_split(seed=42)["test"]["x"], whose share is a quarter
    from datasets import Dataset

    published = Dataset.from_dict({"x": list(range(20))}).train_test_split(seed=42)["test"]["x"]
    assert [int(e.id) for e in found if e.split == "test"] == sorted(published)
    with pytest.raises(MetierError, match="P has 5 test rows, this data gives 6 of 21"):
        arrange(rows(21), protocol, "t")


def test_a_variants_wording_does_not_take_the_place_of_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    read = [Example(str(i), {"text": f"row {i}"}, "neutral") for i in range(1213)]
    monkeypatch.setattr("metier.tasks.catalogue._read", lambda source, *_: read if "train" in source.ref else [])
    loaded = load_task("fiqa-sentiment", "sentence", protocol="fingpt", offline=True)
    published = catalogue.get("fiqa-sentiment").protocols["fingpt"].template
    assert published is not None
    assert loaded.task.template == published


def test_own_rows_stay_as_they_are() -> None:
    protocol = Protocol(title="P", rows="own", test_rows=5)
    assert arrange(rows(7), protocol, "t") == rows(7)
    assert protocol.mark == "not the same rows"


def test_a_protocol_that_the_task_does_not_have() -> None:
    with pytest.raises(MetierError, match="'fingpt' is not defined for 'piqa'") as error:
        load_task("piqa", protocol="fingpt")
    assert "'piqa' has: metier" in str(error.value.fix)
    with pytest.raises(MetierError, match="'fingpt' is not defined for 'gold-headlines'") as error:
        under(catalogue.get("gold-headlines"), "fingpt")
    assert "metier, bloomberg" in str(error.value.fix)
    with pytest.raises(MetierError, match="defined on the variant '50agree', not on 'allagree'"):
        load_task("financial-phrasebank", "allagree", protocol="fingpt")
    with pytest.raises(MetierError, match="defined on the variant 'targets', not on 'sentence'"):
        load_task("fiqa-sentiment", "sentence", protocol="bloomberg")
    with pytest.raises(ValueError, match="not for a table"):
        Recipe.model_validate({"name": "x", "protocol": "fingpt", "task": {"file": "t.csv"}})


@pytest.mark.parametrize(
    ("task", "why"), [("fiqa-sentiment", "Hub's three files"), ("twitter-financial-news", "2,388")]
)
def test_published_rows_that_are_not_at_hand(tmp_path: Path, task: str, why: str) -> None:
    with pytest.raises(MetierError, match="cannot be had") as error:
        load_task(task, protocol="fingpt", data_root=tmp_path, offline=True)
    assert why in error.value.what
    assert "hub: " in str(error.value.where)


def test_the_wording_is_the_published_one_to_the_letter(toy_base: Path) -> None:
    expected = {
        "fingpt": "Instruction: What is the sentiment of this news? Please choose an answer from "
        "{negative/neutral/positive}.\nInput: Profit rose.\nAnswer: ",
        "bloomberg": "Profit rose.\nQuestion: what is the sentiment?\nAnswer:",
    }
    for name, prompt in expected.items():
        task, _ = under(catalogue.get("financial-phrasebank"), name)
        assert task.protocols == {}
        encoder = Encoder(load_tokenizer(toy_base), task, 256)  # this tokenizer has a chat template
        assert encoder.render({"text": "Profit rose."}) == prompt
        assert encoder.end == encoder.tokenizer.eos_token_id
        answer = encoder.tokenizer.decode(encoder.answer("neutral"))
        assert prompt + answer == prompt.rstrip(" ") + " neutral"
    task, _ = under(catalogue.get("financial-phrasebank"), "bloomberg")
    shown, lead = plain(task, {"text": "B"}, [({"text": "A"}, "neutral")])
    assert (shown, lead) == (
        "A\nQuestion: what is the sentiment?\nAnswer: neutral\n\nB\nQuestion: what is the sentiment?\nAnswer:",
        " ",
    )


def phrasebank(root: Path, copies: int = 1) -> Path:
    folder = root / "finance" / "financial_phrasebank"
    folder.mkdir(parents=True)
    lines = [f"{text}@{label}" for text, label in sentences(120)] * copies
    (folder / "Sentences_50Agree.txt").write_text("\n".join(lines) + "\n", "latin-1")
    return root


def recipe(protocol: str) -> Recipe:
    return Recipe.model_validate({"name": "x", "protocol": protocol, "task": {"name": "financial-phrasebank"}})


def test_shots_are_drawn_anew_for_every_test_example_from_train(tmp_path: Path) -> None:
    data = prepare_data(recipe("bloomberg"), data_root=phrasebank(tmp_path), lock=None, offline=True)
    shared, own = few_shots(data, 6, seed=0)
    assert shared == []
    assert {len(shots) for shots in own.values()} == {5}
    assert set(own) == {e.id for e in data.part("test")}
    train = {e.inputs["text"] for e in data.part("train")}
    assert {inputs["text"] for shots in own.values() for inputs, _ in shots} <= train
    assert len({str(shots) for shots in own.values()}) == len(own)
    assert own == few_shots(data, 6, seed=0)[1]
    assert data.to_json()["protocol"]["mark"] == "not the same rows"


def test_published_rows_are_kept_and_validation_comes_out_of_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = catalogue.get("financial-phrasebank")
    small = task.protocols["fingpt"].model_copy(update={"test_rows": 60})
    changed = task.model_copy(update={"protocols": {"fingpt": small}})
    monkeypatch.setattr(catalogue, "get", lambda name: changed)
    data = prepare_data(recipe("fingpt"), data_root=phrasebank(tmp_path, copies=2), lock=None, offline=True)
    told = data.to_json()
    assert sum(len(data.part(part)) for part in ("train", "validation", "test")) == 240
    assert len(data.part("test")) == 60
    assert told["protocol"] | {"note": ""} == {
        "name": "fingpt", "title": "FinGPT's benchmark", "rows": "same", "mark": "same rows", "shots": 0, "note": "",
    }  # fmt: skip
    assert told["duplicates"]["test_rows_also_in_train"] > 0
    kept = {e.inputs["text"] for e in data.part("train")}
    assert not kept & {e.inputs["text"] for e in data.part("validation")}
    more = recipe("fingpt").model_dump() | {"task": {"name": "financial-phrasebank", "exemplars": "more.csv"}}
    with pytest.raises(MetierError, match="says which rows are learnt from"):
        prepare_data(Recipe.model_validate(more), data_root=tmp_path, lock=None, offline=True)
