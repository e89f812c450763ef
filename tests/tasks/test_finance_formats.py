"""Readers of finance's odd shapes, on small files of the same shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metier.errors import MetierError
from metier.tasks import Example, catalogue
from metier.tasks.formats import READERS

HEADER = [
    "Dates", "URL", "News", "Price Direction Up", "Price Direction Constant", "Price Direction Down",
    "Asset Comparision", "Past Information", "Future Information", "Price Sentiment",
]  # fmt: skip


def options(name: str, place: int = 0) -> dict[str, Any]:
    return dict(catalogue.get(name).sources[place].options)


def gold(path: Path, *rows: tuple[str, str]) -> list[Example]:
    lines = [
        "\t".join(HEADER),
        *(f"1-1-2016\thttp://x\t{text}\t" + "\t".join(flags) + "\tnone" for text, flags in rows),
    ]
    path.write_text("\n".join(lines) + "\n")
    return list(READERS["headlines"](path, path.name, options("gold-headlines")))


def test_a_headline_becomes_nine_questions_of_one_group(tmp_path: Path) -> None:
    found = gold(tmp_path / "g.csv", ("Gold up on dollar", "100010"), ("Gold mine may open", "000001"))
    assert len(found) == 18
    assert len({e.group for e in found}) == 2
    assert len({e.id for e in found}) == 18
    questions = options("gold-headlines")["questions"]
    yes = [
        [
            tag
            for tag, question in questions.items()
            for e in half
            if e.inputs["question"] == question and e.target == "yes"
        ]
        for half in (found[:9], found[9:])
    ]
    assert yes == [["price", "up", "past_price"], ["future_event"]]
    assert found[9].source_row == "g.csv:3"


def test_a_tag_that_is_neither_0_nor_1(tmp_path: Path) -> None:
    with pytest.raises(MetierError, match="neither 0 nor 1: 'x'") as error:
        gold(tmp_path / "g.csv", ("Gold up", "100010"), ("Gold down", "00x010"))
    assert error.value.where == "g.csv, row 3, column 'Price Direction Down'"


CONLL = """-DOCSTART- -X- O O

Ann NNP - I-PER
Lee NNP - I-PER
met VBD - O
Acme NNP - I-ORG
Bolt NNP - B-ORG
. . - O

Nobody NN - O
came VBD - O

-DOCSTART- -X- O O

Agreement NNP - I-MISC
"""


def entities(path: Path, text: str, **more: Any) -> list[Example]:
    path.write_text(text)
    return list(READERS["conll"](path, path.name, {**options("financial-ner"), **more}))


def test_entities_in_text_order_by_document(tmp_path: Path) -> None:
    found = entities(tmp_path / "FIN5.txt", CONLL)
    assert [(e.inputs["text"], e.target) for e in found] == [
        ("Ann Lee met Acme Bolt .", "PER: Ann Lee; ORG: Acme; ORG: Bolt"),
        ("Nobody came", "none"),
        ("Agreement", "MISC: Agreement"),
    ]
    assert found[0].group == found[1].group != found[2].group
    assert [e.source_row for e in found] == ["FIN5.txt:3", "FIN5.txt:10", "FIN5.txt:15"]
    kept = entities(tmp_path / "FIN5.txt", CONLL, types=["PER", "ORG"], empty=False)
    assert [e.inputs["text"] for e in kept] == ["Ann Lee met Acme Bolt ."]


@pytest.mark.parametrize("line", ["Lee", "Lee NNP - PERSON", "Lee NNP -"])
def test_a_line_without_a_tag(tmp_path: Path, line: str) -> None:
    with pytest.raises(MetierError, match="not a line of CoNLL") as error:
        entities(tmp_path / "FIN5.txt", f"-DOCSTART- -X- O O\n\nAnn NNP - I-PER\n{line}\n")
    assert error.value.where == "FIN5.txt, row 4"


def conversation(**dialogue: Any) -> dict[str, Any]:
    table = {"2007": {"price": 60.94, "life": 5.0}, "2006": {"price": 37.84}}
    turns = {"conv_questions": ["price in 2007?", "and in 2006?"], "conv_answers": ["60.94", "37.84"], **dialogue}
    return {"id": "Single_MRO/2007/page_1.pdf-2", "doc": {"pre_text": "Before.", "post_text": ".", "table": table},
            "dialogue": turns}  # fmt: skip


def turns(path: Path, *conversations: Any) -> list[Example]:
    path.write_text(json.dumps({"dev": list(conversations)}))
    return list(READERS["convfinqa"](path, path.name, options("convfinqa")))


def test_a_turn_is_asked_with_the_gold_conversation_before_it(tmp_path: Path) -> None:
    other = {**conversation(), "id": "Double_MRO/2007/page_1.pdf"}
    found = turns(tmp_path / "c.json", conversation(), other)
    assert [e.target for e in found] == ["60.94", "37.84"] * 2
    assert found[1].inputs == {
        "document": "Before.\n\n| 2007 | 2006\nprice | 60.94 | 37.84\nlife | 5 |",
        "conversation": "Question: price in 2007?\nAnswer: 60.94\nQuestion: and in 2006?",
    }
    assert len({e.group for e in found}) == 1
    assert found[0].id == "Single_MRO/2007/page_1.pdf-2 turn 1"


def test_a_conversation_that_is_none(tmp_path: Path) -> None:
    for bad in (conversation(conv_answers=["60.94"]), {"id": "x"}):
        with pytest.raises(MetierError, match="not a conversation of ConvFinQA") as error:
            turns(tmp_path / "c.json", conversation(), bad)
        assert error.value.where == "c.json, row 2"
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(MetierError, match="not ConvFinQA's JSON"):
        READERS["convfinqa"](tmp_path / "c.json", "c.json", {})


def test_whole_sets_of_the_hub_are_read_by_split(monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.sources.tables import Row

    asked = []

    def rows(ref: str, *, split: str, **_: Any) -> list[Row]:
        asked.append((ref, split))
        return [Row(1, {"news": f"{split} news", "label": "mildly positive"})]

    monkeypatch.setattr(catalogue, "load_hub_dataset", rows)
    monkeypatch.setattr(catalogue, "hub_reachable", lambda offline: True)
    loaded = catalogue.load_task("nwgi")
    assert [split for _, split in asked] == ["train", "test"]
    assert [(e.inputs["text"], e.target, e.split) for e in loaded.examples] == [
        ("train news", "mildly positive", None),
        ("test news", "mildly positive", None),
    ]
    with pytest.raises(MetierError, match="4047 test rows, this data gives 1 of 2"):
        catalogue.load_task("nwgi", protocol="fingpt")
