"""Whatever a user gets wrong: exit code 2, no traceback, the file, the row, the field and what to change."""

from __future__ import annotations

import errno
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import BertConfig, BertModel

from metier import files
from tests.toy import make_base, sentences, write_recipe, write_tokenizer

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(command: Callable[..., tuple[int, str, str]]) -> Run:
    """Calls the command line as a user does; returns exit code and what was printed."""

    def call(*arguments: object) -> tuple[int, str]:
        code, out, err = command(*arguments)
        return code, err + out

    return call


@pytest.fixture
def folder(tmp_path: Path, toy_base: Path) -> Path:
    write_recipe(tmp_path, toy_base)
    return tmp_path


def edit(folder: Path, old: str, new: str) -> Path:
    recipe = folder / "recipe.yaml"
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))
    return recipe


def rows(folder: Path, change: Callable[[list[str]], list[str]]) -> Path:
    table = folder / "table.csv"
    table.write_text("\n".join(change(table.read_text().splitlines())) + "\n", encoding="utf-8")
    return folder / "recipe.yaml"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("epochs: 3", "epoch: 3", ["line 4", "adapt.epoch", "did you mean 'epochs'"]),
        ("epochs: 3", "epochs: many", ["line 4", "adapt.epochs", "whole number", "'many'"]),
        ("name: toy", "nom: toy", ["unknown field", "'name'"]),
        ("label: mood", "label: moods", ["table.csv", "'moods'", "did you mean 'mood'"]),
        ("text: sentence", "text: sentenc", ["table.csv", "did you mean 'sentence'"]),
        ("file: table.csv", "file: tabel.csv", ["tabel.csv"]),
        ("task: {file: table.csv, text: sentence, label: mood}", "task: {name: finance-startr}", ["finance-starter"]),
        ("task: {file: table.csv, text: sentence, label: mood}", "task: {}", ["task", "name", "file"]),
        ("dtype: float32", "dtype: float33", ["dtype", "float32"]),
        ("retention: null", "split: {train: 0.5, validation: 0.1, test: 0.1}", ["split", "add up to 1"]),
        ("retention: null", "split: {train: 0.5, test: 0.6}", ["train 0.5, validation 0.1 and test 0.6", "to 1.2"]),
        ("retention: null", "seeds: [1, 1]", ["a seed stands twice", "[0, 1, 2]"]),
        ("retention: null", "retention: off", ["mapping of fields, or null for none", "'off'"]),
        ("label: mood}", "label: mood, sheet: one}", ["'sheet' is for xlsx, this is csv", "table.csv"]),
        ("label: mood}", "label: mood, label_map: {positive: good}}", ["found 'ne", "add it to label_map"]),
        (
            "retention: null",
            "retention: {tasks: [financial-phrasebank]}",
            ["retention.tasks", "classification", "boolq"],
        ),
        ("retention: null", "mix: {tasks: [{fil: other.csv}]}", ["mix.tasks.0.fil", "did you mean 'file'"]),
        ("name: toy", "name: [", ["not valid YAML", "line"]),
    ],
)
def test_recipes(run: Run, folder: Path, old: str, new: str, told: list[str]) -> None:
    code, text = run("validate", edit(folder, old, new))
    assert code == 2, text
    for part in told:
        assert part in text, text


def test_no_recipe(run: Run, tmp_path: Path) -> None:
    code, text = run("run", tmp_path / "none.yaml")
    assert code == 2
    assert "none.yaml" in text


def test_empty_text_names_the_rows(run: Run, folder: Path) -> None:
    code, text = run("validate", rows(folder, lambda lines: [*lines[:4], '"",positive,X', *lines[4:]]))
    assert code == 2, text
    assert "table.csv" in text
    assert "5" in text
    assert "sentence" in text


def test_unknown_label(run: Run, folder: Path) -> None:
    recipe = rows(folder, lambda lines: [*lines, '"Alma: odd",positve,Alma'])
    edit(folder, "label: mood}", "label: mood, labels: [negative, neutral, positive]}")
    code, text = run("validate", recipe)
    assert code == 2, text
    assert "positve" in text
    assert "positive" in text
    assert "242" in text


def test_a_lone_class(run: Run, folder: Path) -> None:
    code, text = run("validate", rows(folder, lambda lines: [lines[0], *(x for x in lines if ",neutral," in x)]))
    assert code == 2, text
    assert "neutral" in text


def test_a_class_with_too_few_rows(run: Run, folder: Path) -> None:
    code, text = run("validate", rows(folder, lambda lines: [*lines, '"Alma: rare one",rare,Alma']))
    assert code == 2, text
    assert "rare" in text
    assert "at least" in text


def test_mixed_encodings(run: Run, folder: Path) -> None:
    table = folder / "table.csv"
    table.write_bytes(
        table.read_bytes() + '"Äpfel: überall",positive,Ä\n'.encode() + b'"\xc4rger: \xfcbel",negative,A\n'
    )
    code, text = run("validate", folder / "recipe.yaml")
    assert code == 2, text
    assert "table.csv" in text
    assert "encoding" in text


def test_a_ragged_csv(run: Run, folder: Path) -> None:
    code, text = run("validate", rows(folder, lambda lines: [*lines[:7], '"Alma: a",positive,Alma,more', *lines[7:]]))
    assert code == 2, text
    assert "table.csv" in text
    assert "8" in text


def test_a_truncated_parquet(run: Run, folder: Path) -> None:
    table = pa.table({"sentence": [t for t, _ in sentences(60)], "mood": [m for _, m in sentences(60)]})
    pq.write_table(table, folder / "table.parquet")
    data = (folder / "table.parquet").read_bytes()
    (folder / "table.parquet").write_bytes(data[: len(data) // 2])
    code, text = run("validate", edit(folder, "table.csv", "table.parquet"))
    assert code == 2, text
    assert "table.parquet" in text


def test_a_truncated_gzip(run: Run, folder: Path) -> None:
    data = gzip.compress((folder / "table.csv").read_bytes())
    (folder / "table.csv.gz").write_bytes(data[: len(data) // 2])
    code, text = run("validate", edit(folder, "table.csv", "table.csv.gz"))
    assert code == 2, text
    assert "table.csv.gz" in text


def test_a_base_that_does_not_continue_text(run: Run, folder: Path, toy_base: Path, tmp_path: Path) -> None:
    bert = tmp_path / "bert"
    write_tokenizer(bert)
    config = BertConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(bert)
    code, text = run("run", edit(folder, str(toy_base), str(bert)), "--out", tmp_path / "out")
    assert code == 2, text
    assert "causal" in text


def test_a_base_with_code_of_its_own_is_never_run(run: Run, folder: Path, toy_base: Path, tmp_path: Path) -> None:
    strange = make_base(tmp_path / "strange")
    config = json.loads((strange / "config.json").read_text())
    (strange / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "evil.Model"}}))
    (strange / "evil.py").write_text("raise SystemExit('run')")
    code, text = run("run", edit(folder, str(toy_base), str(strange)), "--out", tmp_path / "out")
    assert code == 2, text
    assert "never executed" in text


def test_an_unknown_base_and_no_network(run: Run, folder: Path, toy_base: Path) -> None:
    code, text = run("validate", edit(folder, str(toy_base), "smollm2-135m-instruct"), "--offline")
    assert code == 2, text
    assert "package index" in text
    code, text = run("validate", edit(folder, "smollm2-135m-instruct", "no-such-base"))
    assert code == 2
    assert "no-such-base" in text
    assert "recipe, base" in text


def test_a_full_disk_then_the_same_command(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.os.replace

    def full(source: object, target: object) -> None:
        if "specialist" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)  # type: ignore[call-overload]

    monkeypatch.setattr(files.os, "replace", full)
    code, text = run("run", folder / "recipe.yaml", "--out", tmp_path / "out")
    assert code == 2, text
    assert "disk is full" in text
    monkeypatch.setattr(files.os, "replace", real)
    code, text = run("run", folder / "recipe.yaml", "--out", tmp_path / "out")
    assert code == 0, text
    assert (tmp_path / "out" / "report.html").exists()
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    (tmp_path / "copy" / "manifest.json").write_text("{half")
    code, text = run("run", folder / "recipe.yaml", "--out", tmp_path / "copy")
    assert code == 2
    assert "manifest" in text


def test_no_specialist_here(run: Run, tmp_path: Path) -> None:
    for command in (("predict", tmp_path, "text"), ("show", tmp_path), ("report", tmp_path)):
        code, text = run(*command)
        assert code == 2, text
        assert str(tmp_path) in text
