from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.sources import read_table
from metier.sources.encodings import decide_encoding


def _read(path: Path, data: bytes | str, **options: Any) -> list[tuple[int, dict[str, Any]]]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [(row.number, row.values) for row in read_table(path, **options)]


def _values(path: Path, data: bytes | str, **options: Any) -> list[dict[str, Any]]:
    return [values for _, values in _read(path, data, **options)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt"])
def test_marks_and_utf8_need_no_declaration(tmp_path: Path, encoding: str, name: str) -> None:
    texts = {"a.csv": "text\nZażółć “x”\n", "a.txt": "Zażółć “x”\n"}
    text = texts.get(name, '{"text": "Zażółć “x”"}\n').encode(encoding)
    assert _values(tmp_path / name, text) == [{"text": "Zażółć “x”"}]


def test_a_declared_encoding_is_used_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    assert _values(path, "t\nмир\n".encode("cp1251"), encoding="cp1251") == [{"t": "мир"}]
    assert _values(path, "t\nx\n".encode("utf-16-le"), encoding="utf-16-le") == [{"t": "x"}]
    assert _values(path, "\ufefft\nx\n", encoding="utf-8") == [{"t": "x"}]
    with pytest.raises(MetierError, match=r"not utf-8, as declared[\s\S]*line 3, byte offset 6"):
        _read(path, b"t\nabc\xe9\n"[:2] + b"ok\n" + b"b\xe9\n", encoding="utf-8")
    with pytest.raises(MetierError, match="unknown encoding 'utf-9'"):
        _read(path, "t\nx\n", encoding="utf-9")


@pytest.mark.parametrize(
    "text",
    [
        "café crème",
        "Umsatz für München gestiegen",
        "Lucro líquido não cresceu",
        "“profit” – up",
        "Liikevoitto nousi vähän",
        "£ 5m loss",
        "30 °C, ½ share, naïve Señor Übel",
    ],
)
def test_western_text_is_told_from_few_letters(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    data = f"plain\n{text}\n".encode("cp1252")  # the same bytes as latin-1, but for quotes and dashes
    assert _values(tmp_path / "a.txt", data) == [{"text": "plain"}, {"text": text}]
    decide_encoding(tmp_path / "a.txt")
    assert caplog.text.count("read as cp1252") == 1


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Прибыль выросла на {} процентов"),
        ("cp1253", "Τα κέρδη αυξήθηκαν κατά {} τοις εκατό"),
        ("shift_jis", "営業利益は{}%増加しました。売上高が減少した。"),
        ("euc_jp", "営業利益は{}%増加しました。売上高が減少した。"),
        ("gb18030", "公司利润增长了百分之{}。收入下降,营业额上升"),
        ("euc_kr", "영업이익이 {}% 증가했습니다. 매출은 감소했다"),
        ("cp1250", "Zysk netto wzrósł o {} procent, a przychody spółki spadły w pierwszym półroczu; żaden"),
    ],
)
def test_other_alphabets_are_detected_given_enough_text(tmp_path: Path, encoding: str, text: str) -> None:
    lines = [text.format(n) for n in range(20)]
    read = _values(tmp_path / "a.txt", "\n".join(lines).encode(encoding))
    assert [row["text"] for row in read] == lines


def test_too_little_text_to_tell_is_an_error_and_no_guess(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match=r"cannot be told[\s\S]*line 2[\s\S]*declare `encoding:`"):
        _read(tmp_path / "a.txt", "prices\nрост\n".encode("cp1251"))


@pytest.mark.parametrize(("utf8", "latin"), [(1, 1), (50, 1), (1, 50)])
def test_mixed_encodings_are_named(tmp_path: Path, utf8: int, latin: int) -> None:
    data = b"text\n" + "München\n".encode() * utf8 + "Köln\n".encode("latin-1") * latin
    with pytest.raises(MetierError, match=rf"mixed encodings: line 2 is UTF-8 and line {utf8 + 2} is not[\s\S]*offset"):
        _read(tmp_path / "a.csv", data)


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (b"<meta charset=iso-8859-2>" + "Zażółć gęślą jaźń".encode("iso-8859-2"), "iso8859-2"),
        (b"<meta charset=iso-8859-1>" + "5 € – “x”".encode("cp1252"), "cp1252"),  # as browsers read it
        (b"<meta charset=iso-8859-1>" + b"\x81\xe9", "iso8859-1"),
        (b"<meta charset=shift_jis>" + "①髙".encode("cp932"), "cp932"),
        (b"<meta charset=iso-8859-2>" + "Zażółć".encode(), "utf-8"),  # saved anew as UTF-8
        (b"\xef\xbb\xbf<meta charset=iso-8859-2>x", "utf-8-sig"),
        (b"<meta charset=nonsense>" + "Umsatz für München".encode("cp1252"), "cp1252"),
        (b"<meta charset=hex>" + "Umsatz für München".encode("cp1252"), "cp1252"),
        (b"<meta charset=utf-8>" + "Umsatz für München".encode("cp1252"), "cp1252"),
    ],
)
def test_what_the_file_states_counts_where_it_is_not_utf8(tmp_path: Path, data: bytes, codec: str) -> None:
    (tmp_path / "a.html").write_bytes(data)
    assert decide_encoding(tmp_path / "a.html", stated=re.compile(rb"charset=([\w-]+)")) == codec


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1))
def test_utf8_is_never_taken_for_another_encoding(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "u.txt"
    rows = _values(path, text)
    kept = text.removeprefix("\ufeff")
    assert [row["text"] for row in rows] == ([kept] if kept.strip() else [])
