"""A directory is replaced whole or not at all, whenever the process is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from metier import files
from metier.files import recover, write_dir


def replaced_and_killed(folder: Path, at: int) -> None:
    """Write ``folder`` anew in a process that dies before its rename number ``at``."""
    renames, real = [], os.replace

    def replace(source: object, target: object) -> None:
        renames.append(1)
        if len(renames) == at:
            os._exit(9)
        real(source, target)  # type: ignore[call-overload]

    files.os.replace = replace  # type: ignore[attr-defined]
    with write_dir(folder) as temporary:
        (temporary / "state").write_text("new")
    os._exit(0)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_kill_between_two_renames_loses_neither(tmp_path: Path, at: int) -> None:
    folder = tmp_path / "run" / "checkpoints" / "best"
    with write_dir(folder) as temporary:
        (temporary / "state").write_text("old")
    child = multiprocessing.get_context("fork").Process(target=replaced_and_killed, args=(folder, at))
    child.start()
    child.join()
    assert child.exitcode == (9 if at < 3 else 0)
    assert folder.exists() == (at != 2)
    recover(tmp_path / "run")
    assert (folder / "state").read_text() == ("old" if at < 3 else "new")
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_only_what_is_left_of_writing_is_removed(tmp_path: Path) -> None:
    kept = [
        ".owner",
        ".lock",
        ".hidden.tmp",
        "a.abcdefgh.tmp",
        "clean/.keep",
        "seeds/1/.lock",
        "seeds/1/.x.abcdefgh.tmp",
    ]
    gone = [".0.jsonl.zst.ab_defg1.tmp", "checkpoints/.step-000015.xvk0lbty.tmp/state", "clean/.best.parts.tmp/state"]
    for name in [*kept, *gone]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    recover(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_what_a_user_hides_from_others_stays_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mask, file, folder in ((0o077, 0o600, 0o700), (0o022, 0o644, 0o755)):
        monkeypatch.setattr(files, "UMASK", mask)
        files.write_text(tmp_path / "a", "x")
        with write_dir(tmp_path / "b"):
            pass
        assert ((tmp_path / "a").stat().st_mode & 0o777, (tmp_path / "b").stat().st_mode & 0o777) == (file, folder)


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()), daemon=True)
    reader.start()
    files.write_json(pipe, {"a": 1})
    reader.join(10)
    assert found == ['{\n  "a": 1\n}\n']
    assert pipe.is_fifo()
