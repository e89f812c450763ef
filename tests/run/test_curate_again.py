"""``metier curate`` on a folder that is there already: damage, interruption, and sources that were taken out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.run.curate import curate
from tests.corpus.prose import prose
from tests.run.test_curate import contents, recipe, speeches, write_tokenizer

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tokenizer(tmp_path)
    speeches(tmp_path / "speeches", 20)


def notes(folder: Path, broken: bool = False) -> None:
    lines = [json.dumps({"text": prose(f"n{n}", 100)}) for n in range(10)]
    (folder / "notes.jsonl").write_text("\n".join([*lines, '{"text": "broken'] if broken else lines), "utf-8")


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["0.jsonl.zst", "0.signatures", "0.json"])
def test_a_damaged_file_of_cleaned_texts_is_made_again(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(tmp_path / "r.yaml")
    file = curate(path, processes=1).folder / "clean" / "speeches" / name
    before = file.read_bytes()
    flip(file)
    path = recipe(path, "  hold_out: {share: 0.3}\n")
    assert curate(path, processes=1).done == 2  # the part, and the tokens
    assert "is not as it was written" in "".join(capsys.readouterr()).replace("\n", "")
    assert file.read_bytes() == before
    fresh = curate(path, processes=1, out=tmp_path / "fresh").folder
    assert contents(tmp_path / "runs/bank/corpus/tokens") == contents(fresh / "tokens")


def test_damaged_marks_of_duplicates_are_made_again(tmp_path: Path) -> None:
    path = recipe(tmp_path / "r.yaml")
    folder = curate(path, processes=1).folder
    before = contents(folder / "duplicates"), contents(folder / "tokens")
    marks = folder / "duplicates" / "speeches" / "0.npy"
    marks.write_bytes(marks.read_bytes()[:-1] + b"\x01")
    assert curate(path, processes=1).done == 1
    assert (contents(folder / "duplicates"), contents(folder / "tokens")) == before


def test_a_record_without_checksums_is_believed_and_gets_them(tmp_path: Path) -> None:
    path = recipe(tmp_path / "r.yaml")
    folder = curate(path, processes=1).folder
    manifest = tmp_path / "runs" / "bank" / "manifest.json"
    before = manifest.read_text("utf-8")
    found = json.loads(before)
    for stage in found["stages"].values():
        stage.pop("files", None)
    manifest.write_text(json.dumps(found), "utf-8")
    assert curate(path, processes=1).done == 0
    assert json.loads(manifest.read_text("utf-8"))["stages"] == json.loads(before)["stages"]
    flip(folder / "clean" / "speeches" / "0.jsonl.zst")
    assert curate(path, processes=1).done == 1


def test_parts_that_were_finished_before_an_error_stay_done(tmp_path: Path) -> None:
    notes(tmp_path, broken=True)
    path = recipe(tmp_path / "r.yaml", sources="[speeches, notes.jsonl]")
    with pytest.raises(MetierError, match="not JSON"):
        curate(path, processes=1)
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "runs/bank/corpus/clean/speeches").iterdir()}
    assert len(made) == 6
    notes(tmp_path)
    assert curate(path, processes=1).done == 5  # two parts of the notes, duplicates, the tokens of both
    assert {file: file.stat().st_mtime_ns for file in made} == made


def test_nothing_stays_of_a_source_that_was_taken_out(tmp_path: Path) -> None:
    notes(tmp_path)
    run = tmp_path / "runs" / "bank"
    curate(recipe(tmp_path / "r.yaml", sources="[speeches, notes.jsonl]"), processes=1)
    assert [path for path in run.rglob("*") if "notes" in path.name]
    found = curate(recipe(tmp_path / "r.yaml"), processes=1)
    assert found.changes == ["notes is no source any more: what was made of it is removed"]
    assert not [path for path in run.rglob("*") if "notes" in path.name]
    assert "/notes" not in (run / "manifest.json").read_text("utf-8")
    again = curate(recipe(tmp_path / "r.yaml", sources="[speeches, notes.jsonl]"), processes=1)
    assert list(again.ledger["sources"]) == ["speeches", "notes"]
    assert again.done == 4


@pytest.mark.parametrize(
    ("source", "every", "says"),
    [
        ("date: date", "0{}/15/2022", "no date of the source 'notes' can be read (they are written like '00/00/0000')"),
        ("date: date", None, "no date of the source 'notes' can be read: hold_out.after would hold"),
        ("limit: 9", "0{}/15/2022", None),
    ],
)
def test_dates_that_cannot_be_read_are_told(
    tmp_path: Path, command: Command, source: str, every: str | None, says: str | None
) -> None:
    rows = [{"text": prose(n, 100), "date": every and every.format(1 + n % 9)} for n in range(20)]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    more = "  hold_out: {share: 0.1, after: 2022-04-01}\n"
    path = recipe(tmp_path / "r.yaml", more, f"[{{path: notes.jsonl, {source}}}]")
    code, printed, told = command("curate", path, "--processes", 1)
    if says:
        assert code == 2
        assert says in " ".join(told.split())
    else:
        assert code == 0
        found = json.loads((tmp_path / "runs/bank/ledger.json").read_text())["notes"]
        assert found == ["notes: 20 of 20 documents have no readable date; hold_out.after does not apply to them"]
        assert "no readable date" in " ".join((printed + told).split())


def test_some_dates_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    days = ["2022-05-01", "15.Jan/22", None, "2021-05-01"]
    rows = [{"text": prose(n, 100), "day": days[n % 4]} for n in range(20)]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    sources = "[{path: notes.jsonl, date: day}]"
    found = curate(recipe(tmp_path / "r.yaml", "  hold_out: {after: 2022-01-01}\n", sources), processes=1).ledger
    assert found["sources"]["notes"]["splits"]["later"]["documents"] == 5
    told = (
        "notes: 10 of 20 documents have no readable date (they are written like '00.aaa/00'); hold_out.after does not"
    )
    assert found["notes"] == [f"{told} apply to them"]
    found = curate(recipe(tmp_path / "r.yaml", sources=sources), processes=1).ledger
    assert found["notes"] == []
