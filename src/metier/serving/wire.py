"""What goes over the wire to and from a specialist, and what of it is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from metier.errors import MetierError, nearest
from metier.evaluation.conformal import Method
from metier.inference.answers import Answer, TextAnswer
from metier.inference.choices import ChoiceAnswer
from metier.serving.gathering import Demand
from metier.tasks import Task
from metier.tasks.choices import PLACE, check_count
from metier.tasks.options import check_options


@dataclass(frozen=True)
class Limits:
    """What one request, and all that wait together, may take up.

    Attributes:
        body_bytes: of a request.
        texts: of a request.
        characters: of one text with all its fields and options.
        waiting: texts that may wait for the model; beyond it the answer is 503.
        requests: under way at once; beyond it the answer is 503.
        seconds: until a request is given up, its body's arrival not counted, which may take as long.
        head_seconds: until a connection is closed on which no request began.
    """

    body_bytes: int = 1_000_000
    texts: int = 64
    characters: int = 20_000
    waiting: int = 256
    requests: int = 200
    seconds: float = 60.0
    head_seconds: float = 10.0


class RefusedError(MetierError):
    """A request that is not answered, with the HTTP status that says so; ``where`` is a place in the request."""

    def __init__(self, status: int, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what, where=where, fix=fix)
        self.status = status


class Ask(BaseModel):
    """A request. Either ``texts``, or ``inputs`` for a specialist that reads several fields or chooses among options.

    What is left out is as in ``metier predict``: it abstains by its recipe's demand.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: list[str] | None = None
    inputs: list[dict[str, str | list[str]]] | None = Field(
        None, description='Fields by name; for multiple choice also "options", a list of texts.'
    )
    abstain_below: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="Abstain below this probability, 0 to answer everything."
    )
    sets: float | None = Field(
        None, allow_inf_nan=False, description="Also give the labels that hold the right one this often, such as 0.9."
    )
    sets_by: Method = Field("lac", description="lac for the smallest sets, aps for adaptive ones.")

    def demand(self, abstain_below: float | None) -> Demand:
        """How to answer, with the server's own threshold where the request names none."""
        return Demand(abstain_below if self.abstain_below is None else self.abstain_below, self.sets, self.sets_by)


class LabelAnswer(BaseModel):
    """A label; of multiple choice the option's letter, ``answer`` being its text."""

    label: str
    probability: float
    probabilities: dict[str, float]
    abstained: bool
    set: tuple[str, ...] | None = None
    answer: str | None = None
    referral: str | None = None


class WrittenAnswer(BaseModel):
    """Text of a specialist that writes; ``ended`` is false where it was cut off at its longest."""

    answer: str
    ended: bool
    referral: str | None = None


class Reply(BaseModel):
    """Answers in the order of the texts, and who gave them. ``note`` says where sets say nothing."""

    model: str
    engine: str
    engine_reason: str
    notice: str | None
    note: str | None = None
    answers: list[LabelAnswer] | list[WrittenAnswer]


def as_json(answers: Sequence[Answer | TextAnswer]) -> list[LabelAnswer] | list[WrittenAnswer]:
    """Answers as they are sent: every number is the specialist's own, unrounded."""
    written = [
        WrittenAnswer(answer=a.answer, ended=a.ended, referral=a.referral) for a in answers if isinstance(a, TextAnswer)
    ]
    return written or [
        LabelAnswer(
            label=a.label, probability=a.probability, probabilities=a.probabilities, abstained=a.abstained,
            set=a.set, answer=a.text if isinstance(a, ChoiceAnswer) else None, referral=a.referral,
        )
        for a in answers if not isinstance(a, TextAnswer)
    ]  # fmt: skip


def fields_of(task: Task) -> list[str]:
    """The fields that texts go into; options have a place of their own."""
    return [name for name in task.template.fields() if not (task.kind == "multiple_choice" and name == PLACE)]


def example(task: Task) -> dict[str, object]:
    """A request that this task's specialist answers."""
    fields = fields_of(task)
    if task.kind != "multiple_choice" and len(fields) == 1:
        return {"texts": ["…"]}
    options = {PLACE: [f"option {n + 1}" for n in range(task.option_count or 2)]}
    return {"inputs": [dict.fromkeys(fields, "…") | (options if task.kind == "multiple_choice" else {})]}


def _send(task: Task) -> str:
    return f"send {json.dumps(example(task), ensure_ascii=False)}"


def checked(task: Task, ask: Ask, limits: Limits) -> list[str | Mapping[str, str | list[str]]]:
    """The texts of a request as ``Specialist.predict`` takes them.

    Errors: :class:`RefusedError` (413, 422) with the place in the request, or another :class:`MetierError`.
    """
    if (ask.texts is None) == (ask.inputs is None):
        raise RefusedError(422, "a request has texts or inputs, one of them", fix=_send(task))
    name = "inputs" if ask.texts is None else "texts"
    found: list[str | Mapping[str, str | list[str]]] = [*(ask.texts or []), *(ask.inputs or [])]
    if not found:
        raise RefusedError(422, "there is no text to answer", where=name, fix=_send(task))
    if len(found) > limits.texts:
        raise RefusedError(
            413, f"a request may have {limits.texts} texts, this has {len(found)}", where=name, fix="send several"
        )
    for place, one in enumerate(found):
        _check(task, one, f"{name}[{place}]", limits.characters)
    return found


def _check(task: Task, one: str | Mapping[str, str | list[str]], where: str, characters: int) -> None:
    fields, chooses = fields_of(task), task.kind == "multiple_choice"
    if isinstance(one, str):
        if chooses or len(fields) != 1:
            what = f"this specialist reads {', '.join(fields)}{' and options' if chooses else ''}, not texts alone"
            raise RefusedError(422, what, where=where, fix=_send(task))
        one = {fields[0]: one}
    known = [*fields, *([PLACE] if chooses else [])]
    reads = f"this specialist reads {' and '.join(known)}"
    for name in one:
        if name not in known:
            guess = nearest(name, known).split(" known: ")[0]
            fix = guess if guess.startswith("did you mean") else _send(task)
            raise RefusedError(422, f"there is no field '{name}': {reads}", where=where, fix=fix)
    for name in known:
        if name not in one:
            raise RefusedError(422, f"the field '{name}' is missing: {reads}", where=where, fix=_send(task))
    texts = [text for value in one.values() for text in ([value] if isinstance(value, str) else value)]
    if (length := sum(map(len, texts))) > characters:
        what = f"a text may have {characters:,} characters, this has {length:,}"
        raise RefusedError(413, what, where=where, fix="shorten it")
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        what = "a text holds half a character (a lone surrogate)"
        raise RefusedError(422, what, where=where, fix="send valid text") from None
    for name in fields:
        value = one[name]
        if not isinstance(value, str):
            raise RefusedError(422, f"the field '{name}' is a text, not a list", where=where)
    if not any(str(one[name]).strip() for name in fields):
        raise RefusedError(422, "the text is empty", where=where, fix="send words, or leave it out")
    if chooses:
        _check_options(task, one[PLACE], f"{where}.{PLACE}")


def _check_options(task: Task, options: str | list[str], where: str) -> None:
    if isinstance(options, str):
        raise RefusedError(422, "options are a list of texts", where=where, fix='such as ["yes", "no"]')
    given = [text.strip() for text in options]
    if not all(given):
        raise RefusedError(422, "an option is empty", where=where, fix="leave it out")
    try:
        check_count(task, len(given), where)
        check_options(given, where)
    except MetierError as error:
        fix = f"give {task.option_count} options, all different" if task.option_count else "give two or more, different"
        raise RefusedError(422, error.what, where=where, fix=fix) from error
