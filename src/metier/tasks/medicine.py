"""Readers of medicine's odd shapes: examinations, abstracts with their published split, consumers' questions."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.sources.tables import Row, Value, read_table

Options = Mapping[str, Any]

FOLDS = 10
_LABELS = ("yes", "no", "maybe")
_OFFICIAL_TEST = "406e3b89eff577ed"
"""First digits of the SHA-256 of the 500 official test ids, sorted, one a line."""


def medqa(path: Path, options: Options) -> Iterator[Row]:
    """MedQA as JSON lines: ``question``, ``options`` by letter, ``answer_idx``; ``context`` sentences go before."""
    for row in read_table(path, format="jsonl"):
        try:
            choices = json.loads(str(row.values["options"]))
            context = json.loads(str(row.values.get("context") or "[]"))
            gold = list(choices).index(row.values["answer_idx"])
            texts = {f"choice{i}": _spaces(str(text)) for i, text in enumerate(choices.values(), 1)}
            question = _spaces(" ".join([*context, str(row.values["question"])]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            where = f"{path.name}, row {row.number}"
            raise MetierError(f"not a question of MedQA: {error!r}", where=where) from error
        yield Row(row.number, {"text": question, **texts, "answer": f"choice{gold + 1}"})


def pubmedqa(path: Path, options: Options) -> Iterator[Row]:
    """PubMedQA's 1,000 labelled abstracts, with the part that the authors' split gives each.

    The authors publish how they split (Jin et al. 2019, section 3.2 and their repository), and the ids of the official
    test half. The same procedure is carried out here on the rows in their order, and its test half is checked against
    a hash of those ids.

    Option ``setting``: ``required`` gives abstract and question (the conclusion is left out), ``free`` the conclusion
    and the question, ``question`` the question alone; a number 0 to 9 is ``required`` with that fold of the authors'
    cross-validation as the validation part.

    Errors: :class:`MetierError` for another file, or rows in another order.
    """
    entries = _abstracts(path)
    setting = str(options.get("setting", "required"))
    parts = _official([(key, entry["label"]) for key, entry in entries.items()], path)
    for number, (key, entry) in enumerate(entries.items(), 1):
        part = parts[key]
        fold = None if part == "test" else part
        split = "test" if part == "test" else "validation" if setting == fold else "train"
        context = entry["conclusion"] if setting == "free" else entry["context"]
        values: dict[str, Value] = {"id": key, "question": entry["question"], "label": entry["label"], "split": split}
        yield Row(number, values if setting == "question" else {**values, "context": context})


def _abstracts(path: Path) -> dict[str, dict[str, str]]:
    """Entries by id, in the file's order: the authors' JSON, or the Hub's parquet."""
    try:
        if path.suffix == ".json":
            return {
                str(key): _entry(e["QUESTION"], e["CONTEXTS"], e["LONG_ANSWER"], e["final_decision"])
                for key, e in json.loads(path.read_text("utf-8")).items()
            }
        return {
            str(row.values["pubid"]): _entry(
                row.values["question"], json.loads(str(row.values["context"]))["contexts"],
                row.values["long_answer"], row.values["final_decision"],
            )
            for row in read_table(path)
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetierError(f"not PubMedQA's labelled set: {error!r}", where=path.name, fix="fetch it again") from error


def _entry(question: object, contexts: Sequence[str], conclusion: object, label: object) -> dict[str, str]:
    if label not in _LABELS:
        raise ValueError(f"a label is {label!r}")
    return {"question": _spaces(str(question)), "context": _spaces(" ".join(contexts)),
            "conclusion": _spaces(str(conclusion)), "label": str(label)}  # fmt: skip


def _official(labelled: Sequence[tuple[str, str]], path: Path) -> dict[str, str]:
    """``test``, or the number of the fold that an id stands in as validation."""
    generator = random.Random(0)
    develop, test = _stratified(labelled, 2, generator)
    found = hashlib.sha256("\n".join(sorted(key for key, _ in test)).encode()).hexdigest()
    if not found.startswith(_OFFICIAL_TEST):
        raise MetierError(
            "these rows do not give the official test half of PubMedQA: rows are lacking, or in another order",
            where=path.name,
            fix="read the authors' ori_pqal.json as it is",
        )
    folds = _stratified(develop, FOLDS, generator)
    parts = {key: str(number) for number, fold in enumerate(folds) for key, _ in fold}
    return parts | dict.fromkeys((key for key, _ in test), "test")


def _stratified(
    labelled: Sequence[tuple[str, str]], count: int, generator: random.Random
) -> list[list[tuple[str, str]]]:
    """Parts of near equal size with the labels in proportion; the draws in the order the authors make them."""
    shuffled = {}
    for label in _LABELS:
        keys = [key for key, held in labelled if held == label]
        generator.shuffle(keys)
        shuffled[label] = keys
    parts = []
    for number in range(count):
        part = []
        for label, keys in shuffled.items():
            size = math.ceil(len(keys) / count)
            end = None if number == count - 1 else (number + 1) * size
            part += [(key, label) for key in keys[number * size : end]]
        parts.append(part)
    if len(parts[-1]) != len(parts[0]):  # the last is short: it gets one of each of the others
        for part in parts[:-1]:
            moved = generator.choice(part)
            parts[-1].append(moved)
            part.remove(moved)
    return parts


def pubmedqa_lines(path: Path, options: Options) -> Iterator[Row]:
    """PubMedQA as JSON lines: ``question``, ``passage`` of numbered contexts, ``answer``; ``setting`` as above."""
    for row in read_table(path, format="jsonl"):
        answer = str(row.values.get("answer")).strip().lower()
        if answer not in _LABELS:
            raise MetierError(f"an answer is none of {', '.join(_LABELS)}: {answer!r}",
                              where=f"{path.name}, row {row.number}")  # fmt: skip
        context = re.sub(r"(?:^|\n)Context \(\d+\): ", " ", str(row.values["passage"]))
        question = _spaces(str(row.values["question"]))
        values: dict[str, Value] = {"question": f"{question[:1].upper()}{question[1:]}", "label": answer}
        yield Row(
            row.number, values if options.get("setting") == "question" else {**values, "context": _spaces(context)}
        )


def liveqa(path: Path, options: Options) -> Iterator[Row]:
    """LiveQA-Medical 2017: subject and message of a consumer's question, and the first reference answer."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise MetierError(f"not LiveQA's XML: {error}", where=path.name, fix="fetch it again") from error
    for number, entry in enumerate(root.iter("NLM-QUESTION"), 1):
        subject, message = (
            _spaces(entry.findtext(f"Original-Question/{name}") or "") for name in ("SUBJECT", "MESSAGE")
        )
        answer = _spaces(entry.findtext(".//ANSWER") or "")
        yield Row(number, {"id": entry.get("qid"), "subject": subject, "message": message, "answer": answer})


def lambada(path: Path, options: Options) -> Iterator[Row]:
    """LAMBADA, detokenised: a passage without its last word, and that word."""
    for row in read_table(path, format=None if path.suffix == ".parquet" else "jsonl"):
        text, _, word = str(row.values["text"]).rstrip().rpartition(" ")
        if not text or not word:
            raise MetierError("a passage has one word only", where=f"{path.name}, row {row.number}")
        yield Row(row.number, {"text": text, "word": word})


def _spaces(text: str) -> str:
    return " ".join(text.split())
