from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metier.corpus import readers, source
from metier.corpus.readers import read_source
from metier.corpus.source import Source, expand, parse_date
from metier.corpus.text import Tally, Text
from metier.errors import MetierError
from tests.corpus.prose import prose


def read(*files: Path, **options: object) -> tuple[list[Text], Tally]:
    tally = Tally()
    return list(read_source(Source("s", files, **options), tally)), tally  # type: ignore[arg-type]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_text_as_one_document_by_lines_by_blocks_and_by_a_separator(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one\ntwo\n\nthree\n%%\nfour\n")
    assert [t.text for t in read(file)[0]] == ["one\ntwo\n\nthree\n%%\nfour\n"]
    assert [t.text for t in read(file, split_on="line")[0]] == ["one", "two", "three", "%%", "four"]
    assert [t.text for t in read(file, split_on="blank-line")[0]] == ["one\ntwo", "three\n%%\nfour"]
    assert [t.text for t in read(file, split_on="%%")[0]] == ["one\ntwo\n\nthree", "four"]
    assert [t.id for t in read(file, split_on="line")[0]][:2] == ["s/a.txt#0", "s/a.txt#1"]


def test_tables_of_every_kind_give_the_same(tmp_path: Path) -> None:
    rows = [{"text": "first text", "date": "2020-01-31", "who": "a"}, {"text": "second", "date": None, "who": "b"}]
    write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path / "a.json", json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    write(tmp_path / "a.csv", "text,date,who\nfirst text,2020-01-31,a\nsecond,,b\n")
    write(tmp_path / "a.tsv", "text\tdate\twho\nfirst text\t2020-01-31\ta\nsecond\t\tb\n")
    book = openpyxl.Workbook()
    for row in [("text", "date", "who"), ("first text", "2020-01-31", "a"), ("second", None, "b")]:
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    with gzip.open(tmp_path / "b.jsonl.gz", "wb") as file:
        file.write((tmp_path / "a.jsonl").read_bytes())
    for path in sorted(tmp_path.iterdir()):
        found, _ = read(path, group="who")
        assert [(t.text, t.date, t.group) for t in found] == [
            ("first text", "2020-01-31", "a"),
            ("second", None, "b"),
        ], path.name


def test_columns_are_joined_and_a_missing_one_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"question": "Why?", "answer": "Because."}\n')
    assert read(file, text=("question", "answer"))[0][0].text == "Why?\nBecause."
    with pytest.raises(MetierError, match=r"which field holds the text(.|\n)*question, answer"):
        read(file)
    with pytest.raises(MetierError, match="did you mean 'answer'"):
        read(file, text=("anwser",))
    with pytest.raises(MetierError, match="line 2"):
        read(write(tmp_path / "b.jsonl", '{"text": "a"}\n{"text": \n'))


def test_a_list_under_the_text_field_is_joined_and_an_object_is_an_error(tmp_path: Path) -> None:
    rows = [{"text": ["one", "two"]}, {"text": ["three"]}]
    write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path / "a.json", json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert [t.text for t in read(path)[0]] == ["one\ntwo", "three"], path.name
    missing = write(tmp_path / "b.jsonl", '{"text": NaN}\n{"text": null}\n{"text": 5}\n')
    assert [t.text for t in read(missing)[0]] == ["", "", "5"]
    for value in ('{"a": "b"}', '["a", 1]'):
        with pytest.raises(MetierError, match=r"the field 'text' holds(.|\n)*line 2"):
            read(write(tmp_path / "c.jsonl", f'{{"text": "a"}}\n{{"text": {value}}}\n'))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_nested_too_deeply_is_an_error_and_no_traceback(tmp_path: Path, name: str) -> None:
    def nested(depth: int) -> Path:
        record = f'{{"text": {"[" * depth}"a"{"]" * depth}}}'
        return write(tmp_path / name, record if name == "a.jsonl" else f"[{record}]")

    assert [t.text for t in read(nested(500), text=("*",))[0]] == ["a"]
    with pytest.raises(MetierError, match="nested too deeply"):
        read(nested(100_000), text=("*",))


def test_10k_items_are_documents_of_one_company(tmp_path: Path) -> None:
    filing = {"cik": "7", "filing_date": "2010-02-25", "item_1": "Business", "item_9C": "", "item_7": "Results"}
    found, tally = read(write(tmp_path / "7_10K.json", json.dumps(filing)))
    assert [(t.text, t.date, t.group) for t in found] == [
        ("Business", "2010-02-25", "edgar:7"),
        ("Results", "2010-02-25", "edgar:7"),
    ]
    assert tally.read == {"documents": 2, "bytes": 15}


@pytest.mark.parametrize(
    ("head", "body", "day"),
    [
        ("", "<footer>Copyright 2024 A Bank</footer>", None),
        ("", "<p>On 2021-05-04 rates were raised, said a report of 2019.</p>", None),
        ("<meta itemprop='copyrightYear' content='2024'>", "<img src='/2019/03/04/chart.png'>", None),
        ("", "<time datetime='2020-02-03T09:00'>this Monday</time><footer>© 2024-01-01</footer>", "2020-02-03"),
        ("<meta name='DC.date' content='2020-02-03'>", "", "2020-02-03"),
        (
            '<script type="application/ld+json">{"datePublished": "2020-02-03", "dateModified": "2022-01-01"}</script>',
            "",
            "2020-02-03",
        ),
    ],
)
def test_html_has_the_day_that_the_page_states_and_no_other(tmp_path: Path, head: str, body: str, day: str) -> None:
    page = f"<html><head>{head}</head><body><article><p>{prose(1, 200)}</p>{body}</article></body></html>"
    [found], _ = read(write(tmp_path / "speech.html", page))
    assert found.date == day


def test_html_keeps_the_article_and_its_day(tmp_path: Path) -> None:
    body = "".join(f"<p>{prose(n, 60)}</p>" for n in range(4))
    page = f"""<html><head><title>Speech</title><meta property="article:published_time" content="2021-05-03"></head>
    <body><nav><a href="/">Home</a><a href="/x">Contact us</a></nav><article><h1>Speech</h1>{body}</article>
    <footer>Cookie settings</footer></body></html>"""
    found, _ = read(write(tmp_path / "speech.html", page))
    assert prose(2, 60) in found[0].text
    assert "Cookie" not in found[0].text
    assert found[0].date == "2021-05-03"


@pytest.mark.parametrize(
    "head",
    [
        '<html><head><meta charset="iso-8859-2">',
        "<html><head><meta http-equiv='Content-Type' content='text/html; charset=ISO-8859-2'>",
        '<?xml version="1.0" encoding="iso-8859-2"?><html><head>',
    ],
)
def test_html_in_the_encoding_that_it_states(tmp_path: Path, head: str) -> None:
    text = "Zażółć gęślą jaźń. " * 20
    page = f"{head}</head><body><article><p>{text}</p></article></body></html>"
    (tmp_path / "a.html").write_bytes(page.encode("iso-8859-2"))
    assert read(tmp_path / "a.html")[0][0].text == text.strip()


def pdf(text: str) -> bytes:
    """The smallest PDF that shows a line of text."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + table
    return out + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % start


def test_pdf_is_read_and_a_damaged_one_counted(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("The policy rate was raised"))
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 nothing more")
    found, tally = read(tmp_path / "a.pdf", tmp_path / "b.pdf")
    assert [t.text.strip() for t in found] == ["The policy rate was raised"]
    assert tally.dropped == {readers.UNREADABLE: 1}


CNXML = """<document xmlns="http://cnx.rice.edu/cnxml" id="m1"><title>Money</title><metadata><date>2020-02-03</date>
</metadata><content><para id="p1">Money is a <term>medium</term> of
exchange.</para><section><title>Banks</title><para id="p2">Banks lend.</para></section></content></document>"""


def test_xml_by_path_expressions(tmp_path: Path) -> None:
    file = write(tmp_path / "a.cnxml", CNXML)
    assert read(file, text=("//content",), date="//date")[0][0] == Text(
        0, "s/a.cnxml#0", "Money is a medium of exchange.\nBanks\nBanks lend.", "2020-02-03", "s/a.cnxml#0"
    )
    found, _ = read(file, records="//para", id="@id")
    assert [(t.id, t.text) for t in found] == [("p1", "Money is a medium of exchange."), ("p2", "Banks lend.")]
    with pytest.raises(MetierError, match="nothing in the file is at"):
        read(file, records="//chapter")
    with pytest.raises(MetierError, match="not a path expression"):
        read(file, records="//[")
    assert [t.text for t in read(file, records="//para/text()")[0]] == ["Money is a ", " of\nexchange.", "Banks lend."]
    for name, expression in [("records", "count(//para)"), ("records", "string(//para)"), ("text", "count(.)")]:
        options: dict[str, object] = {"records": "//para", name: (expression,) if name == "text" else expression}
        with pytest.raises(MetierError, match=rf"gives (a number|text), not elements(.|\n)*'s', {name}"):
            read(file, **options)
    with pytest.raises(MetierError, match="gives text, not elements, in which text could be looked for"):
        read(file, records="//para/text()", text=(".",))
    with pytest.raises(MetierError, match="not well-formed"):
        read(write(tmp_path / "b.xml", "<a><b></a>"))


def test_a_path_expression_may_give_text(tmp_path: Path) -> None:
    file = write(tmp_path / "a.cnxml", CNXML)
    found, _ = read(file, records="//para", text=("string(.)",), id="concat('x-', @id)", date="string(//date)")
    assert [(t.id, t.date) for t in found] == [("x-p1", "2020-02-03"), ("x-p2", "2020-02-03")]
    assert found[1].text == "Banks lend."


def test_entities_of_xml_are_not_resolved(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.txt", "secret")
    bomb = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret.as_uri()}">]><a>before &x; after</a>'
    assert "secret" not in read(write(tmp_path / "a.xml", bomb))[0][0].text


def test_binary_under_a_text_name_and_an_empty_file_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x7fELF\x00\x01" * 100)
    (tmp_path / "b.txt").write_bytes(b"")
    found, tally = read(tmp_path / "a.txt", tmp_path / "b.txt", write(tmp_path / "c.txt", "text"))
    assert [t.text for t in found] == ["text"]
    assert tally.dropped == {readers.BINARY: 1, "empty": 1}
    assert tally.read["documents"] == 3


@pytest.mark.parametrize("split_on", ["file", "line", "blank-line"])
def test_a_huge_line_is_counted_and_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split_on: str) -> None:
    for module in (readers, source):
        monkeypatch.setattr(module, "MAX_CHARACTERS", 1000)
    file = write(tmp_path / "a.txt", "x" * 50_000 + "\n\nshort\n")
    found, tally = read(file, split_on=split_on)
    assert [t.text for t in found] == ([] if split_on == "file" else ["short"])
    assert tally.dropped == {readers.TOO_LONG: 1}
    assert "more than 1,000 characters" in tally.samples[readers.TOO_LONG][0]["detail"]


@pytest.mark.parametrize("split_on", ["file", "line"])
def test_the_ranks_together_read_each_document_once(tmp_path: Path, split_on: str) -> None:
    files = tuple(write(tmp_path / f"{n}.txt", "".join(f"line {n} {i}\n" for i in range(9))) for n in range(7))
    whole, _ = read(*files, split_on=split_on)
    parts = [
        list(read_source(Source("s", files, split_on=split_on), Tally(), rank=rank, world_size=3)) for rank in range(3)
    ]
    assert sum(len(part) for part in parts) == len(whole)
    assert sorted((t.order, t.id, t.text) for part in parts for t in part) == [(t.order, t.id, t.text) for t in whole]
    assert all(len(part) > 0 for part in parts)


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("26-FEB-1987 15:01:01.79", "1987-02-26"),
        ("2020-01-31T10:00:00Z", "2020-01-31"),
        ("20200131", "2020-01-31"),
        ("January 31, 2020", "2020-01-31"),
        ("31 January 2020", "2020-01-31"),
        ("speech-2021_05_03-final.txt", "2021-05-03"),
        ("2020-02-31", None),
        ("01/02/2020", None),
        ("", None),
        (None, None),
    ],
)
def test_dates(written: object, date: str | None) -> None:
    assert parse_date(written) == date


def test_paths_folders_and_globs_from_the_first_root_that_has_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    a, b = write(one / "docs" / "a.txt", "a"), write(two / "docs" / "sub" / "b.md", "b")
    write(one / "docs" / ".hidden.txt", "h")
    write(one / "docs" / "image.bin", "i")
    assert expand("docs", [one, two]) == [a.resolve()]
    assert expand("docs/**/*.md", [one, two]) == [b.resolve()]
    assert expand(str(a), [two]) == [a.resolve()]
    with pytest.raises(MetierError, match="did you mean 'docs'"):
        expand("dosc", [one])
    with pytest.raises(MetierError, match="holds no file to read"):
        expand("pictures", [write(one / "pictures" / "x.png", "x").parent.parent])


def test_of_a_folder_of_many_files_few_are_listed(tmp_path: Path) -> None:
    for n in range(40):
        (tmp_path / f"{n:02}.txt").write_text("a", "utf-8")
    with pytest.raises(MetierError, match=r"known: 00.txt, .*, 07.txt, … \(40 in all\)$"):
        expand("speeches", [tmp_path])
    with pytest.raises(MetierError, match=r"did you mean '17.txt'\?$"):
        expand("17.text", [tmp_path])
    (tmp_path / "data" / "bank" / "speeches").mkdir(parents=True)
    with pytest.raises(MetierError, match=r"did you mean 'speeches'\?$"):
        expand("bank/speechs", [tmp_path, tmp_path / "data"])


def test_a_link_is_read_by_its_own_name(tmp_path: Path) -> None:
    blob = write(tmp_path / "blobs" / "3fa9c0", '{"text": "a"}\n')
    link = tmp_path / "snap" / "2020-05-01-data.jsonl"
    link.parent.mkdir()
    link.symlink_to(blob)
    for pattern in ("snap", "snap/*.jsonl", "snap/2020-05-01-data.jsonl"):
        [file] = expand(pattern, [tmp_path])
        assert file == link.parent.resolve() / link.name
    assert [(t.id, t.text, t.date) for t in read(file)[0]] == [("s/2020-05-01-data.jsonl#0", "a", "2020-05-01")]
    plain = write(tmp_path / "b.txt", "b")
    (tmp_path / "current").symlink_to(plain)
    assert expand("current", [tmp_path]) == [plain.resolve()]  # only the target's name says a format


@pytest.mark.parametrize("name", ["data [2020]", "[x", "a*b", "why?"])
def test_a_glob_in_a_folder_with_signs_of_a_glob_in_its_name(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name / "sub" / "a.txt", "a").resolve()
    assert expand("**/*.txt", [tmp_path / name]) == [file]
    assert expand(f"{name}/sub/*.txt", [tmp_path]) == [file]
    assert expand(f"{tmp_path}/{name}/*/[a].txt", []) == [file]


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xfcr.txt"))
    file.write_text(prose(1), "utf-8")
    with pytest.raises(MetierError, match=r"name is not UTF-8[\s\S]*f\\xfcr\.txt[\s\S]*rename"):
        read(*expand(str(tmp_path), [Path()]))
