from __future__ import annotations

import csv
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.sources import read_table, table_columns


def _read(path: Path, data: bytes | str, **options: Any) -> list[tuple[int, dict[str, Any]]]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [(row.number, row.values) for row in read_table(path, **options)]


def _values(path: Path, data: bytes | str, **options: Any) -> list[dict[str, Any]]:
    return [values for _, values in _read(path, data, **options)]


def test_csv_with_quotes_line_breaks_and_empty_cells(tmp_path: Path) -> None:
    text = 'id,text,label\n1,"one ""two""\nthree, four",pos\n\n2,,""\n3,"a\r\nb",neg\n'
    assert _read(tmp_path / "a.csv", text) == [
        (2, {"id": "1", "text": 'one "two"\nthree, four', "label": "pos"}),
        (4, {"id": "2", "text": None, "label": None}),  # as a spreadsheet counts, blank rows too
        (5, {"id": "3", "text": "a\r\nb", "label": "neg"}),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end(tmp_path: Path, end: str) -> None:
    assert _read(tmp_path / "a.csv", end.join(["a,b", "1,2", "", "3,4"])) == [
        (2, {"a": "1", "b": "2"}),
        (4, {"a": "3", "b": "4"}),
    ]


@pytest.mark.parametrize(("sign", "name"), [(",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_the_delimiter_is_sniffed_and_stated(
    tmp_path: Path, sign: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="metier")
    lines = [["text", "score"], ["well, yes; no | so", "1,5"], ['say "x"\ty', "2,5"]]
    path = tmp_path / "a.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter=sign).writerows(lines)
    rows = [list(row.values.values()) for row in read_table(path)]
    assert rows == lines[1:]
    assert (f"separated by {name}" in caplog.text) == (sign != ",")
    with open(path, "a") as file:
        file.write(sign.join("abc"))
    with pytest.raises(MetierError, match=f"3 fields found, 2 expected[\\s\\S]*separated by {name}"):
        list(read_table(path))


def test_a_single_column_is_a_table(tmp_path: Path) -> None:
    assert _values(tmp_path / "a.csv", "text\nhello\nbye\n") == [{"text": "hello"}, {"text": "bye"}]


def test_a_declared_delimiter_and_columns_for_a_file_without_header(tmp_path: Path) -> None:
    assert _read(tmp_path / "a.csv", "x^1\ny^2\n", delimiter="^", columns=["t", "l"]) == [
        (1, {"t": "x", "l": "1"}),
        (2, {"t": "y", "l": "2"}),
    ]
    with pytest.raises(MetierError, match="not a single character"):
        _read(tmp_path / "a.csv", "a", delimiter="::")
    with pytest.raises(MetierError, match="'delimiter' is for csv, tsv and rsplit, this is json"):
        _read(tmp_path / "a.json", "[]", delimiter=";")
    with pytest.raises(MetierError, match="'sheet' is for xlsx, this is jsonl"):
        _read(tmp_path / "a.jsonl", "{}", sheet="one")
    with pytest.raises(MetierError, match="named twice"):
        _read(tmp_path / "a.csv", "a,b", columns=["a", "a"])


@pytest.mark.parametrize(("row", "found"), [("1", 1), ("1,2,3,4", 4)])
def test_a_ragged_row_is_named(tmp_path: Path, row: str, found: int) -> None:
    with pytest.raises(MetierError, match=rf"{found} fields found, 3 expected \(a, b, c\)[\s\S]*a\.csv, line 4"):
        _read(tmp_path / "a.csv", f'a,b,c\n"x\ny",2,3\n{row}\n')


def test_quotes_that_do_not_pair_up_are_named(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match=r"quotes do not pair up[\s\S]*begins on line 3"):
        _read(tmp_path / "a.csv", 'a,b\n1,2\n"open,4\n5,6\n')
    with pytest.raises(MetierError, match="quotes do not pair up"):
        _read(tmp_path / "a.csv", 'a,b\n"x" y,2\n')


def test_tab_separated_text_may_hold_lone_quotes(tmp_path: Path) -> None:
    assert _values(tmp_path / "a.tsv", 'text\tl\n"Open\t1\nplain\t0\n') == [
        {"text": '"Open', "l": "1"},
        {"text": "plain", "l": "0"},
    ]
    assert _values(tmp_path / "a.tsv", 'text\tl\n"a\tb ""c""\nd"\t1\n') == [{"text": 'a\tb "c"\nd', "l": "1"}]


def test_headers(tmp_path: Path) -> None:
    assert _values(tmp_path / "a.csv", ", text ,\n0,x,y\n") == [{"column_1": "0", "text": "x", "column_3": "y"}]
    with pytest.raises(MetierError, match=r"names 'text' twice, in columns 1 and 3[\s\S]*line 1"):
        _read(tmp_path / "a.csv", "text,label,text\n1,2,3\n")
    assert _values(tmp_path / "a.csv", "text,label\n") == []
    assert table_columns(tmp_path / "a.csv") == ["text", "label"]


def test_very_long_fields(tmp_path: Path) -> None:
    long = "x" * 3_000_000
    assert _values(tmp_path / "a.csv", f'a,b\n"{long}",1\n') == [{"a": long, "b": "1"}]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt", "a.json"])
def test_nul_bytes_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(MetierError, match=r"NUL byte[\s\S]*line 2, byte offset 5"):
        _read(tmp_path / name, b"a,b\nx\0,1\n")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.parquet", "a.xlsx", "a.txt", "a.csv.gz"])
def test_empty_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(MetierError, match=r"empty[\s\S]*a\."):
        _read(tmp_path / name, b"")


def test_a_packed_nothing_and_a_blank_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match="the file is empty"):
        _read(tmp_path / "a.csv.gz", gzip.compress(b""))
    with pytest.raises(MetierError, match="no header and no rows"):
        _read(tmp_path / "a.csv", "\n\n")


def test_absent_files_folders_and_unknown_extensions(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match=r"does not exist[\s\S]*a\.csv"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "d.csv").mkdir()
    for folder in (tmp_path, tmp_path / "d.csv"):
        with pytest.raises(MetierError, match="a folder"):
            read_table(folder)
    with pytest.raises(MetierError, match=r"'\.cvs'[\s\S]*did you mean '\.csv'"):
        read_table(tmp_path / "a.cvs")
    with pytest.raises(MetierError, match=r"'\(none\)'[\s\S]*declare it"):
        read_table(tmp_path / "a")
    with pytest.raises(MetierError, match=r"save it as \.xlsx"):
        read_table(tmp_path / "a.xls")
    with pytest.raises(MetierError, match="unknown format 'cvs'"):
        read_table(tmp_path / "a.csv", format="cvs")
    assert _values(tmp_path / "blob", "a\n1\n", format="csv") == [{"a": "1"}]


ROWS = [{"a": "é1", "b": "x"}, {"a": "2", "b": "y"}]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_packing_is_told_by_content(tmp_path: Path, pack: Any, suffix: str) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    assert _values(tmp_path / f"a.jsonl{suffix}", pack(lines.encode())) == ROWS
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    assert _values(tmp_path / f"a.parquet{suffix}", pack(sink.getvalue().to_pybytes())) == ROWS


def test_packed_files_of_several_frames(tmp_path: Path) -> None:
    pack = zstandard.ZstdCompressor().compress
    assert len(_values(tmp_path / "a.txt.zst", pack(b"one\n") + pack(b"two\n"))) == 2
    assert len(_values(tmp_path / "a.txt.gz", gzip.compress(b"one\n") + gzip.compress(b"two\n"))) == 2


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_cut_off_packed_files_are_named(tmp_path: Path, pack: Any, keep: float) -> None:
    text = "a,b\n" + "".join(f"{n * 7919 % 104729},{n * n}\n" for n in range(2000))
    packed = pack(text.encode())
    with pytest.raises(MetierError, match=r"damaged or cut off[\s\S]*a\.csv\.gz"):
        _read(tmp_path / "a.csv.gz", packed[: int(len(packed) * keep)])


# lines and JSON


def test_plain_text_and_paragraphs(tmp_path: Path) -> None:
    text = "# Title\n\nOne\ntwo.\n \n\nThree.\n"
    assert _read(tmp_path / "a.txt", text) == [
        (1, {"text": "# Title"}),
        (3, {"text": "One"}),
        (4, {"text": "two."}),
        (7, {"text": "Three."}),
    ]
    assert _read(tmp_path / "a.md", text) == [
        (1, {"text": "# Title"}),
        (3, {"text": "One\ntwo."}),
        (7, {"text": "Three."}),
    ]


def test_rsplit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert _read(path, "mail a@b.c now@neutral\n\nup@positive \n", format="rsplit", columns=["sentence", "label"]) == [
        (1, {"sentence": "mail a@b.c now", "label": "neutral"}),
        (3, {"sentence": "up", "label": "positive"}),
    ]
    with pytest.raises(MetierError, match=r"no '\|' in the line[\s\S]*line 2: x"):
        _read(path, "a|b\nx\n", format="rsplit", delimiter="|")
    with pytest.raises(MetierError, match="two columns"):
        _read(path, "a@b\n", format="rsplit", columns=["a"])


def test_jsonl(tmp_path: Path) -> None:
    text = '{"t": "x", "n": 1, "f": 1.5, "b": true, "z": null, "m": NaN, "l": [1, {"a": "é"}]}\n\n{"t": ""}\n'
    assert _read(tmp_path / "a.jsonl", text) == [
        (1, {"t": "x", "n": 1, "f": 1.5, "b": True, "z": None, "m": None, "l": '[1, {"a": "é"}]'}),
        (3, {"t": ""}),
    ]
    assert table_columns(tmp_path / "a.jsonl") == ["t", "n", "f", "b", "z", "m", "l"]
    assert len(_values(tmp_path / "b.jsonl", '{"t": "a\u2028b\x85c"}\n')) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 1,}', r"not JSON: [\s\S]*line 2, column"),
        ("{'a': 1}", "not JSON"),
        ("[1, 2]", r"not an object but \[1, 2\]"),
        ('{"a": 1, "a": 2}', "field 'a' stands twice"),
        ('{"a": "\\ud83d"}', r"half of a character[\s\S]*field 'a'"),
    ],
)
def test_lines_that_are_no_records_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(MetierError, match=message):
        _read(tmp_path / "a.jsonl", '{"a": 0}\n' + line + "\n")


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1}, {"a": 2}]',
        '{"data": [{"a": 1}, {"a": 2}], "version": "1"}',
        '{"questions": [{"a": 1}, {"a": 2}]}',
        '{"a": {"0": 1, "1": 2}}',  # as pandas writes it
        '{"a": 1}\n{"a": 2}\n',
    ],
)
def test_json_in_its_usual_shapes(tmp_path: Path, text: str) -> None:
    assert _read(tmp_path / "a.json", text) == [(1, {"a": 1}), (2, {"a": 2})]


def test_json_of_records_under_their_ids(tmp_path: Path) -> None:
    text = '{"17": {"QUESTION": "Does it?", "CONTEXTS": ["One."]}, "21": {"QUESTION": "Is it?", "id": "own"}}'
    first, second = _values(tmp_path / "a.json", text)
    assert first == {"id": "17", "QUESTION": "Does it?", "CONTEXTS": '["One."]'}
    assert second == {"id": "own", "QUESTION": "Is it?"}


def test_json_of_other_shapes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(
        MetierError, match="an object with the keys question, options"
    ):  # a record, not a table of options
        _read(path, '{"question": "x", "options": [{"key": "A"}, {"key": "B"}]}')
    assert _values(path, '{"text": "one", "label": 1}') == [{"text": "one", "label": 1}]
    with pytest.raises(MetierError, match="an object with the keys 1, 2"):
        _read(path, '{"1": {"a": 1}, "2": {}}')
    with pytest.raises(MetierError, match=r"not an object but 3[\s\S]*record 2"):
        _read(path, '[{"a": 1}, 3]')
    with pytest.raises(MetierError, match=r"not JSON[\s\S]*line 2, column"):
        _read(path, '[{"a": 1},\n{"a": }]')
    with pytest.raises(MetierError, match=r"not JSON[\s\S]*line 2"):
        _read(path, '{"a": 1}\n{"a": \n')
    with pytest.raises(MetierError, match="stands twice"):
        _read(path, '[{"a": 1, "a": 2}]')


# parquet and xlsx


def test_parquet_types(tmp_path: Path) -> None:
    import datetime
    import decimal

    row = {
        **{"s": "é", "i": 2**40, "f": 0.5, "b": False, "n": None, "nan": float("nan"), "l": [1, 2]},
        **{"d": datetime.date(2024, 2, 29), "y": b"bytes", "x": decimal.Decimal("1.50"), "o": {"k": "v"}},
    }
    pq.write_table(pa.Table.from_pylist([row] * 3), tmp_path / "a.parquet")
    rows = list(read_table(tmp_path / "a.parquet"))
    assert [r.number for r in rows] == [1, 2, 3]
    assert rows[0].values == {
        **{"s": "é", "i": 2**40, "f": 0.5, "b": False, "n": None, "nan": None, "l": "[1, 2]"},
        **{"d": "2024-02-29", "y": "bytes", "x": "1.50", "o": '{"k": "v"}'},
    }
    assert table_columns(tmp_path / "a.parquet") == list(row)
    pq.write_table(pa.table({"y": [b"\xff"]}), tmp_path / "b.parquet")
    with pytest.raises(MetierError, match=r"not UTF-8 text[\s\S]*record 1, field 'y'"):
        list(read_table(tmp_path / "b.parquet"))


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
def test_cut_off_parquet_and_xlsx_are_named(tmp_path: Path, keep: float) -> None:
    pq.write_table(pa.table({"a": [str(n * n) for n in range(5000)]}), tmp_path / "a.parquet")
    book = openpyxl.Workbook()
    for n in range(200):
        book.active.append([str(n * n), n])
    book.save(tmp_path / "a.xlsx")
    for name in ("a.parquet", "a.xlsx"):
        whole = (tmp_path / name).read_bytes()
        with pytest.raises(MetierError, match=rf"not a whole[\s\S]*{name}"):
            _read(tmp_path / name, whole[: int(len(whole) * keep)])


def test_a_parquet_page_that_is_damaged_is_named_with_the_record_reached(tmp_path: Path) -> None:
    table = pa.table({"a": [str(n * n) for n in range(5000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1000, compression="zstd", use_dictionary=False)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    at = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(3).column(0).data_page_offset
    data[at : at + 400] = b"\xff" * 400
    with pytest.raises(MetierError, match=r"cannot be read on[\s\S]*after record \d"):
        _read(tmp_path / "a.parquet", bytes(data))


def test_xlsx_sheets_blank_rows_and_types(tmp_path: Path) -> None:
    import datetime

    book = openpyxl.Workbook()
    first = book.active
    for cells in [
        [],
        ["text", "label", "n", None],
        ["up", "pos", 1, ""],
        [],
        ["down", None, 0],
        [None, "", 2.5],
        [""],
        [],
    ]:
        first.append(cells)
    first["C8"] = ""
    second = book.create_sheet("Other")
    second.append(["when", "ok"])
    second.append([datetime.datetime(2024, 1, 2, 3, 4), False])
    book.save(tmp_path / "a.xlsx")
    assert [(row.number, row.values) for row in read_table(tmp_path / "a.xlsx")] == [
        (2 + 1, {"text": "up", "label": "pos", "n": 1}),
        (5, {"text": "down", "label": None, "n": 0}),
        (6, {"text": None, "label": None, "n": 2.5}),
    ]
    other = list(read_table(tmp_path / "a.xlsx", sheet="Other"))
    assert other[0].values == {"when": "2024-01-02T03:04:00", "ok": False}
    with pytest.raises(MetierError, match=r"no sheet 'other'[\s\S]*did you mean 'Other'"):
        read_table(tmp_path / "a.xlsx", sheet="other")
    second.append([1, True, "beyond"])
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(MetierError, match=r"3 cells found, 2 expected[\s\S]*'Other', row 3; the last is 'beyond'"):
        list(read_table(tmp_path / "a.xlsx", sheet="Other"))


def test_xlsx_without_header_and_empty_sheets(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["up", 1])
    book.create_sheet("empty")
    book.save(tmp_path / "a.xlsx")
    assert [r.values for r in read_table(tmp_path / "a.xlsx", columns=["t", "l"])] == [{"t": "up", "l": 1}]
    for beyond in (None, 7):
        with pytest.raises(MetierError, match="the sheet is empty"):
            read_table(tmp_path / "a.xlsx", sheet="empty", header_row=beyond)
    with pytest.raises(MetierError, match="row 200 is beyond the last row, 1"):
        read_table(tmp_path / "a.xlsx", header_row=200)
    with pytest.raises(MetierError, match="not a whole xlsx"):
        _read(tmp_path / "b.xlsx", "a,b\n1,2\n")


_CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(_CELL, _CELL, _CELL), min_size=1, max_size=5),
    sign=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_quoted_table_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], sign: str, end: str, encoding: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=sign, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a", "b", "c"), *rows])
    read = [tuple(row.values.values()) for row in read_table(path)]
    assert read == [tuple(cell or None for cell in row) for row in rows]


def test_published_tables(data_root: Path) -> None:
    bank = data_root / "finance/financial_phrasebank/Sentences_50Agree.txt"
    options: dict[str, Any] = {"format": "rsplit", "delimiter": "@", "columns": ["sentence", "label"]}
    rows = list(read_table(bank, encoding="latin-1", **options))
    labels = [row.values["label"] for row in rows]
    assert [labels.count(name) for name in ("neutral", "positive", "negative")] == [2879, 1363, 604]
    assert [row.values for row in read_table(bank, **options)] == [row.values for row in rows]
    tweets = read_table(data_root / "finance/twitter_financial_news/sent_train.csv")
    assert sum(1 for _ in tweets) == 9543
    assert sum(1 for _ in read_table(data_root / "medicine/drug_reviews/drugsComTest.tsv")) == 379
    assert sum(1 for _ in read_table(data_root / "medicine/medicationqa/MedInfo2019-QA-Medications.xlsx")) == 690


def test_nested_fields_are_named_with_dots(tmp_path: Path) -> None:
    rows = [{"id": n, "a.b": "flat", "a": {"b": "hid", "c": {"d": f"d{n}", "l": [1]}}} for n in range(2)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for path in (tmp_path / "a.jsonl", tmp_path / "a.parquet"):
        assert table_columns(path) == ["id", "a.b", "a"]
        assert table_columns(path, nested=True) == ["id", "a.b", "a", "a.c", "a.c.d", "a.c.l"]
        read = [row.values for row in read_table(path, wanted=["a.b", "a.c.d", "a.c.l", "a.c", "a.x", "id.x"])]
        assert [row["a.c.d"] for row in read] == ["d0", "d1"]
        assert (read[0]["a.b"], read[0]["a.c.l"], read[0]["a.x"], read[0]["id.x"]) == ("flat", "[1]", None, None)
        assert read[0]["a.c"] == '{"d": "d0", "l": [1]}'


def test_parquet_columns_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({" text ": ["a", "b"], "photo": [b"\xff", b"\xfe"]}), tmp_path / "a.parquet")
    assert [row.values for row in read_table(tmp_path / "a.parquet", wanted=["text"])] == [{"text": "a"}, {"text": "b"}]
