"""Workbenches: blinding, balance, durable ratings, sheets, and what is wrong with a file."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.evaluation.evidence import write_predictions
from metier.evaluation.retention import write_bits
from metier.evaluation.rubric_axes import Axis, Rubric
from metier.evaluation.scores import Prediction
from metier.run.rubric import Workbench
from metier.run.rubric_answers import Columns, gather
from metier.run.rubric_new import make
from metier.run.rubric_sheet import export_sheet, import_sheet
from metier.sources import read_table, write_table
from tests.rubrics import QUESTIONS, key, new_bench, write_answers

Run = Callable[..., tuple[int, str, str]]


def test_nothing_that_raters_see_names_a_system(tmp_path: Path) -> None:
    for axes in ("clinician", "clinician-pairwise"):
        (tmp_path / axes).mkdir()
        bench = new_bench(tmp_path / axes, axes)
        export_sheet(bench, bench.folder / "anna.csv", ["anna"])
        for path in bench.folder.rglob("*"):
            if path.is_file() and path.name != "key.json":
                assert "sys-" not in path.read_text()
        assert set(itertools.chain(*key(bench).values())) == {"sys-x", "sys-y", "sys-z"}
        # ids and their order say nothing: the first of them are of several systems
        assert len({key(bench)[item][0] for item in list(bench.items)[:12]}) > 1


def test_a_system_called_as_a_common_word_does_not_warn(tmp_path: Path, command: Run) -> None:
    for system, warns in (("a", False), ("m2", True), ("Mistral", True)):
        rows = [{"question": "Why?", "system": s, "answer": f"As m2 and Mistral say: a {s}."} for s in (system, "b")]
        write_table(tmp_path / "answers.csv", rows, ["question", "system", "answer"])
        folder = tmp_path / f"bench-{system}"
        code, out, err = command("rubric", "new", folder, tmp_path / "answers.csv", "--raters", "anna", "--axes", "lay")
        assert code == 0, err
        assert ("hold the name of a system" in out) is warns


def test_shares_are_balanced_and_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    bench = new_bench(tmp_path, raters="a,b,c,d", per_question=2)
    again = new_bench(tmp_path / "again", raters="a,b,c,d", per_question=2)
    files = [path.relative_to(bench.folder) for path in bench.folder.rglob("*") if path.is_file()]
    assert [(bench.folder / file).read_bytes() for file in files] == [(again.folder / f).read_bytes() for f in files]
    assert {len(rater.items) for rater in bench.raters.values()} == {12 * 3 * 2 // 4}
    of_question: dict[str, set[str]] = {}
    for name, rater in bench.raters.items():
        for item in rater.items:
            of_question.setdefault(bench.items[item].question, set()).add(name)
    assert all(len(names) == 2 for names in of_question.values())  # all answers to a question go to the same two
    pairs = Counter(tuple(sorted(names)) for names in of_question.values())
    assert set(pairs.values()) == {2}  # all six pairs of raters meet equally often
    for rater in bench.raters.values():
        assert list(rater.items) != sorted(rater.items)
        asked = [bench.items[item].question for item in rater.items]
        assert all(len(set(asked[turn : turn + 6])) == 6 for turn in (0, 6, 12))  # no question again before all came
        assert all(a != b for a, b in itertools.pairwise(asked))


def test_sides_are_balanced_for_every_rater(tmp_path: Path) -> None:
    bench = new_bench(tmp_path, "lay-pairwise")
    assert len(bench.items) == 12 * 3
    for name, rater in bench.raters.items():
        on_a: Counter[tuple[tuple[str, ...], str]] = Counter()
        for item, flip in rater.items.items():
            systems = key(bench)[item][::-1] if flip else key(bench)[item]
            on_a[tuple(sorted(systems)), systems[0]] += 1
            # the answer that is shown as A is that system's
            assert bench.shown(name, item).answers[0].rstrip("xyz") != bench.shown(name, item).answers[0]
            assert bench.shown(name, item).answers[0][-1] == systems[0][-1]
        assert set(on_a.values()) == {6}


def test_every_choice_outlives_a_crash(tmp_path: Path) -> None:
    bench = new_bench(tmp_path)
    first, second = list(bench.raters["anna"].items)[:2]
    bench.record("anna", first, {"intent": "directly addresses the intent"})
    bench.record("anna", first, {"helpfulness": "helpful"})
    bench.record("anna", first, {"helpfulness": "not helpful"})
    log = bench.folder / "ratings" / "anna.jsonl"
    log.write_bytes(log.read_bytes() + b'{"at": "2026-01-01", "item": "i0')  # a line that was cut off
    found = Workbench(bench.folder)
    assert found.said("anna") == {first: {"intent": "directly addresses the intent", "helpfulness": "not helpful"}}
    assert (found.done("anna"), found.done("ben")) == (1, 0)
    found.record("anna", second, {"intent": "directly addresses the intent"})
    assert bench.said("anna")[second] == {"intent": "directly addresses the intent"}  # also where it was opened before
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 4  # nothing is overwritten: changes are added


def test_a_secret_that_a_crash_left_empty_is_made_again(tmp_path: Path) -> None:
    bench = new_bench(tmp_path)
    (bench.folder / ".token").touch()
    assert len(bench.token()) > 40
    assert bench.token() == bench.token()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    bench = new_bench(tmp_path)
    log = bench.folder / "ratings" / "anna.jsonl"
    log.parent.mkdir()
    for text, told in (
        ('{"item": "i99999", "values": {}}\n', "line 1"),
        ("\n{half\n", "line 1"),
        ('{"item": "i00001", "values": {"intnt": "x"}}\n', "did you mean 'intent'?"),
        ('{"item": "i00001", "values": {"helpfulness": "helpfull"}}\n', "did you mean 'helpful'?"),
        ('{"item": "i00001", "values": {"helpfulness": null}}\n', "no option"),
    ):
        log.write_text(text)
        with pytest.raises(MetierError) as caught:
            Workbench(bench.folder).said("anna")
        assert "anna.jsonl" in str(caught.value)
        assert told in str(caught.value)
    (bench.folder / "raters" / "anna.json").write_text("{}")
    with pytest.raises(MetierError, match=r"anna\.json"):
        Workbench(bench.folder)


def fill(
    bench: Workbench, sheet: Path, rater: str = "anna", axes: tuple[str, ...] = ("intent", "helpfulness")
) -> list[dict]:
    export_sheet(bench, sheet, [rater])
    rows = [dict(row.values) for row in read_table(sheet)]
    for row in rows:
        row |= {axis.name: bench.rubric.options(axis)[0] for axis in bench.rubric.axes}
    return rows


def put(bench: Workbench, rows: list[dict], path: Path) -> Path:
    write_table(path, rows, list(rows[0]))
    return path


@pytest.mark.parametrize("kind", ["csv", "xlsx", "jsonl"])
def test_a_sheet_out_and_back(tmp_path: Path, kind: str) -> None:
    bench = new_bench(tmp_path)
    rows = fill(bench, tmp_path / f"out.{kind}")
    rows[0]["helpfulness"] = "  NOT helpful "
    taken = import_sheet(bench, put(bench, rows, tmp_path / f"in.{kind}"))
    assert (taken.new, taken.same, taken.changed, taken.empty) == (72, 0, 0, 0)
    assert bench.done("anna") == 36
    assert bench.said("anna")[str(rows[0]["item"])]["helpfulness"] == "not helpful"
    again = import_sheet(bench, put(bench, rows, tmp_path / f"in.{kind}"))
    assert (again.new, again.same) == (0, 72)
    with pytest.raises(MetierError, match="exists already"):
        export_sheet(bench, tmp_path / f"out.{kind}", ["anna"])


def test_a_sheet_of_a_comparison_keeps_the_sides_of_its_rater(tmp_path: Path) -> None:
    bench = new_bench(tmp_path, "lay-pairwise", systems="xy")
    for rater in ("anna", "ben"):
        rows = fill(bench, tmp_path / f"{rater}.csv", rater)
        for row in rows:
            row |= dict.fromkeys(("intent", "helpfulness"), "A" if str(row["answer_a"]).endswith("x") else "b")
        import_sheet(bench, put(bench, rows, tmp_path / f"{rater}-in.csv"))
    from metier.run.rubric_report import report_record

    axis = report_record(bench)["groups"]["people"]["axes"]["intent"]
    assert axis["pairs"][0]["wins"]["count"] == 24  # sys-x in every comparison, whatever its side
    assert axis["agreement"]["raw"]["value"] == 1


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda rows: rows.append(dict(rows[0])), ["rows 2 and", "judges answer", "twice"]),
        (lambda rows: rows[3].update(rater="bert"), ["row ", "column 'rater'", "did you mean 'ben'?"]),
        (lambda rows: rows[3].update(helpfulness="helpfull"), ["column 'helpfulness'", "did you mean 'helpful'?"]),
        (lambda rows: [row.update(helpfulnes=row.pop("helpfulness")) for row in rows], ["no axis 'helpfulnes'"]),
        (lambda rows: [row.pop("helpfulness") for row in rows], ["column 'helpfulness' is missing"]),
        (lambda rows: rows[3].update(item="i77777"), ["column 'item'", "no answer 'i77777'"]),
        (lambda rows: rows[3].update(intent=None), ["not complete: 1 cells are empty", "column 'intent'", "--partial"]),
        (lambda rows: rows.pop(), ["not complete: 1 of the 36", "--partial"]),
        (lambda rows: rows[3].update(answer="another text"), ["column 'answer'", "sorted"]),
        (lambda rows: [row.pop("rater") for row in rows], ["column 'rater' is missing", "--rater"]),
    ],
)
def test_sheets_that_are_wrong(
    tmp_path: Path, command: Run, spoil: Callable[[list[dict]], object], told: list[str]
) -> None:
    bench = new_bench(tmp_path)
    rows = fill(bench, tmp_path / "out.csv")
    spoil(rows)
    code, _, err = command("rubric", "import", bench.folder, put(bench, rows, tmp_path / "in.csv"))
    assert code == 2
    assert "in.csv" in err
    assert all(part in err for part in told), err
    assert Workbench(bench.folder).said("anna") == {}  # a sheet is taken whole or not at all


def test_numbers_that_pandas_wrote_are_options(tmp_path: Path) -> None:
    axis = Axis(name="score", question="How good is it?", options=["1", "2", "3"])
    questions = gather([str(write_answers(tmp_path))], Columns())
    bench = make(tmp_path / "bench", questions, Rubric(name="own", axes=[axis]), ["anna"]).bench
    rows = fill(bench, tmp_path / "out.csv")
    rows = [{**row, "score": None if place else "2.0"} for place, row in enumerate(rows)]
    assert import_sheet(bench, put(bench, rows, tmp_path / "in.csv"), partial=True).new == 1
    assert bench.said("anna") == {str(rows[0]["item"]): {"score": "2"}}


def test_answers_of_another_rater_and_partial_sheets(tmp_path: Path) -> None:
    bench = new_bench(tmp_path, raters="anna,ben", per_question=1)
    rows = fill(bench, tmp_path / "out.csv")
    path = put(bench, [{**row, "rater": "ben"} for row in rows], tmp_path / "in.csv")
    with pytest.raises(MetierError, match="not given to 'ben'"):
        import_sheet(bench, path)
    some = [{**row, "intent": None} if place else row for place, row in enumerate(rows[:4])]
    taken = import_sheet(bench, put(bench, some, tmp_path / "some.csv"), partial=True)
    assert (taken.new, taken.empty) == (5, 3)
    assert bench.done("anna") == 1
    for row in rows:
        row.pop("rater")
    assert import_sheet(bench, put(bench, rows, tmp_path / "own.csv"), rater="anna").new == len(rows) * 2 - 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--raters", "anna,Anna"], "'anna' is named twice"),
        (["--raters", "../x"], "cannot be called"),
        (["--raters", ""], "cannot be called"),
        (["--per-question", "3"], "3 raters a question, but there are 2"),
        (["--systems", "sys-x,sys-q"], "no source has answers of 'sys-q'"),
        (["--systems", "sys-x,sys-yy"], "did you mean 'sys-y'?"),
        (["--axes", "clinicain"], "did you mean 'clinician'?"),
        (["--axes", "lay-pairwise", "--systems", "sys-x"], "needs two systems"),
        (["--axes", "lay-pairwise", "--against", "sys-w"], "there is no system 'sys-w'"),
        (["--answer", "answr"], "did you mean 'answer'?"),
        (["--system", "none"], "whose answers these are"),
        (["--id", "system"], "two questions have the id"),
    ],
)
def test_a_workbench_asked_for_wrongly(tmp_path: Path, command: Run, change: list[str], told: str) -> None:
    table = write_answers(tmp_path)
    code, _, err = command("rubric", "new", tmp_path / "b", table, "--raters", "anna,ben", "--axes", "lay", *change)
    assert code == 2
    assert told in err, err
    assert not (tmp_path / "b").exists()


def test_answers_come_from_tables_of_every_shape_and_from_runs(tmp_path: Path) -> None:
    one = [{"q": q, "a": f"one {i}"} for i, q in enumerate(QUESTIONS)]
    two = [{"q": q.upper(), "a": f"two {i}"} for i, q in reversed(list(enumerate(QUESTIONS)))]
    write_table(tmp_path / "one.jsonl", one, ["q", "a"])
    write_table(tmp_path / "two.xlsx", two, ["q", "a"])
    predictions = [
        Prediction(example_id=f"e{i}", split="test", text=q, gold=f"right {i}", answer="x", probabilities={},
                   parsed=True, tokens=1, seconds=0.0, output=f"run {i}" if i else "")
        for i, q in enumerate(QUESTIONS)
    ]  # fmt: skip
    folder = tmp_path / "run" / "evidence" / "predictions"
    folder.mkdir(parents=True)
    write_predictions(folder / "task.specialist.parquet", predictions)
    write_bits(folder / "wikipedia-passages.base.parquet", ["a", "b"], [3.0, 4.0], [2.0, 2.0])  # no answers at all
    sources = [f"first={tmp_path / 'one.jsonl'}", f"second={tmp_path / 'two.xlsx'}", f"model={tmp_path / 'run'}"]
    found = gather(sources, Columns("q", ("a",)), gold="expert")
    assert [question.answers for question in found[:2]] == [
        {"first": "one 0", "second": "two 0", "model": "(no answer)", "expert": "right 0"},
        {"first": "one 1", "second": "two 1", "model": "run 1", "expert": "right 1"},
    ]
    wide = [{"question": q, "human": f"h {i}", "model": f"m {i}"} for i, q in enumerate(QUESTIONS)]
    write_table(tmp_path / "wide.parquet", wide, ["question", "human", "model"])
    [first, *_] = gather([str(tmp_path / "wide.parquet")], Columns(answers=("human", "model")))
    assert first.answers == {"human": "h 0", "model": "m 0"}
    write_table(tmp_path / "some.jsonl", one[:5], ["q", "a"])
    fewer = [f"first={tmp_path / 'some.jsonl'}", sources[1]]
    with pytest.raises(MetierError, match="7 of 12 questions"):
        gather(fewer, Columns("q", ("a",)))
    assert len(gather(fewer, Columns("q", ("a",)), common=True)) == 5
    write_table(tmp_path / "gap.csv", [{"q": "a?", "a": "b"}, {"q": "c?", "a": ""}], ["q", "a"])
    with pytest.raises(MetierError, match="the cell is empty") as caught:
        gather([f"x={tmp_path / 'gap.csv'}"], Columns("q", ("a",)))
    assert "gap.csv, row 3, column 'a'" in str(caught.value)
    write_table(tmp_path / "twice.csv", [*one, one[0]], ["q", "a"])
    with pytest.raises(MetierError, match="answers one question twice"):
        gather([f"x={tmp_path / 'twice.csv'}"], Columns("q", ("a",)))


def test_the_command_line_from_answers_to_report(tmp_path: Path, command: Run) -> None:
    table, folder = write_answers(tmp_path), tmp_path / "bench"
    code, axes, _ = command("rubric", "axes", "lay")
    (tmp_path / "own.yaml").write_text(axes)
    new = ["rubric", "new", folder, table, "--raters", "anna,ben", "--axes", tmp_path / "own.yaml", "--questions", "9"]
    code, out, err = command(*new)
    assert code == 0, err
    assert "27 answers to judge on 2 axes" in out
    assert command(*new)[0] == 2  # ratings are never overwritten
    assert "nobody has rated yet" in command("rubric", "report", folder)[2]
    assert command("rubric", "export", folder)[0] == 0
    bench = Workbench(folder)
    for rater in ("anna", "ben"):
        sheet = folder / "sheets" / f"{rater}.csv"
        rows = [dict(row.values) for row in read_table(sheet)]
        for row in rows:
            good = key(bench)[str(row["item"])] == ["sys-x"]
            row |= {axis.name: axis.options[0 if good else -1] for axis in bench.rubric.axes}
        put(bench, rows, sheet)
        assert command("rubric", "import", folder, sheet)[0] == 0
    code, out, err = command("rubric", "report", folder)
    assert code == 0, err
    assert "sys-x is better than sys-y on 2 of 2 axes" in out
    record = json.loads((folder / "report.json").read_text())
    assert record["groups"]["people"]["tests"] == 6
    assert record["groups"]["people"]["axes"]["intent"]["systems"]["sys-x"]["good"]["value"] == 1
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    (folder / "key.json").write_text("{}")
    assert "key.json" in command("rubric", "report", folder)[2]
    assert command("rubric", "serve", tmp_path)[0] == 2
