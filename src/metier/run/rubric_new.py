"""Making a workbench: blinded items, and raters with their share of them."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from metier.errors import MetierError, nearest
from metier.evaluation.rubric_axes import SIDES, TEXTS, Rubric
from metier.files import write_dir, write_json, write_text
from metier.run.rubric import Item, Rater, Workbench, check_name, write_rater
from metier.run.rubric_answers import Question


@dataclass(frozen=True)
class Made:
    """A new workbench, and what its maker should know of it."""

    bench: Workbench
    notes: list[str]


@dataclass(frozen=True)
class _Blind:
    item: Item
    question: Question
    systems: tuple[str, ...]


def make(
    folder: Path,
    questions: Sequence[Question],
    rubric: Rubric,
    raters: Sequence[str],
    *,
    per_question: int | None = None,
    most: int | None = None,
    against: str | None = None,
    seed: int = 0,
) -> Made:
    """Write a workbench.

    A question's answers all go to the same raters, so that systems are compared within raters. Of a comparison, each
    rater has either system of a pair on side A equally often.

    Args:
        folder: must not exist, or be empty.
        questions: each with every system's answer.
        rubric: the axes.
        raters: names of people.
        per_question: raters of each question; all if left out. Raters' shares differ by one question at most.
        most: draw so many questions, if there are more.
        against: of a comparison, the system that each other one is compared with; every pair if left out.
        seed: of every drawing; the same seed writes the same bytes.

    Raises:
        MetierError: a rater twice, more raters a question than there are, too few systems, a folder in use.
    """
    people = _checked_raters(raters)
    each = len(people) if per_question is None else per_question
    if not 1 <= each <= len(people):
        raise MetierError(f"{each} raters a question, but there are {len(people)}", fix="lower --per-question")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MetierError("the folder is in use", where=str(folder), fix="name another: ratings are never overwritten")
    if most is not None and most < len(questions):
        drawn = set(random.Random(f"{seed}:questions").sample(range(len(questions)), most))
        questions = [question for place, question in enumerate(questions) if place in drawn]
    blind = _blind(questions, rubric, against, seed)
    shares = _shares(questions, people, each, seed)
    with write_dir(folder) as temporary:
        write_text(temporary / "rubric.yaml", rubric_yaml(rubric))
        write_text(temporary / "guide.md", guide(rubric))
        write_text(temporary / "items.jsonl", "".join(_line(one.item) for one in blind))
        key = {one.item.id: {"question": one.question.id, "systems": list(one.systems)} for one in blind}
        write_json(temporary / "key.json", {"seed": seed, "items": key})
        for name in people:
            mine = [one for one in blind if name in shares[one.question.id]]
            write_rater(temporary, Rater(name, _ordered(mine, f"{seed}:{name}", rubric)))
    return Made(Workbench(folder), _notes(questions, blind, shares))


def _line(item: Item) -> str:
    record = {"item": item.id, "question": item.question, "answers": list(item.answers)}
    return json.dumps(record, ensure_ascii=False) + "\n"


def _checked_raters(raters: Sequence[str]) -> list[str]:
    names = [check_name(name.strip()) for name in raters]
    twice = [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]
    if twice:
        raise MetierError(f"the rater '{twice[0]}' is named twice", where="--raters", fix="give each rater one name")
    if not names:
        raise MetierError("there is no rater", where="--raters", fix="name them: --raters anna,ben")
    return names


def _blind(questions: Sequence[Question], rubric: Rubric, against: str | None, seed: int) -> list[_Blind]:
    """Items in an order and under names that say nothing of their systems."""
    systems = list(questions[0].answers)
    if against is not None and against not in systems:
        raise MetierError(f"there is no system '{against}'", where="--against", fix=nearest(against, systems))
    groups: list[tuple[str, ...]] = [(system,) for system in systems]
    if rubric.mode == "pairwise":
        pairs = itertools.combinations(systems, 2)
        groups = [pair for pair in pairs if against is None or against in pair]
        if not groups:
            raise MetierError("a comparison needs two systems", fix="add answers of another, or use --mode independent")
    drawn = random.Random(f"{seed}:items")
    found = [(question, group) for question in questions for group in groups]
    drawn.shuffle(found)
    blind = []
    for number, (question, group) in enumerate(found, 1):
        order = tuple(drawn.sample(group, len(group)))
        answers = tuple(question.answers[system].strip() for system in order)
        blind.append(_Blind(Item(f"i{number:05d}", question.text.strip(), answers), question, order))
    return blind


def _shares(questions: Sequence[Question], people: Sequence[str], each: int, seed: int) -> dict[str, set[str]]:
    """Raters of each question: the least busy first, then those who met least often, so that all pairs overlap."""
    drawn = random.Random(f"{seed}:raters")
    load: Counter[str] = Counter()
    met: Counter[frozenset[str]] = Counter()
    found = {}
    for question in drawn.sample(list(questions), len(questions)):
        chosen: list[str] = []
        for _ in range(each):
            free = [name for name in people if name not in chosen]
            ranks = {
                name: (load[name], sum(met[frozenset((name, other))] for other in chosen), drawn.random())
                for name in free
            }
            chosen.append(min(free, key=ranks.__getitem__))
        load.update(chosen)
        met.update(frozenset(pair) for pair in itertools.combinations(chosen, 2))
        found[question.id] = set(chosen)
    return found


def _ordered(mine: Sequence[_Blind], seed: str, rubric: Rubric) -> dict[str, bool]:
    """A rater's items in random order, each with whether A and B change places.

    Every question comes once before any comes again, so that answers to one question are not seen in a row.
    """
    drawn = random.Random(seed)
    by_question: dict[str, list[_Blind]] = {}
    for one in drawn.sample(list(mine), len(mine)):
        by_question.setdefault(one.question.id, []).append(one)
    order: list[_Blind] = []
    while left := [question for question, own in by_question.items() if own]:
        turn = drawn.sample(left, len(left))
        if order and turn[0] == order[-1].question.id:
            turn.append(turn.pop(0))
        order += [by_question[question].pop() for question in turn]
    if rubric.mode == "independent":
        return {one.item.id: False for one in order}
    flips = {}
    for pair in sorted({tuple(sorted(one.systems)) for one in mine}):
        of_pair = [one for one in order if tuple(sorted(one.systems)) == pair]
        first = drawn.randrange(2)
        for place, one in enumerate(drawn.sample(of_pair, len(of_pair))):
            # whether the pair's first system stands on side A: in turns
            flips[one.item.id] = (one.systems[0] == pair[0]) != ((place + first) % 2 == 0)
    return {one.item.id: flips[one.item.id] for one in order}


def _notes(questions: Sequence[Question], blind: Sequence[_Blind], shares: dict[str, set[str]]) -> list[str]:
    load = Counter(name for names in shares.values() for name in names)
    notes = [f"{name}: {count} questions" for name, count in sorted(load.items())]
    systems = [name for name in questions[0].answers if len(name) > 2 or not name.isalpha()]  # but not: a
    told = [
        (question, system)
        for question in questions
        for system, answer in question.answers.items()
        if any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", answer, re.IGNORECASE) for name in systems)
    ]
    if told:
        question, system = told[0]
        notes.append(
            f"{len(told)} answers hold the name of a system, which may tell raters whose they are; "
            f"the first: {system}, '{question.text[:60]}'"
        )
    same = sum(len(one.item.answers) == 2 and one.item.answers[0] == one.item.answers[1] for one in blind)
    if same:
        notes.append(f"{same} comparisons are of two answers that are word for word the same")
    return notes


def rubric_yaml(rubric: Rubric) -> str:
    """A rubric as the YAML that :func:`~metier.evaluation.rubric_axes.read_rubric` reads."""
    values = rubric.model_dump(exclude_defaults=True) | {"mode": rubric.mode}
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100))


def guide(rubric: Rubric) -> str:
    """What to write into which column of a sheet, as Markdown."""
    texts = " and ".join(f"`{name}`" for name in TEXTS[rubric.mode])
    lines = [
        f"# {rubric.title}", "",
        f"One row of the sheet is one item: read `question` and {texts}, then fill in every column below with one of "
        "its options, word for word. Leave the other columns as they are.", "",
    ]  # fmt: skip
    for axis in rubric.axes:
        options = SIDES if rubric.mode == "pairwise" else axis.options
        lines += [f"**`{axis.name}`** {axis.question}", "", *(f"- {option}" for option in options), ""]
    return "\n".join([*lines, f"Axes: {rubric.source}.", ""])
