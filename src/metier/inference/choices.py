"""Multiple choice by a specialist: which of a question's own options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from metier.errors import MetierError
from metier.evaluation.choices import option_item, per_character
from metier.evaluation.conformal import Method
from metier.evaluation.scoring import normalise, score
from metier.inference.abstaining import abstentions, label_sets
from metier.inference.answers import Answer
from metier.inference.asked import refuse_broken, text_fields
from metier.tasks import Example
from metier.tasks.choices import PLACE, asked
from metier.tasks.options import LETTERS

if TYPE_CHECKING:
    from metier.inference.specialist import Specialist


@dataclass(frozen=True)
class ChoiceAnswer(Answer):
    """What a specialist says of one question: ``label`` and the probabilities are by letter.

    Attributes:
        text: the option that the letter stands for.
    """

    text: str = ""


def choose(
    specialist: Specialist,
    questions: Sequence[str | Mapping[str, Any]],
    *,
    abstain_below: float | None,
    sets: float | None,
    sets_by: Method,
) -> list[ChoiceAnswer]:
    """Answer questions; each is a mapping of the template's fields, with ``options``, a list of texts.

    The other arguments are those of :meth:`Specialist.predict`; a set holds letters.

    Errors: :class:`MetierError` for a question that is empty or without its options, with two that are the same, or
    with another number of them than the specialist learnt.
    """
    total = len(questions)
    examples = [_question(specialist, one, f"question {n} of {total}") for n, one in enumerate(questions, 1)]
    if not examples:
        return []
    shown = asked(specialist.bundle.task, examples)
    scored = score(specialist.runner, [option_item(specialist.encoder, example) for example in shown])
    options = zip(scored.logprobs, shown, strict=True)
    options_logprobs = [np.log(normalise(per_character(values, seen.choices))) for values, seen in options]
    rows = [normalise(each / specialist.bundle.temperature) for each in options_logprobs]
    abstained = abstentions(specialist.bundle, rows, abstain_below)
    chosen: Sequence[tuple[str, ...] | None] = [None] * len(rows)
    if sets is not None:
        chosen = label_sets(specialist.bundle, LETTERS[: max(map(len, rows))], rows, sets, sets_by)
    found = []
    for example, each, probabilities, silent, few in zip(
        examples, options_logprobs, rows, abstained, chosen, strict=True
    ):
        letters = LETTERS[: len(each)]
        best = int(probabilities.argmax())
        found.append(
            ChoiceAnswer(
                label=letters[best],
                probability=float(probabilities[best]),
                probabilities=dict(zip(letters, probabilities.tolist(), strict=True)),
                logprobs=dict(zip(letters, each.tolist(), strict=True)),
                abstained=silent,
                set=few,
                referral=_referral(specialist, example),
                text=example.choices[best],
            )
        )
    return found


def _referral(specialist: Specialist, example: Example) -> str | None:
    flag = specialist.guard.check(*example.inputs.values()) if specialist.guard else None
    return flag.referral if flag else None


def _question(specialist: Specialist, question: str | Mapping[str, Any], place: str) -> Example:
    fields = [name for name in specialist.bundle.task.template.fields() if name != PLACE]
    if not isinstance(question, Mapping) or PLACE not in question:
        raise MetierError(
            "this specialist chooses among the options of a question, and there are none",
            where=place,
            fix="give --in a table with --options COLUMN (repeat it, or one column with a list); "
            f"in Python a mapping of {', '.join(fields)} and options",
        )
    inputs = text_fields(fields, question, place, specialist.bundle.task.reading.clean)
    choices = question[PLACE]
    if not isinstance(choices, (list, tuple)) or not all(isinstance(text, str) for text in choices):
        raise MetierError("options are a list of texts", where=place, fix='such as ["yes", "no"]')
    for option in choices:
        refuse_broken(option, f"an option of {place}")
    options = tuple(option.strip() for option in choices)  # as those that were learnt
    if not all(options):
        raise MetierError("an option is empty", where=place, fix="give it words, or leave it out")
    # which one is right is not known; the place of the target is not looked at
    return Example(place, inputs, next(iter(options), ""), options, source_row=place)
