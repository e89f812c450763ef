from __future__ import annotations

import datetime
import errno
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.sources import read_table, table_columns, write_beside, write_table
from metier.sources.tables import Moment, table_format

FORMATS = ["csv", "tsv", "jsonl", "json", "parquet", "xlsx"]
PACKED = [f"{kind}{suffix}" for kind in FORMATS for suffix in ("", ".gz", ".zst")]

_anything = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
# a spreadsheet holds no control characters, and its XML makes a carriage return a line feed
_printable = st.characters(
    exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\n\t"
)
_name = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\ufeff\ufffe\uffff")
)


def _tables(characters: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[list[str], list[dict[str, str]]]]:
    def rows(names: list[str]) -> st.SearchStrategy[tuple[list[str], list[dict[str, str]]]]:
        row = st.fixed_dictionaries({name: st.text(characters, max_size=20) for name in names})
        return st.tuples(st.just(names), st.lists(row, max_size=6))

    return st.lists(_name.filter(bool), min_size=1, max_size=4, unique=True).flatmap(rows)


def _back(path: Path) -> list[dict[str, Any]]:
    return [{name: value or "" for name, value in row.values.items()} for row in read_table(path)]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(table=_tables(_anything))
def test_text_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, kind: str, table: tuple[list[str], list[dict[str, str]]]
) -> None:
    columns, rows = table
    path = tmp_path_factory.getbasetemp() / f"back.{kind}"
    assert write_table(path, rows, columns) == len(rows)
    if rows or kind != "jsonl":  # no lines at all are an empty file
        assert _back(path) == rows
    if rows or kind in ("csv", "tsv", "parquet"):
        assert table_columns(path) == columns


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(table=_tables(_printable))
def test_text_comes_back_from_a_spreadsheet(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[list[str], list[dict[str, str]]]
) -> None:
    columns, rows = table
    path = tmp_path_factory.getbasetemp() / "back.xlsx"
    write_table(path, rows, columns)
    assert _back(path) == [row for row in rows if any(row.values())]  # blank rows are no rows there


@pytest.mark.parametrize("kind", PACKED)
def test_every_format_packed_and_plain(tmp_path: Path, kind: str) -> None:
    rows = [{"t": 'a "q", é;\n|\tx', "n": n, "f": n / 4, "b": n % 2 == 0, "z": None} for n in range(5000)]
    columns = ["t", "n", "f", "b", "z"]
    path = tmp_path / f"out.{kind}"
    assert write_table(path, iter(rows), columns) == 5000
    read = [row.values for row in read_table(path)]
    if kind.startswith(("csv", "tsv")):
        texts = [{**row, "n": str(row["n"]), "f": str(row["f"]), "b": str(row["b"]).lower()} for row in rows]
        assert read == texts
    else:
        assert read == rows
    first = path.read_bytes()
    if not kind.startswith("xlsx"):  # a spreadsheet holds the time of writing
        write_table(path, rows, columns)
        assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_only_the_columns_named_are_written_in_their_order(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", [{"b": 1, "a": 2, "c": 3}, {"a": 4}], ["a", "b"])
    assert (tmp_path / "a.csv").read_bytes() == b"a,b\n2,1\n4,\n"
    write_table(tmp_path / "b.csv", [], ["a"])
    assert (tmp_path / "b.csv").read_bytes() == b"a\n"
    write_table(tmp_path / "c.out", [{"a": "x\ty"}], ["a"], format="tsv")
    assert (tmp_path / "c.out").read_bytes() == b'a\n"x\ty"\n'


def test_parquet_columns_of_several_types(tmp_path: Path) -> None:
    rows = [{"m": 1, "f": 1, "big": 2**70, "l": [1]}, {"m": "x", "f": 0.5, "big": 1, "l": None}]
    write_table(tmp_path / "a.parquet", rows, ["m", "f", "big", "l"])
    assert [row.values for row in read_table(tmp_path / "a.parquet")] == [
        {"m": "1", "f": 1.0, "big": str(2**70), "l": "[1]"},
        {"m": "x", "f": 0.5, "big": "1", "l": None},
    ]


def test_a_formula_is_written_as_text(tmp_path: Path) -> None:
    write_table(tmp_path / "a.xlsx", [{"t": "=1+1"}, {"t": "x"}], ["t"])
    cell = openpyxl.load_workbook(tmp_path / "a.xlsx").worksheets[0]["A2"]
    assert (cell.data_type, cell.value) == ("s", "=1+1")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.csv", "x\0y", r"NUL character[\s\S]*a\.csv, row 2, column 't'"),
        ("a.csv", "\ud83d", "half of a character"),
        ("a.jsonl", "\ud83d", r"JSON cannot hold[\s\S]*row 2"),
        ("a.json", float("nan"), "JSON cannot hold"),
        ("a.parquet", "\ud83d", "half of a character"),
        ("a.xlsx", "x\x01y", r"spreadsheet cannot hold[\s\S]*row 2, column 't'"),
        ("a.xlsx", "x" * 40000, "40,000 characters"),
        ("a.xlsx", "\ud83d", "half of a character"),
    ],
)
def test_what_a_format_cannot_hold_is_named_and_nothing_is_left(
    tmp_path: Path, name: str, value: object, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"as it was")
    with pytest.raises(MetierError, match=message):
        write_table(path, [{"t": "fine"}, {"t": value}], ["t"])
    assert path.read_bytes() == b"as it was"
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.doc", "a"])
def test_formats_that_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(MetierError, match=r"not written as|no format is known") as error:
        write_table(tmp_path / name, [], ["a"])
    assert (
        error.value.fix == "end its name in one of .csv, .tsv, .jsonl, .json, .parquet, .xlsx (also with .gz or .zst)"
    )


def test_a_folder_is_not_written_to(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match="a folder"):
        write_table(tmp_path, [], ["a"])


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"a": 1}
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(MetierError, match=r"the disk is full[\s\S]*a\.csv"):
        write_table(tmp_path / "a.csv", rows(), ["a"])
    assert list(tmp_path.iterdir()) == []


def test_reading_and_writing_stream_together(tmp_path: Path) -> None:
    write_table(tmp_path / "a.jsonl", ({"n": n} for n in range(100)), ["n"])
    rows = ({**row.values, "label": "x"} for row in read_table(tmp_path / "a.jsonl"))
    assert write_table(tmp_path / "a.csv.gz", rows, ["n", "label"]) == 100
    assert table_format(tmp_path / "a.csv.gz") == "csv"


def test_nested_values_and_dates_come_back_as_what_they_were(tmp_path: Path) -> None:
    nested = {"o": {"k": ["é", float("nan")]}, "l": [1, {}], "s": "[1]"}
    (tmp_path / "a.jsonl").write_text(json.dumps(nested))
    write_table(tmp_path / "b.jsonl", [row.values for row in read_table(tmp_path / "a.jsonl")], list(nested))
    assert json.loads((tmp_path / "b.jsonl").read_text()) == {**nested, "o": {"k": ["é", None]}}
    book = openpyxl.Workbook()
    moments = [datetime.datetime(2024, 2, 29), datetime.datetime(2024, 2, 29, 9, 30), "2024-02-29", datetime.time(9)]
    book.active.append(list("abcd"))
    book.active.append(moments)
    book.save(tmp_path / "a.xlsx")
    write_table(tmp_path / "b.xlsx", [row.values for row in read_table(tmp_path / "a.xlsx")], list("abcd"))
    written = [cell.value for cell in list(openpyxl.load_workbook(tmp_path / "b.xlsx").active.iter_rows())[1]]
    assert written == [*moments[:3], "09:00:00"]
    zoned = [Moment("1850-01-01"), Moment("2024-01-01T00:00:00+01:00"), Moment("2024-01-01")]
    write_table(tmp_path / "c.xlsx", [dict(zip("abc", zoned, strict=True))], list("abc"))
    written = [cell.value for cell in list(openpyxl.load_workbook(tmp_path / "c.xlsx").active.iter_rows())[1]]
    assert written == [*map(str, zoned[:2]), datetime.datetime(2024, 1, 1)]


@pytest.mark.parametrize("name", ["b.parquet", "b.parquet.gz"])
def test_what_stands_beside_a_parquet_table_leaves_its_types(tmp_path: Path, name: str) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b", None]).dictionary_encode(),
            "at": pa.array([1, None, 3], pa.timestamp("ns", tz="Europe/Paris")),
            "small": pa.array([1, 2, 3], pa.int8()),
            "photo": pa.array([b"\xff", b"", None]),
            "o": pa.array([{"k": [1]}, None, {"k": None}]),
        },
        metadata={"about": "posts"},
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert write_beside(tmp_path / name, tmp_path / "a.parquet", ({"n": n} for n in range(3)), ["n"]) == 3
    written = (tmp_path / name).read_bytes()
    found = pq.read_table(pa.BufferReader(gzip.decompress(written) if name.endswith(".gz") else written))
    own = pq.read_table(tmp_path / "a.parquet")  # which calls what lists hold by another name
    assert found.select(own.column_names).equals(own, check_metadata=True)
    assert own["o"].to_pylist() == table["o"].to_pylist()
    assert found["n"].to_pylist() == [0, 1, 2]
    with pytest.raises(MetierError, match="half of a character"):
        write_beside(tmp_path / name, tmp_path / "a.parquet", ({"n": "\ud800"} for _ in range(3)), ["n"])
    assert (tmp_path / name).read_bytes() == written
