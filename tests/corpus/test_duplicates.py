from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metier.corpus.duplicates import BANDS, ROWS, SIGNATURE, Signer, find_duplicates
from metier.corpus.text import Text
from tests.corpus.prose import prose


def changed(text: str, every: int) -> str:
    words = text.split()
    for place in range(0, len(words), every):
        words[place] = f"other{place}"
    return " ".join(words)


def marks(tmp_path: Path, *files: list[tuple[int, str]], dates: dict[int, str] | None = None) -> list[list[int]]:
    paths = []
    for number, texts in enumerate(files):
        found = Signer()([Text(order, str(order), text, (dates or {}).get(order), "g") for order, text in texts])
        found.tofile(tmp_path / f"{number}.signatures")
        paths.append((0, tmp_path / f"{number}.signatures"))
    return [kind.tolist() for kind in find_duplicates(paths)[0]]


def test_the_first_is_kept_and_each_is_named_for_what_it_is(tmp_path: Path) -> None:
    a, b = prose(1, 400), prose(2, 400)
    near = changed(a, 200)
    assert marks(tmp_path, [(0, a), (1, b), (2, a), (3, near), (4, prose(3, 400))]) == [[0, 0, 1, 2, 0]]


def test_order_decides_and_not_the_file(tmp_path: Path) -> None:
    a = prose(1)
    assert marks(tmp_path, [(7, a), (9, prose(2))], [(3, a)]) == [[1, 0], [0]]


def test_a_copy_without_a_date_does_not_stand_in_for_one_with_a_date(tmp_path: Path) -> None:
    a = prose(1, 400)
    copies = [(0, a), (1, changed(a, 200)), (2, a), (3, a)]
    assert marks(tmp_path, copies, dates={2: "2025-03-01", 3: "2024-01-01"}) == [[1, 2, 0, 1]]


def test_short_texts_are_duplicates_only_when_equal(tmp_path: Path) -> None:
    assert marks(tmp_path, [(0, "one two"), (1, "one three"), (2, "one two"), (3, "x")]) == [[0, 0, 1, 0]]
    assert marks(tmp_path, [], [(0, "x")]) == [[], [0]]
    assert marks(tmp_path, [(0, "one two three four"), (1, "One two three four!")]) == [[0, 0]]
    assert marks(tmp_path, [(0, "one two three four five"), (1, "One two three four five!")]) == [[0, 2]]


def test_planted_near_duplicates_are_found_and_nothing_else(tmp_path: Path) -> None:
    """Every 60th word changed leaves a Jaccard similarity of about 0.85 between the sets of 5-grams."""
    originals = [prose(f"original {n}", 300) for n in range(150)]
    planted = [changed(text, 60) for text in originals[:100]]
    kinds = marks(tmp_path, [(n, text) for n, text in enumerate([*originals, *planted])])[0]
    assert sum(kinds[:150]) == 0
    assert np.mean(np.array(kinds[150:]) == 2) >= 0.9


def test_the_probability_of_being_found_is_the_papers() -> None:
    """Penedo et al. 2024: 14 buckets of 8 find 92 % at a similarity of 0.8 and 77 % at 0.75."""
    assert pytest.approx(0.772, abs=0.001) == 1 - (1 - 0.75**ROWS) ** BANDS
    assert pytest.approx(0.924, abs=0.001) == 1 - (1 - 0.8**ROWS) ** BANDS


@pytest.mark.parametrize("band", [0, BANDS - 1])
def test_one_band_in_common_is_enough(tmp_path: Path, band: int) -> None:
    signatures = np.zeros(3, SIGNATURE)
    signatures["order"], signatures["exact"] = range(3), [[1, 2], [3, 4], [5, 6]]
    signatures["bands"] = np.arange(3 * BANDS).reshape(3, BANDS)
    signatures["bands"][2, band] = band
    signatures.tofile(tmp_path / "signatures")
    assert find_duplicates([(0, tmp_path / "signatures")])[0][0].tolist() == [0, 0, 2]


def test_the_source_that_is_named_first_is_kept_and_told(tmp_path: Path) -> None:
    files = []
    for source, order in ((1, 3), (0, 7)):
        files.append((source, tmp_path / f"{source}.signatures"))
        Signer()([Text(order, str(order), prose(1), None, "g")]).tofile(files[-1][1])
    kinds, kept = find_duplicates(files)
    assert [kind.tolist() for kind in kinds] == [[1], [0]]
    assert [place.tolist() for place in kept] == [[1], [1]]
