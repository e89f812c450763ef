"""Labelling in a terminal and by sheet, and two labelled tables held against each other."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from metier.cli import app
from metier.errors import MetierError
from metier.inference.specialist import Answer
from metier.run.ask import ask, keyboard, label_keys
from metier.run.label import Labelling
from metier.sources import read_table, write_table
from metier.tasks import from_table

LABELS = ["positive", "neutral", "negative"]
TEXTS = ["profit rose", "profit fell", "the office is in Turku", "orders [bold]grew[/bold]"]


class Fixed:
    """Suggests what it was told to."""

    labels = LABELS

    def __init__(self, *said: tuple[str, float]) -> None:
        self.said = said

    def predict(self, texts: Iterable[str], /) -> list[Answer]:
        pairs = list(zip(texts, self.said, strict=True))
        rest = {p: dict.fromkeys(LABELS, (1 - p) / 2) for _, (_, p) in pairs}
        return [Answer(label, p, rest[p] | {label: p}, {}, False) for _, (label, p) in pairs]


SUGGESTS = Fixed(("positive", 0.9), ("neutral", 0.5), ("neutral", 0.99), ("negative", 0.6))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    rows = [{"id": f"d{i}", "text": text, "licence": "CC0"} for i, text in enumerate(TEXTS)]
    write_table(path, rows, ["id", "text", "licence"])
    return path


def work(source: Path, specialist: Fixed | None = None, out: str = "labels.csv") -> Labelling:
    return Labelling(source, source.parent / out, LABELS, labeller="anna", specialist=specialist)


def typed(work: Labelling, keys: str, order: str = "given") -> tuple[int, str]:
    """Type keys into a session; returns labels given and what was shown."""
    shown = io.StringIO()
    stream = io.StringIO(keys)
    given = ask(work, order, lambda: stream.read(1), Console(file=shown, width=200))
    return given, shown.getvalue()


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def command(*arguments: object, keys: str = "") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=keys)


def test_a_session_saves_each_answer_and_goes_on_where_it_stopped(source: Path) -> None:
    out = source.parent / "labels.csv"
    given, shown = typed(work(source), "1xs3q")
    assert given == 2
    assert "1 of 4" in shown
    assert "'x' is none of the keys" in shown
    found = rows_of(out)
    assert list(found[0]) == ["id", "text", "licence", "label", "labeller", "suggested", "probability", "labelled_at"]
    assert [(row["text"], row["label"]) for row in found] == [(TEXTS[0], "positive"), (TEXTS[2], "negative")]
    assert {row["labeller"] for row in found} == {"anna"}
    given, shown = typed(work(source), "2")  # the end of the input quits
    assert given == 1
    assert "1 of 2" in shown
    given, shown = typed(work(source), "p")
    assert TEXTS[3] in shown  # what looks like markup is text
    assert [row["label"] for row in rows_of(out)] == ["positive", "neutral", "negative", "positive"]
    assert typed(work(source), "") == (0, "")
    loaded = from_table("mine", out)
    assert len(loaded.examples) == 4


def test_a_column_that_somebody_adds_to_the_output_stays(source: Path) -> None:
    out = source.parent / "labels.csv"
    typed(work(source), "1xs3q")
    noted = [row | {"note": f"seen {row['id']}"} for row in rows_of(out)]
    write_table(out, noted, list(noted[0]))
    typed(work(source), "2q")
    assert [row["note"] for row in rows_of(out)] == [row["note"] for row in noted[:1]] + [""] + [noted[1]["note"]]


def test_undo(source: Path) -> None:
    out = source.parent / "labels.csv"
    given, shown = typed(work(source), "u1u3s1uu2q")
    assert "nothing to undo" in shown
    # 1 undone, 3 for the first text, skip the second, 1 for the third undone, the skip undone, 2 for the second
    assert given == 2
    assert [(row["text"], row["label"]) for row in rows_of(out)] == [(TEXTS[0], "negative"), (TEXTS[1], "neutral")]
    typed(work(source, out="other.csv"), "1uq")
    assert rows_of(source.parent / "other.csv") == []
    assert typed(work(source, out="other.csv"), "1q")[0] == 1


def test_suggestions_and_least_sure_first(source: Path) -> None:
    given, shown = typed(work(source, SUGGESTS), "1q", "uncertain")
    assert given == 1
    assert shown.index(TEXTS[1]) < shown.index(TEXTS[3])
    assert "suggested neutral: neutral 0.50" in shown
    row = rows_of(source.parent / "labels.csv")[0]
    assert (row["text"], row["label"], row["suggested"]) == (TEXTS[1], "positive", "neutral")
    assert float(row["probability"]) == 0.5


def test_a_second_look_at_disagreements(source: Path) -> None:
    typed(work(source), "1113")
    queue = work(source, SUGGESTS).queue()
    assert [item.text for item in queue] == [TEXTS[2], TEXTS[1]]  # surest suggestion first
    given, shown = typed(work(source, SUGGESTS), "2q", "disagreements")
    assert given == 1
    assert "labelled positive by anna" in shown
    # looked at with the suggestion in view, whatever was answered: not asked again
    typed(work(source, SUGGESTS), "1", "disagreements")
    assert work(source, SUGGESTS).queue("disagreements") == []
    assert [row["label"] for row in rows_of(source.parent / "labels.csv")] == [
        "positive", "positive", "neutral", "negative"
    ]  # fmt: skip


def test_a_sheet_for_a_second_look_shows_what_is_suggested(source: Path) -> None:
    labelled = work(source)
    labelled.put("profit fell", "negative")
    again = Labelling(labelled.out, source.parent / "sheet.csv", LABELS, specialist=Fixed(("positive", 0.9)))
    assert again.write_sheet("disagreements") == 1
    (row,) = rows_of(again.out)
    assert (row["label"], row["labeller"], row["suggested"], row["probability"]) == (
        "negative", "anna", "positive", "0.900000",
    )  # fmt: skip


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_sheet_out_and_in(source: Path, ending: str) -> None:
    sheet, out = source.parent / f"sheet.{ending}", source.parent / "labels.csv"
    made = command("label", source, "--labels", ",".join(LABELS), "--out", sheet, "--sheet")
    assert made.exit_code == 0, made.exception
    assert "4 rows to fill in" in made.output
    rows = [dict(row.values) for row in read_table(sheet)]
    assert all(row["label"] in (None, "") for row in rows)
    again = command("label", source, "--labels", ",".join(LABELS), "--out", sheet, "--sheet")
    assert "exists already" in str(again.exception)
    take = ["label", sheet, "--labels", ",".join(LABELS), "--out", out, "--labeller", "ben", "--import"]
    assert "no row has a label" in str(command(*take).exception)
    rows[0]["label"], rows[2]["label"] = "Positive ", "neutrl"
    write_table(sheet, rows, list(rows[0]))
    told = str(command(*take).exception)
    assert "row 4" in told
    assert "did you mean 'neutral'" in told
    assert not out.exists()
    rows[2]["label"] = "neutral"
    write_table(sheet, rows, list(rows[0]))
    taken = command(*take)
    assert "2 labelled, 2 without a label left out, 0 changed" in taken.output
    assert [(row["label"], row["labeller"]) for row in rows_of(out)] == [("positive", "ben"), ("neutral", "ben")]
    assert all(row["labelled_at"] for row in rows_of(out))
    rows[0]["label"], rows[2]["label"] = "negative", ""  # a second thought replaces a label, an empty cell none
    write_table(sheet, rows, list(rows[0]))
    assert "2 labelled, 2 without a label left out, 1 changed" in command(*take).output
    assert [row["label"] for row in rows_of(out)] == ["negative", "neutral"]


def test_the_command_line_asks(source: Path) -> None:
    out = source.parent / "labels.csv"
    result = command("label", source, "--labels", ",".join(LABELS), "--out", out, "--id", "id", keys="1\n2\nq\n")
    assert result.exit_code == 0, result.exception
    assert "2 labelled now, 2 of 4 in all" in result.output
    assert [row["label"] for row in rows_of(out)] == ["positive", "neutral"]


def test_a_format_that_is_not_written_is_told_before_anything_is_asked(source: Path) -> None:
    result = command("label", source, "--labels", "a,b", "--out", source.parent / "o.txt", keys="1")
    assert "not written as 'txt'" in str(result.exception)
    assert "1 of 4" not in result.output


def test_what_the_table_has_labelled_already_is_in_the_output(source: Path) -> None:
    labelled = source.parent / "labelled.csv"
    labelled.write_text("text,label\none,positive\n", "utf-8")
    command("label", labelled, "--labels", ",".join(LABELS), "--out", source.parent / "o.csv")
    assert [row["label"] for row in rows_of(source.parent / "o.csv")] == ["positive"]


def test_a_terminal_keeps_what_is_typed_ahead_and_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, terminal = pty.openpty()
    with open(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        before = termios.tcgetattr(terminal)
        os.write(ours, b"1")  # before the session begins
        with keyboard() as read_key:
            os.write(ours, b"2q\n")
            assert [read_key() for _ in range(3)] == ["1", "2", "q"]
            assert read_key() == "\n"
            os.write(ours, b"\x1b[A")
            assert read_key() == "\x1b[A"
            os.write(ours, b"\x04")
            assert read_key() == ""
            assert not termios.tcgetattr(terminal)[3] & termios.ECHO
        assert termios.tcgetattr(terminal) == before
    os.close(ours)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--labels", "a"], "at least two labels"),
        (["--labels", "a,A"], "each once"),
        ([], "the labels are not known"),
        (["--labels", "a,b", "--text", "txt"], "did you mean 'text'"),
        (["--labels", "a,b", "--gold", "licenze"], "did you mean 'licence'"),
        (["--labels", "a,b", "--id", "licence"], "used twice"),
        (["--labels", "a,b", "--order", "uncertian"], "did you mean 'uncertain'"),
        (["--labels", "a,b", "--order", "uncertain"], "--suggest RUN"),
        (["--labels", "a,b", "--sheet", "--import"], "two steps"),
        (["--labels", "a,b", "--suggest", "nowhere"], "no finished specialist"),
    ],
)
def test_what_is_asked_wrongly(source: Path, extra: list[str], told: str) -> None:
    result = command("label", source, "--out", source.parent / "o.csv", *extra)
    assert isinstance(result.exception, MetierError)
    assert told in str(result.exception)
    assert not (source.parent / "o.csv").exists()


def test_outputs_that_hold_something_else(source: Path) -> None:
    with pytest.raises(MetierError, match="its own output"):
        work(source, out=source.name)
    (source.parent / "labels.csv").write_text("text,label\nanother text,positive\n")
    with pytest.raises(MetierError, match="holds something else"):
        work(source)
    with pytest.raises(MetierError, match="'negative' that --labels does not name"):
        Labelling(source, source.parent / "x.csv", ["positive", "neutral"], labeller="a", specialist=SUGGESTS)


def test_agreement_does_not_write_over_a_labelled_table(tmp_path: Path) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    for table in (a, b):
        table.write_text("text,label\none,up\ntwo,down\n")
    result = command("agreement", a, b, "--out", tmp_path / "." / "b.csv")
    assert "would replace a labelled table" in str(result.exception)
    assert b.read_text() == a.read_text()


def test_long_documents_are_one_short_line_each(tmp_path: Path) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    document = "Item 1A.\n\nRisk factors " + "and more " * 1000
    for path, label in ((a, "up"), (b, "down")):
        write_table(path, [{"text": document, "label": label}, {"text": "x", "label": "up"}], ["text", "label"])
    first = command("agreement", a, b).output.splitlines()[0]
    assert first.startswith("up | down | Item 1A. Risk factors and more")
    assert len(first) < 120


def test_agreement_of_two_tables(tmp_path: Path) -> None:
    a, b, out = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "differ.csv"
    a.write_text("text,label\none.,up\ntwo,up\nthree,down\nfour,\nfive,down\n")
    b.write_text("text,label\nFive,up\nONE,up\nthree,Down\ntwo!,up\nfour,up\nsix,up\n")
    result = command("agreement", a, b, "--out", out)
    assert result.exit_code == 0, result.exception
    assert result.output.startswith("down | up | five\n")
    assert "4 matched, 0 only in the first, 1 only in the second, 1 without a label" in result.output
    assert "agreement      0.750 [" in result.output
    # p_o = 3/4; a: down 2, up 2; b: down 1, up 3; p_e = (2*1 + 2*3)/16 = 1/2
    assert "Cohen's kappa  0.500 (no interval: too few" in result.output
    found = [row.values for row in read_table(out)]
    assert [(row["text"], row["label_a"], row["label_b"], row["row_b"]) for row in found] == [
        ("five", "down", "up", "2")
    ]


@pytest.mark.parametrize(
    ("content", "extra", "told"),
    [
        ("text,label\nnine,up\n", [], "no labelled row in common"),
        ("text,mood\none,up\n", [], "no column 'label'"),
        ("txt,label\none,up\n", [], "did you mean 'txt'"),
        ("text,label\none,up\nOne,down\n", [], "one text has two labels"),
        ("text,label,id\none,up,\n", ["--id", "id"], "no column 'id'"),
    ],
)
def test_tables_that_cannot_be_compared(tmp_path: Path, content: str, extra: list[str], told: str) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text("text,label\none,up\ntwo,down\n")
    b.write_text(content)
    result = command("agreement", a, b, *extra)
    assert isinstance(result.exception, MetierError)
    assert told in str(result.exception)


def test_keys() -> None:
    assert label_keys(LABELS) == {"1": "positive", "2": "neutral", "3": "negative", "p": "positive"}
    assert label_keys(["sell", "buy"]) == {"1": "sell", "2": "buy", "b": "buy"}  # s skips
    many = label_keys([f"topic {i}" for i in range(12)])
    assert (many["9"], many["a"], many["c"]) == ("topic 8", "topic 9", "topic 11")
    with pytest.raises(MetierError, match="40 labels"):
        label_keys([f"topic {i}" for i in range(40)])
