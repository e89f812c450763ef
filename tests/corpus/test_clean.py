"""Cleaned texts on disk: what comes back is what was written, or an error that names the file."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metier.corpus.clean import clean, read_clean, read_kept
from metier.corpus.repair import repairer
from metier.corpus.source import Source
from metier.errors import MetierError
from tests.corpus.prose import prose


@pytest.fixture(scope="module")
def spilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spill")
    file = folder / "notes.txt"
    file.write_text("\n".join(prose(n, 60) for n in range(12)), "utf-8")
    clean(Source("notes", (file,), split_on="line"), None, folder)
    return folder / "0.jsonl.zst"


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_a_changed_bit_never_changes_a_text(spilled: Path, place: float, bit: int) -> None:
    whole = spilled.read_bytes()
    before = list(read_clean(spilled))
    data = bytearray(whole)
    data[int(place * len(data))] ^= 1 << bit
    damaged = spilled.with_name("damaged")
    damaged.write_bytes(data)
    with contextlib.suppress(MetierError):
        assert list(read_kept(damaged, np.zeros(len(before)))) == before


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_told(spilled: Path, share: float) -> None:
    whole = spilled.read_bytes()
    cut = spilled.with_name("cut")
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MetierError, match="cleaned texts are damaged") as told:
        list(read_kept(cut, np.zeros(12)))
    assert re.search("delete it and curate again", str(told.value))


def test_marked_texts_are_left_out(spilled: Path) -> None:
    marks = np.arange(12) % 3
    texts = list(read_clean(spilled))
    assert list(read_kept(spilled, marks)) == texts[::3]
    with pytest.raises(MetierError, match="11 texts were written to it"):
        list(read_kept(spilled, marks[:-1]))


def test_long_rows_of_blanks_are_repaired_in_no_time() -> None:
    blanks = " " * 1_000_000
    assert repairer()(f"a{blanks}b \t\xa0\n \n\n\n  c{blanks}\nd") == f"a{blanks}b\n\n  c\nd"
