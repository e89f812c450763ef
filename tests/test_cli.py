"""The command line on a finished toy run: what is asked wrongly, what was damaged and is mended by running again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperCommand

import metier
from metier import Specialist, cli
from metier.errors import MetierError
from metier.run import run as carry_out
from tests.toy import make_base, sentences, write_recipe

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def original(toy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    extra = "measure: {systems: [majority, tfidf]}\n"
    return carry_out(write_recipe(folder, toy_base, extra=extra), out=folder / "out")


@pytest.fixture
def finished(original: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    shutil.copytree(original.parent, tmp_path / "run")
    return tmp_path / "run" / "out"


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (["predict", "RUN", "text", "--in", "table.csv"], "", "not both"),
        (["predict", "RUN", "text", "--out", "o.csv"], "", "--in FILE"),
        (["predict", "RUN", "--in", "table.csv"], "", "--out"),
        (["predict", "RUN"], "\n \n", "no text to answer"),
        (["predict", "RUN"], "caf\udce9\n", "not UTF-8"),
        (["predict", "RUN", "--in", "none.csv", "--out", "o.csv"], "", "none.csv"),
        (["evaluate", "RUN"], "", "--task NAME"),
        (["evaluate", "RUN", "--task", "finance-startr"], "", "finance-starter"),
        (["evaluate", "RUN/specialist", "--in", "TABLE", "--column", "sentence", "--gold", "mood"], "", "whole run"),
        (["new", "nonsense"], "", "own-table"),
    ],
)
def test_what_is_asked_wrongly(original: Path, command: Run, arguments: list[str], stdin: str, told: str) -> None:
    table = str(original.parent / "table.csv")
    given = [part.replace("RUN", str(original)).replace("TABLE", table) for part in arguments]
    code, out, err = command(*given, stdin=stdin)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("specialist/template.json", b"{half", "damaged"),
        ("specialist/template.json", b"[]", "damaged"),
        ("specialist/calibration.json", b"{}", "damaged"),
        ("specialist/adapter_model.safetensors", b"half", "does not fit"),
        ("specialist/adapter_config.json", b"{half", "does not fit"),
    ],
)
def test_a_damaged_specialist_says_how_to_mend_it(
    finished: Path, command: Run, name: str, content: bytes, told: str
) -> None:
    before = Specialist.load(finished).predict(["Alma: profit rose in 3/2001"])
    (finished / name).write_bytes(content)
    code, _, err = command("predict", finished, "a text")
    assert code == 2
    assert told in err
    assert "delete" in err
    shutil.rmtree(finished / "specialist")  # as the message says
    code, _, err = command("run", finished.parent / "recipe.yaml", "--out", finished)
    assert code == 0, err
    assert Specialist.load(finished).predict(["Alma: profit rose in 3/2001"]) == before


@pytest.mark.parametrize("content", ["{half", "[]", '{"stages"'])
def test_a_damaged_manifest_is_named_and_deleting_it_helps(finished: Path, command: Run, content: str) -> None:
    (finished / "manifest.json").write_text(content)
    recipe = finished.parent / "recipe.yaml"
    code, _, err = command("run", recipe, "--out", finished)
    assert code == 2
    assert "manifest.json" in err
    assert "delete it" in err
    (finished / "manifest.json").unlink()
    assert command("run", recipe, "--out", finished)[0] == 0


def test_scores_of_a_replaced_specialist_are_dropped(finished: Path, command: Run) -> None:
    table, scores = finished.parent / "other.csv", finished / "evidence" / "scores.json"
    table.write_text("sentence,mood\n" + "".join(f'"{t}!!",{m}\n' for t, m in sentences(40, seed=12)))
    code, _, err = command("evaluate", finished, "--in", table, "--column", "sentence", "--gold", "mood")
    assert code == 0, err
    assert set(json.loads(scores.read_text())) == {"table", "other"}
    recipe = finished.parent / "recipe.yaml"
    assert command("run", recipe, "--out", finished)[0] == 0
    assert set(json.loads(scores.read_text())) == {"table", "other"}  # the same specialist: still true of it
    recipe.write_text(recipe.read_text().replace("epochs: 3", "epochs: 1"))
    assert command("run", recipe, "--out", finished)[0] == 0
    assert set(json.loads(scores.read_text())) == {"table"}


def test_another_base_than_that_of_training_is_refused(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    out = carry_out(write_recipe(tmp_path, base, extra="measure: {systems: [majority]}\n"), out=tmp_path / "out")
    make_base(base, seed=9)
    with pytest.raises(MetierError, match="not the one that the adapter was trained on"):
        Specialist.load(out)


def test_a_file_where_the_run_directory_should_be(original: Path, command: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    code, _, err = command("run", original.parent / "recipe.yaml", "--out", tmp_path / "taken")
    assert code == 2
    assert "taken" in err
    assert (tmp_path / "taken").read_text() == "mine"


def test_several_columns_are_several_fields(toy_base: Path, tmp_path: Path, command: Run) -> None:
    recipe = write_recipe(tmp_path, toy_base, extra="measure: {systems: [majority]}\n")
    recipe.write_text(recipe.read_text().replace("text: sentence", "text: [firm, sentence]"))
    out = carry_out(recipe, out=tmp_path / "out")
    specialist = Specialist.load(out)
    assert specialist.predict([{"firm": "Alma", "sentence": "profit rose"}])[0].label in specialist.labels
    with pytest.raises(MetierError, match="the field 'firm' is missing"):
        specialist.predict([{"sentence": "profit rose"}])
    code, _, err = command("predict", out, "profit rose")
    assert code == 2
    assert "firm, sentence" in err
    table = ["predict", out, "--in", tmp_path / "table.csv", "--out", tmp_path / "o.csv"]
    assert command(*table, "--column", "sentence")[0] == 2
    assert command(*table, "--column", "firm", "--column", "sentence")[0] == 0


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def verbs() -> list[list[str]]:
    """Every verb as it is typed, those of groups too."""
    found: list[list[str]] = []
    for name, verb in typer.main.get_group(cli.app).commands.items():
        inner = getattr(verb, "commands", {})
        found += [[name, below] for below in inner] or [[name]]
    return found


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_verb_that_is_stopped_says_so(verb: list[str], command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TyperCommand, "make_context", stopped)
    assert command(*verb) == (130, "", "stopped; nothing was left half-written\n")


@pytest.mark.parametrize(
    ("arguments", "work", "kept"),
    [
        (["run", "r.yaml"], "run.pipeline.run", "run the same command again to continue"),
        (["curve", "r.yaml"], "run.learning_curve.curve", "run the same command again to continue"),
        (["curate", "r.yaml"], "run.curate.curate", "run the same command again to continue"),
        (["ask", "medqa"], "run.asking.ask_target", "that were finished are kept"),
        (["predict", "RUN", "text"], "inference.specialist.Specialist.load", "nothing was left half-written"),
        (
            ["tokenizer", "compare", "a.txt", "-t", "b"],
            "run.tokenizer.compare_tokenizers",
            "nothing was left half-written",
        ),
    ],
)
def test_a_stopped_verb_says_what_is_kept(
    command: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], work: str, kept: str
) -> None:
    monkeypatch.setattr(f"metier.{work}", stopped)
    code, out, err = command(*arguments)
    assert (code, out) == (130, "")
    assert err.startswith("stopped; ")
    assert kept in err


def test_a_system_without_one_of_the_metrics_is_printed(
    finished: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}
    majority = {"metrics": {"entity_f1": score}}  # it names no entity, so it has no precision
    specialist = {"metrics": {"entity_precision": score, "entity_f1": score}}
    found = ("more", {"majority": majority, "specialist": specialist}, {"rows": 8})
    monkeypatch.setattr("metier.run.evaluate.evaluate", lambda *_, **__: found)
    code, out, _ = command("evaluate", finished, "--in", "more.csv")
    assert code == 0
    assert "majority     -  " in out


def verbs(group: Any, *before: str) -> Iterator[tuple[str, ...]]:
    for name, found in group.commands.items():
        yield from verbs(found, *before, name) if hasattr(found, "commands") else [(*before, name)]


def test_the_version_is_told(command: Run) -> None:
    assert command("--version")[:2] == (0, f"metier {metier.__version__}\n")


def test_every_verb_has_its_help(command: Run) -> None:
    found = list(verbs(typer.main.get_command(cli.app)))
    assert len(found) > 20
    for verb in found:
        code, out, _ = command(*verb, "--help")
        assert code == 0, verb
        assert "Usage" in out
