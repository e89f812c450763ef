"""The page of a rubric: what it says of few questions, of machines alone, and of one system."""

from __future__ import annotations

from pathlib import Path

from metier.report.rubric import render_rubric
from metier.run.rubric import Workbench
from metier.run.rubric_report import report_record
from tests.rubrics import key, new_bench


def rate(bench: Workbench, rater: str, items: int | None = None) -> None:
    for item in list(bench.rater(rater).items)[:items]:
        good = key(bench)[item][0] == "sys-x"
        values = {axis.name: bench.rubric.options(axis)[0 if good else -1] for axis in bench.rubric.axes}
        bench.record(rater, item, values)


def test_the_same_ratings_give_the_same_page(tmp_path: Path) -> None:
    bench = new_bench(tmp_path, "clinician")
    rate(bench, "anna")
    rate(bench, "ben", 20)
    page = render_rubric(report_record(bench))
    assert page == render_rubric(report_record(Workbench(bench.folder)))
    assert "Not everybody has finished: ben 20 of 36" in page
    assert "Scientific consensus" in page
    assert "each p multiplied by 36 (Bonferroni)" in page
    assert "too few to find any difference" not in page
    assert 'id="machines"' not in page


def test_too_few_questions_are_said_to_be_too_few(tmp_path: Path) -> None:
    bench = new_bench(tmp_path, "clinician", most=4)
    rate(bench, "anna")
    page = render_rubric(report_record(bench))
    assert "With 4 questions the smallest p there can be is 0.1250, 1.0000 after correction" in page
    assert "nothing was rated by two people" in page


def test_a_machine_alone_is_not_taken_for_people(tmp_path: Path) -> None:
    bench = new_bench(tmp_path, systems="xy")
    bench.add_machine("judge", {"model": "<b>m</b>"})
    rate(bench, "judge")
    page = render_rubric(report_record(bench))
    assert "No person has rated. By a machine&#39;s judgement: " in page
    assert "machine: &lt;b&gt;m&lt;/b&gt;" in page
    assert 'id="agreement"' not in page


def test_one_system_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    bench = new_bench(tmp_path, systems="x")
    rate(bench, "anna")
    page = render_rubric(report_record(bench))
    assert "There is one system" in page
    assert "1.000" in page
