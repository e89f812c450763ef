"""The notebooks run to their end on a small slice and a toy base."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))
SAYS = {
    "finance_sentiment": ["among 12 test sentences"],
    "medical_qa": ["n = 15", "base-ensemble-refinement", "tokens and", "the set:", "no red flag:"],
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(path: Path, toy_base: Path, tmp_path: Path) -> None:
    settings = {
        "METIER_NOTEBOOK_ROWS": "60",
        "METIER_NOTEBOOK_BASE": str(toy_base),
        "METIER_NOTEBOOK_DIR": str(tmp_path / "work"),
        "MPLBACKEND": "agg",
    }
    # in the py:percent format a notebook is a plain script
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in SAYS[path.stem]:
        assert words in done.stdout
    assert done.stdout.splitlines()[-1] == f"the report: {tmp_path / 'work' / 'run' / 'report.html'}"
    assert (tmp_path / "work" / "run" / "report.html").exists()
