"""The page: whole, self-contained, safe, the same every time, and plain about what is missing."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from metier.errors import MetierError
from metier.files import write_json
from metier.report import write_report
from metier.report.html import CONTENTS, render_report
from metier.report.read import read_run
from tests.report.rundir import HOSTILE, TASK, Case, build, manifest

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Checks nesting; collects tags, ids, links and resources."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.loads: list[str] = []
        self.headers_without_scope = 0
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [str(found["id"])] if "id" in found else []
        if tag == "a" and str(found.get("href")).startswith("#"):
            self.anchors.append(str(found["href"])[1:])
        self.loads += [str(found[key]) for key in ("src", "srcset", "data", "xlink:href", "poster") if key in found]
        self.headers_without_scope += tag == "th" and "scope" not in found
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += " " + data


def page(path: Path) -> tuple[str, Page]:
    text = write_report(path).read_text("utf-8")
    parsed = Page(text)
    assert not parsed.open
    return text, parsed


def plain(parsed: Page) -> str:
    return " ".join(parsed.words.split())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("runs"))


def test_every_section_is_there_and_can_be_reached(good: Path) -> None:
    _, parsed = page(good)
    only_where_measured = {
        "elsewhere", "mixture", "overlap", "safety", "search", "seeds", "sets", "sizes", "strategies",
    }  # fmt: skip
    assert {anchor for anchor, _ in CONTENTS} - only_where_measured <= set(parsed.ids)
    assert set(parsed.anchors) <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not parsed.headers_without_scope


def test_the_page_is_self_contained(good: Path) -> None:
    text, parsed = page(good)
    assert not parsed.loads
    assert not {"script", "link", "img", "iframe", "object"} & parsed.tags
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text


def test_a_hostile_sentence_is_shown_and_not_run(tmp_path: Path) -> None:
    path = build(tmp_path, Case(skill={"tfidf": 1.0, "base": 0.0, "base-fewshot": 0.1, "specialist": -1.0}))
    found = manifest(Case())
    found["task"]["title"] = found["name"] = HOSTILE
    found["prompt"]["rendered"] = found["prompt"]["rendered"].replace("Aldermoor", HOSTILE)
    found["prompt"]["inputs"]["text"] = found["prompt"]["inputs"]["text"].replace("Aldermoor", HOSTILE)
    found["task"]["homepage"] = "javascript:alert(1)"
    write_json(path / "manifest.json", found)
    scores = json.loads((path / "evidence" / "scores.json").read_text("utf-8"))
    scores[TASK]["tfidf"] = {"status": "failed", "reason": HOSTILE}
    write_json(path / "evidence" / "scores.json", scores)
    (path / "recipe.yaml").write_text(f"# {HOSTILE}\n", "utf-8")
    text, parsed = page(path)
    assert "<script" not in text
    assert 'href="javascript' not in text
    assert text.count("</style>") == 1
    assert HOSTILE in parsed.words


def test_the_same_run_gives_the_same_bytes(good: Path, tmp_path: Path) -> None:
    first = write_report(good).read_bytes()
    copy = tmp_path / "elsewhere" / good.name
    shutil.copytree(good, copy)
    assert write_report(copy).read_bytes() == first == write_report(good).read_bytes()


def test_figures_and_tables_hold_the_scores(good: Path) -> None:
    _, parsed = page(good)
    words, run = plain(parsed), read_run(good)
    for name in ("majority", "tfidf", "base", "base-fewshot", "specialist"):
        score = run.score(name)
        assert score
        assert f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]" in words
    assert "Weights trained 2,442,240 of 136,957,248" in words
    assert "65 W for the whole machine" in words
    assert "commercial use is not allowed" in words
    assert "positive<|im_end|>" in words
    assert "74 tokens, of which 39 open every prompt" in words


def test_how_many_solved_examples_few_shot_means(good: Path, tmp_path: Path) -> None:
    assert "Few-shot means" not in plain(page(good)[1])  # it was not written down
    run = Path(shutil.copytree(good, tmp_path / good.name))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["recipe"]["measure"] = {"shots": 2}
    for shots, told in (
        (
            ["positive"],
            "Few-shot means 1 solved example of the training part before each question, of 2 that were asked",
        ),
        (["positive", "neutral"], "Few-shot means 2 solved examples of the training part before each question."),
    ):
        manifest["stages"]["base-fewshot"]["shots"] = shots
        (run / "manifest.json").write_text(json.dumps(manifest))
        assert told in plain(page(run)[1])
        assert ("no more fit" in plain(page(run)[1])) == (len(shots) < 2)


def test_twenty_surest_errors_come_surest_first(good: Path) -> None:
    from metier.report import sections

    run = read_run(good)
    found = sections.errors(run)
    assert len(found["rows"]) == min(20, found["count"])
    assert [row["p"] for row in found["rows"]] == sorted((row["p"] for row in found["rows"]), reverse=True)
    assert all(row["gold"] != row["answer"] for row in found["rows"])
    answers = {p.example_id: p for p in run.predictions("specialist") or []}
    raw = answers[found["rows"][0]["id"]].confidence
    assert run.temperature > 1
    assert found["rows"][0]["p"] < raw  # the probability shown is the calibrated one


def test_a_failed_system_says_why_and_has_no_score(tmp_path: Path) -> None:
    _, parsed = page(build(tmp_path, Case(failed={"base-fewshot": "the prompt is too long"})))
    words = plain(parsed)
    assert "Base, few-shot failed: the prompt is too long" in words
    assert "Base, few-shot 0.000" not in words


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"name": "bare", "task": {"name": "t", "labels": ["a", "b"]}})
    text, parsed = page(tmp_path)
    words = plain(parsed)
    assert words.count("Not measured:") >= 7
    assert "No verdict" in words
    assert "No lock was recorded" in words
    assert "None" not in re.sub(r"<[^>]*>", "", text.split("</style>")[1])


def test_a_run_killed_in_the_middle_of_a_log_line_still_has_a_page(tmp_path: Path) -> None:
    path = build(tmp_path)
    with open(path / "log.jsonl", "a", encoding="utf-8") as log:
        log.write('{"event": "train", "st')
    _, parsed = page(path)
    assert "212 steps" in plain(parsed)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match=r"no manifest\.json"):
        write_report(tmp_path)
    path = build(tmp_path)
    (path / "log.jsonl").write_text('{"event": "train"\n{"event": "train"}\n', "utf-8")
    with pytest.raises(MetierError, match=r"log\.jsonl:1"):
        write_report(path)
    (path / "log.jsonl").unlink()
    predictions = path / "evidence" / "predictions" / f"{TASK}.specialist.parquet"
    predictions.write_bytes(predictions.read_bytes()[:100])
    with pytest.raises(MetierError, match=r"specialist\.parquet"):
        write_report(path)
    predictions.unlink()
    (path / "manifest.json").write_text("{", "utf-8")
    with pytest.raises(MetierError, match="not valid JSON"):
        write_report(path)


def test_scores_without_an_interval_are_drawn_without_one(good: Path, tmp_path: Path) -> None:
    path = tmp_path / good.name
    shutil.copytree(good, path)
    score = {"value": 0.5, "low": None, "high": None, "n": 1}
    runs = [{"seed": seed, **score, "value": 0.4 + seed / 10} for seed in range(2)]
    spread = {"mean": 0.45, "sd": 0.07, "min": 0.4, "max": 0.5}
    write_json(path / "evidence" / "seeds.json", {"task": TASK, "metric": "entity_f1", "runs": runs, **spread})
    points = [{"examples": n, "systems": {"specialist": score}, "against": {}} for n in (4, 8)]
    found = {"task": TASK, "metric": "entity_f1", "methods": {"specialist": "lora"}, "points": points}
    write_json(path / "evidence" / "curve.json", {**found, "wins_from": None})
    text, _ = page(path)
    assert "With other seeds" in text
    assert "From fewer examples" in text


def test_other_test_sets_have_their_own_table(good: Path, tmp_path: Path) -> None:
    path = tmp_path / good.name
    shutil.copytree(good, path)
    scores = json.loads((path / "evidence" / "scores.json").read_text("utf-8"))
    scores["fiqa-sentiment"] = {
        "specialist": scores[TASK]["specialist"],
        "majority": scores[TASK]["majority"],
        "base": {"status": "failed", "reason": "was not asked"},
    }
    write_json(path / "evidence" / "scores.json", scores)
    _, parsed = page(path)
    words = plain(parsed)
    assert "On another test set, fiqa-sentiment, it scores" in words
    assert "elsewhere" in parsed.ids
    assert "failed: was not asked" in words


def test_many_classes_are_listed_and_not_drawn(tmp_path: Path) -> None:
    labels = [f"intent-{i:02d}" for i in range(30)]
    matrix = [[20 if i == j else int((i * 7 + j) % 11 == 0) for j in range(30)] for i in range(30)]
    found = manifest(Case())
    found["task"]["labels"] = labels
    write_json(tmp_path / "manifest.json", found)
    score = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 600}
    entry = {
        "status": "ok",
        "metrics": {"weighted_f1": score},
        "confusion": {"labels": labels, "matrix": matrix, "unparsed": [1] * 30},
    }
    write_json(tmp_path / "evidence" / "scores.json", {TASK: {"specialist": entry}})
    _, parsed = page(tmp_path)
    assert "The whole matrix, 30 classes" in parsed.words
    assert "not readable" in parsed.words


def test_a_task_of_bits_has_bars_on_its_own_scale(tmp_path: Path) -> None:
    found = manifest(Case())
    found["task"] |= {"metric": "bits_per_byte", "labels": []}
    write_json(tmp_path / "manifest.json", found)
    entries = {
        name: {"status": "ok", "metrics": {"bits_per_byte": {"value": v, "low": v - 0.1, "high": v + 0.1, "n": 9}}}
        for name, v in (("base", 1.4), ("specialist", 1.1))
    }
    write_json(tmp_path / "evidence" / "scores.json", {TASK: entries})
    text = render_report(read_run(tmp_path))
    assert "Less is better" in text


def test_templates_are_part_of_the_package() -> None:
    files = {f.name for f in resources.files("metier.report").joinpath("templates").iterdir()}
    assert {"report.html.jinja", "report.css.jinja", "card.md.jinja", "macros.jinja"} <= files
    assert {f"section-{anchor}.jinja" for anchor, _ in CONTENTS[1:]} <= files
