from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.files import sha256_file
from metier.sources import Lock, fetch_file, fetch_model_repo, hub_reachable, load_hub_dataset, write_table
from metier.sources import hub as hub_module
from metier.tasks import load_task
from tests.hub_server import FakeHub, serve_hub
from tests.sources.packages import zip_bytes

BIG = b"weights " * 20_000
MODEL = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": BIG,
    "pytorch_model.bin": b"pickle",
    "modeling.py": b"raise SystemExit",
    "onnx/config.json": b"{}",
}


def _put(root: Path, repo: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    root = tmp_path / "hub"
    _put(root, "models/acme/tiny", MODEL)
    archive = zip_bytes({"Set-v1/sentences.txt": "Gewinn f\xfcr alle@positive\n".encode("latin-1")})
    _put(root, "datasets/acme/set", {"data/a.csv": b"text,label\nup,1\n", "data/v1.zip": archive, "big.txt": BIG})
    with serve_hub(root) as hub:
        hub_module._answers.cache_clear()
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield hub


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _refuse_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something touched the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_file_of_a_data_set_comes_with_its_commit(hub: FakeHub) -> None:
    lock = Lock()
    fetched = fetch_file("hf:acme/set!data/a.csv", lock=lock)
    assert fetched.path.read_bytes() == b"text,label\nup,1\n"
    assert (fetched.revision, fetched.trust) == (hub.commit("datasets/acme/set"), "revision")
    assert lock.entries()[0]["sha256"] == sha256_file(fetched.path)


def test_large_files_come_from_storage_without_the_token(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert fetch_file("hf:acme/set!big.txt").path.read_bytes() == BIG
    storage = [token for _, path, token in hub.requests if path.startswith("/storage/")]
    assert storage
    assert not any(storage)
    assert f"Bearer {hub.token}" in {token for _, _, token in hub.requests}


def test_archives_in_a_data_set_are_read(hub: FakeHub) -> None:
    fetched = fetch_file("hf:acme/set!data/v1.zip!Set-v1/sentences.txt")
    assert fetched.path.read_bytes() == b"Gewinn f\xfcr alle@positive\n"
    assert fetched.revision == hub.commit("datasets/acme/set")


def test_a_pinned_revision_is_used_again(hub: FakeHub) -> None:
    lock = Lock()
    ref = "hf:acme/set!data/a.csv"
    first = fetch_file(ref, lock=lock)
    _put(hub.root, "datasets/acme/set", {"data/a.csv": b"text,label\ndown,0\n"})
    assert fetch_file(ref, lock=lock) == first
    moved = fetch_file(ref)
    assert moved.path.read_bytes() == b"text,label\ndown,0\n"
    assert moved.revision != first.revision


def test_a_named_revision_is_asked_for(hub: FakeHub) -> None:
    hub.revisions["refs/convert/parquet"] = "x"
    assert fetch_file("hf:acme/set@refs/convert/parquet!data/a.csv").bytes == 16
    assert fetch_file(f"hf:acme/set@{hub.commit('datasets/acme/set')}!data/a.csv").bytes == 16


def test_offline_reads_the_cache_and_touches_no_network(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = "hf:acme/set!data/a.csv"
    online = fetch_file(ref)
    folder = fetch_model_repo("hf:acme/tiny")
    rows = list(load_hub_dataset("hf:acme/set"))
    _refuse_connections(monkeypatch)
    assert fetch_file(ref, offline=True) == online
    assert fetch_model_repo("hf:acme/tiny", offline=True) == folder
    assert list(load_hub_dataset("hf:acme/set", offline=True)) == rows
    assert not hub_reachable(offline=True)
    with pytest.raises(MetierError, match="not in the cache, and this run is offline"):
        fetch_file("hf:acme/set!big.txt", offline=True)
    with pytest.raises(MetierError, match="not in the cache, and this run is offline"):
        fetch_model_repo("hf:acme/other", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch_file(ref) == online
    assert not hub_reachable()
    with pytest.raises(MetierError, match="HF_HUB_OFFLINE"):
        load_hub_dataset("hf:acme/other")


def test_a_damaged_copy_is_fetched_again(hub: FakeHub) -> None:
    for name in ("data/a.csv", "big.txt"):  # checked by git's hash and by SHA-256
        first = fetch_file(f"hf:acme/set!{name}")
        first.path.resolve().write_bytes(b"broken")
        with pytest.raises(MetierError, match="damaged in the cache"):
            fetch_file(f"hf:acme/set!{name}", offline=True)
        assert fetch_file(f"hf:acme/set!{name}") == first
    folder = fetch_model_repo("hf:acme/tiny")
    (folder / "model.safetensors").resolve().write_bytes(b"broken")
    assert (fetch_model_repo("hf:acme/tiny") / "model.safetensors").read_bytes() == BIG


def test_a_model_comes_without_pickles_and_code(hub: FakeHub) -> None:
    lock = Lock()
    folder = fetch_model_repo("hf:acme/tiny", lock=lock)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    entry = lock.entries()[0]
    assert entry["revision"] == hub.commit("models/acme/tiny")
    assert entry["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    _put(hub.root, "models/acme/tiny", {"config.json": b'{"model_type": "gpt2"}'})
    assert fetch_model_repo("hf:acme/tiny", lock=lock) == folder
    assert fetch_model_repo("hf:acme/tiny") != folder


def test_a_model_of_pickles_alone_is_refused(hub: FakeHub) -> None:
    _put(hub.root, "models/acme/old", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    _put(hub.root, "models/acme/bare", {"model.safetensors": b"x"})
    with pytest.raises(MetierError, match=r"no safetensors[\s\S]*pickles are not loaded"):
        fetch_model_repo("hf:acme/old")
    with pytest.raises(MetierError, match=r"no config\.json"):
        fetch_model_repo("hf:acme/bare")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("hf:acme/none!a.csv", r"no such data set[\s\S]*check owner and name"),
        ("hf:acme/set@none!a.csv", r"no revision 'none'"),
        ("hf:acme/set!data/b.csv", r"no such file[\s\S]*did you mean 'data/a.csv'"),
        ("hf:acme/set!data/v1.zip!nothing.txt", "no member 'nothing.txt'"),
        ("hf:acme/set", "names a repository, not a file in it"),
        ("hf:acme/set!../x", "refused"),
        ("hf:a b/set!x", "not the name of a repository"),
        ("hf:acme/set@!x", "not the name of a repository"),
        ("hf:acme/x/y!x", "not the name of a repository"),
    ],
)
def test_what_is_not_there_is_explained(hub: FakeHub, ref: str, message: str) -> None:
    with pytest.raises(MetierError, match=message):
        fetch_file(ref)


def test_a_gated_repository_asks_for_its_terms_and_a_token(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated |= {"datasets/acme/set", "models/acme/tiny"}
    with pytest.raises(MetierError, match=rf"gated[\s\S]*{hub.endpoint}/datasets/acme/set[\s\S]*HF_TOKEN"):
        fetch_file("hf:acme/set!data/a.csv")
    with pytest.raises(MetierError, match="model is gated"):
        fetch_model_repo("hf:acme/tiny")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(MetierError, match="data set is gated"):
        load_hub_dataset("hf:acme/set")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert fetch_file("hf:acme/set!data/a.csv").bytes == 16
    assert fetch_model_repo("hf:acme/tiny").is_dir()


def test_a_missing_model_or_revision_is_explained(hub: FakeHub) -> None:
    with pytest.raises(MetierError, match="no such model"):
        fetch_model_repo("hf:acme/none")
    with pytest.raises(MetierError, match="no revision 'v2'"):
        fetch_model_repo("hf:acme/tiny@v2")


def test_a_hub_that_fails_is_named(hub: FakeHub) -> None:
    hub.broken = 403
    with pytest.raises(MetierError, match=r"answered with status 403[\s\S]*may not read it"):
        fetch_file("hf:acme/set!data/a.csv")


def test_no_network_is_said_so(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = "hf:acme/set!data/a.csv"
    cached = fetch_file(ref)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{_closed_port()}")
    assert fetch_file(ref) == cached  # the library falls back on what it has
    with pytest.raises(MetierError, match=r"cannot be reached[\s\S]*check the network and HF_ENDPOINT"):
        fetch_model_repo("hf:acme/tiny")
    assert not hub_reachable()


def test_a_hub_that_did_not_answer_is_not_called_offline(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{_closed_port()}")
    with pytest.raises(MetierError, match=r"cannot be had[\s\S]*METIER_DATA[\s\S]*HF_ENDPOINT") as error:
        load_task("fiqa-sentiment")
    assert f"it is not in the cache, and {os.environ['HF_ENDPOINT']} cannot be reached" in str(error.value.where)
    assert "offline" not in str(error.value.where)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    with pytest.raises(MetierError) as error:
        load_task("fiqa-sentiment", offline=True)
    assert "this run is offline" in str(error.value.where)


def test_whether_a_hub_answers_is_asked_once(hub: FakeHub) -> None:
    assert hub_reachable()
    assert hub_reachable()
    assert hub.counts("GET") == 1


CARD = """---
configs:
- config_name: one
  data_files:
  - split: train
    path: one/train-*.parquet
  - split: test
    path: one/test.parquet
- config_name: two
  data_files: two.csv
  sep: ";"
---
# A set
"""


def _parquet(root: Path, name: str, rows: list[dict[str, object]]) -> None:
    path = root / "datasets/acme/cards" / name
    write_table(path, rows, list(rows[0]))


@pytest.fixture
def cards(hub: FakeHub) -> FakeHub:
    _parquet(hub.root, "one/train-0.parquet", [{"text": "up", "label": 1}, {"text": "down", "label": 0}])
    _parquet(hub.root, "one/train-1.parquet", [{"text": None, "label": 2}])
    _parquet(hub.root, "one/test.parquet", [{"text": "flat", "label": 2}])
    _put(hub.root, "datasets/acme/cards", {"README.md": CARD.encode(), "two.csv": b"text;label\nNone;a\n;b\n"})
    _put(hub.root, "datasets/acme/cards", {"cards.py": b"raise SystemExit"})
    return hub


def test_a_card_says_what_a_configuration_is(cards: FakeHub) -> None:
    lock = Lock()
    rows = list(load_hub_dataset("hf:acme/cards", "one", "train", lock=lock))
    assert [(row.number, row.values) for row in rows] == [
        (1, {"text": "up", "label": 1}),
        (2, {"text": "down", "label": 0}),
        (3, {"text": None, "label": 2}),
    ]
    assert lock.entries()[0]["revision"] == cards.commit("datasets/acme/cards")
    assert not any(path.endswith(("two.csv", ".py")) for _, path, _ in cards.requests)
    assert [row.values["text"] for row in load_hub_dataset("hf:acme/cards", "one", "test")] == ["flat"]
    assert [row.values for row in load_hub_dataset("hf:acme/cards", "two")] == [
        {"text": "None", "label": "a"},
        {"text": None, "label": "b"},
    ]


def test_unknown_configurations_and_splits_name_those_there_are(cards: FakeHub) -> None:
    with pytest.raises(MetierError, match=r"2 configurations and no default[\s\S]*one, two"):
        load_hub_dataset("hf:acme/cards")
    with pytest.raises(MetierError, match=r"no configuration 'onne'[\s\S]*'one'"):
        load_hub_dataset("hf:acme/cards", "onne")
    with pytest.raises(MetierError, match=r"no split 'tset'[\s\S]*'test'"):
        load_hub_dataset("hf:acme/cards", "one", "tset")


def test_without_a_card_file_names_tell_the_splits(hub: FakeHub) -> None:
    lines = "".join(json.dumps({"text": f"t{n}", "label": n, "tags": ["a"]}) + "\n" for n in range(3))
    _put(
        hub.root,
        "datasets/acme/plain",
        {"train.jsonl": lines.encode(), "test.jsonl": lines[: lines.index("\n")].encode()},
    )
    rows = list(load_hub_dataset("hf:acme/plain"))
    assert rows[0].values == {"text": "t0", "label": 0, "tags": '["a"]'}
    assert (len(rows), len(list(load_hub_dataset("hf:acme/plain", None, "test")))) == (3, 1)


def test_converted_sets_keep_configurations_in_folders(hub: FakeHub) -> None:
    hub.revisions["refs/convert/parquet"] = "x"
    for config in ("a", "b"):
        write_table(hub.root / f"datasets/acme/conv/{config}/train/0000.parquet", [{"text": config}], ["text"])
    ref = "hf:acme/conv@refs/convert/parquet"
    assert [row.values for row in load_hub_dataset(ref, "b")] == [{"text": "b"}]
    with pytest.raises(MetierError, match="no configuration 'c'"):
        load_hub_dataset(ref, "c")


def test_a_set_made_by_a_script_says_what_to_do(hub: FakeHub) -> None:
    _put(hub.root, "datasets/acme/script", {"script.py": b"raise SystemExit", "data/raw.zip": b"PK"})
    with pytest.raises(MetierError, match=r"scripts are not run[\s\S]*refs/convert/parquet[\s\S]*!data/raw.zip"):
        load_hub_dataset("hf:acme/script")
    _put(hub.root, "datasets/acme/nothing", {"README.md": b"# empty"})
    with pytest.raises(MetierError, match="no files to read"):
        load_hub_dataset("hf:acme/nothing")


def test_a_broken_file_is_named_with_the_row_reached(hub: FakeHub) -> None:
    _put(hub.root, "datasets/acme/broken", {"train.parquet": b"PAR1 not really PAR1"})
    with pytest.raises(MetierError, match=r"cannot be read[\s\S]*after row 0"):
        list(load_hub_dataset("hf:acme/broken"))
    _put(hub.root, "datasets/acme/ragged", {"train.csv": b"a,b\n1,2\n1,2,3\n"})
    with pytest.raises(MetierError, match="cannot be read"):
        list(load_hub_dataset("hf:acme/ragged"))


def test_too_large_a_set_is_not_fetched(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.sources import hubdata

    monkeypatch.setattr(hubdata, "LIMIT_BYTES", 10)
    with pytest.raises(MetierError, match=r"16 bytes; the limit is 10[\s\S]*!data/a.csv"):
        load_hub_dataset("hf:acme/set")


def test_a_process_of_its_own_honours_the_environment(hub: FakeHub) -> None:
    code = "from metier.sources import fetch_file; print(fetch_file('hf:acme/set!data/a.csv').bytes)"

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)

    assert "not in the cache, and this run is offline" in run(HF_HUB_OFFLINE="1").stderr
    assert hub.requests == []
    hub.gated.add("datasets/acme/set")
    assert "gated" in run(HF_TOKEN="hf_wrong").stderr
    assert run(HF_TOKEN=hub.token).stdout == "16\n"
    assert run(HF_HUB_OFFLINE="1").stdout == "16\n"
