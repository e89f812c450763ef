"""Fixtures that many tests share."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

# toy models gain nothing from threads, and threads of several processes on few cores wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from metier import cli

LONGEST = (
    "test_lm_eval.py",
    "test_interrupted.py",
    "test_recipes.py",
    "test_use.py",
    "test_notebooks.py",
    "test_search.py",
    "test_cli.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that the workers of ``--no-loadscope-reorder`` end at the same time."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of published data sets; absent on a user's machine, required where METIER_REQUIRE_DATA is set."""
    place = os.environ.get("METIER_DATA")
    if place and Path(place).is_dir():
        return Path(place).resolve()
    if os.environ.get("METIER_REQUIRE_DATA"):
        pytest.fail(f"METIER_REQUIRE_DATA is set but METIER_DATA={place!r} is not a folder")
    pytest.skip("needs the published data sets: set METIER_DATA to their folder")


@pytest.fixture(autouse=True)
def _own_cache(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hermetic: each test has an empty cache, unless it is marked to use the real base."""
    if request.node.get_closest_marker("real") is None:
        monkeypatch.setenv("METIER_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a chat template."""
    from tests.toy import make_base

    return make_base(tmp_path_factory.mktemp("toy") / "base")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Calls the command line as a user does; returns exit code, standard output and standard error."""

    def call(*arguments: object, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["metier", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        return code, printed.out, printed.err

    return call
