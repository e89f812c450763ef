"""docs/recipe.md is what the schema says today."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_reference_of_fields_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "fields.py"))["reference"]()
    assert page == (DOCS / "recipe.md").read_text(encoding="utf-8"), "run: python docs/fields.py"
    assert "| `lowest_layer` | whole number ≥ 0 or `auto` | `0` |" in page
