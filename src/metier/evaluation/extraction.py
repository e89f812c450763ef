"""Answers that are written out: entities found in a sentence, and short answers that must equal the right one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from fractions import Fraction

import numpy as np

from metier.errors import MetierError
from metier.evaluation.groups import extreme_share, interval, share, summed
from metier.evaluation.intervals import RESAMPLES, Floats, Ints, require_examples, resample_sums
from metier.evaluation.paired import extreme_difference
from metier.evaluation.scores import Score
from metier.tasks import Entity, parse_entities

Answer = Sequence[Entity] | None


def read_golds(texts: Sequence[str], types: Collection[str] = ()) -> list[list[Entity]]:
    """Entities of the right answers.

    Errors: :class:`MetierError` for one that is not in the form that is asked of a model.
    """
    found = []
    for text in texts:
        entities = parse_entities(text, types)
        if entities is None:
            raise MetierError(
                f"a right answer is not 'TYPE: words; …' or 'none': {text[:100]!r}", fix="mend the column of answers"
            )
        found.append(entities)
    return found


def same_entities(gold: Sequence[Entity], answer: Answer) -> bool:
    """Whether just the right entities were given, each as often as it occurs, in any order."""
    return answer is not None and Counter(gold) == Counter(answer)


def extraction_metrics(
    golds: Sequence[Sequence[Entity]],
    answers: Sequence[Answer],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    groups: Ints | None = None,
) -> dict[str, Score]:
    """``entity_f1``, ``entity_precision``, ``entity_recall`` and ``exact_match`` with 95 % intervals.

    Micro averages: entities are counted over all sentences (Tjong Kim Sang & De Meulder 2003), each found if type and
    words agree; here by words and not by position, because a model that writes names no positions. An answer that
    cannot be read finds nothing and claims nothing. The interval is a percentile bootstrap over sentences, because
    the entities of one sentence are not independent. Where all samples are the same (everything found and nothing
    else, or nothing found) they would claim certainty: there the interval is that of the share of sentences.

    ``exact_match`` is the share of sentences with just the right entities (Clopper-Pearson). Precision is left out
    where no entity was given at all: it has no meaning there.

    Args:
        golds: (n,), the right entities of each sentence.
        answers: (n,), the given ones; None where the answer could not be read.
        groups: (n,), of sentences that are no independent draws: whole groups are drawn then.

    Raises:
        MetierError: no sentences, or not one entity in them.
    """
    counts = _counts(golds, answers)
    totals, n = counts.sum(0), len(counts)
    samples = resample_sums(summed(counts, groups), seed=seed, resamples=resamples)
    right = [same_entities(gold, answer) for gold, answer in zip(golds, answers, strict=True)]
    scores = {}
    for name, measure in _MEASURES.items():
        if np.isnan(value := float(measure(totals[None])[0])):
            continue
        if n == 1:
            scores[name] = Score(value, None, None, n, reason="one sentence has no spread to measure")
        elif value in (0.0, 1.0):
            scores[name] = extreme_share(value, n, groups)
        else:
            scores[name] = interval(value, _known(measure(samples)), n, groups)
    return scores | {"exact_match": share(right, groups)}


def entity_f1_difference(
    golds: Sequence[Sequence[Entity]],
    this: Sequence[Answer],
    other: Sequence[Answer],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    groups: Ints | None = None,
) -> Score:
    """``entity_f1(this) - entity_f1(other)`` with the percentile interval of a bootstrap over sentences, both systems
    on the same sample.

    Where the two never differ in a count, neither finds anything, or one finds everything and the other nothing, the
    interval is plus and minus the Clopper-Pearson upper end of 0 of n, within [-1, 1].
    """
    a, b = _counts(golds, this), _counts(golds, other)
    n = len(a)
    if np.array_equal(a, b) or not (a[:, 0].any() or b[:, 0].any()):
        return extreme_difference(0.0, n, groups)
    value = float(_f1(a.sum(0)[None])[0] - _f1(b.sum(0)[None])[0])
    if abs(value) == 1:
        return extreme_difference(value, n, groups)
    samples = resample_sums(summed(np.concatenate([a, b], axis=1), groups), seed=seed, resamples=resamples)
    return interval(value, _known(_f1(samples[:, :3]) - _f1(samples[:, 3:])), n, groups, ends=(-1.0, 1.0))


def _counts(golds: Sequence[Sequence[Entity]], answers: Sequence[Answer]) -> Floats:
    """Entities found, there, and given, a sentence: (n, 3)."""
    require_examples(len(golds))
    rows = [
        [sum((Counter(gold) & Counter(answer or ())).values()), len(gold), len(answer or ())]
        for gold, answer in zip(golds, answers, strict=True)
    ]
    counts = np.array(rows, np.float64)
    if not counts[:, 1].any():
        raise MetierError("there is no entity to find in any sentence", fix="check the split and the answers")
    return counts


def _share(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _f1(counts: Floats) -> Floats:
    return _share(2 * counts[:, 0], counts[:, 1] + counts[:, 2])


def _recall(counts: Floats) -> Floats:
    return _share(counts[:, 0], counts[:, 1])


def _precision(counts: Floats) -> Floats:
    return _share(counts[:, 0], counts[:, 2])


_MEASURES = {"entity_f1": _f1, "entity_precision": _precision, "entity_recall": _recall}


def _known(values: Floats) -> Floats:
    """Without the samples that hold no entity: there the measure has no meaning."""
    return np.asarray(values[~np.isnan(values)])


_NUMBER = re.compile(r"([+-]?)\$?([+-]?)(\d{1,3}(?:,\d{3})+|\d+)?(\.\d+)?(%?)")
_MOST_DIGITS = 400


def normalised_answer(text: str) -> str:
    """What two answers must have in common to be the same.

    Text: Unicode NFKC, lower case, single spaces, no full stop at the end. If the whole answer is a number, its value:
    thousands commas, a dollar sign, a plus sign and zeros at the end do not count, and 14.1% is 0.141, as in the
    scorer of FinQA and ConvFinQA (Chen et al. 2021, 2022). Nothing else is: units (``5 million``), other currencies,
    decimal commas and brackets for losses stay as they are written, and nothing is rounded.
    """
    flat = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    flat = (flat[:-1] if flat.endswith(".") else flat).rstrip()
    compact = flat.replace("−", "-").replace("$ ", "$").replace(" %", "%")
    found = _NUMBER.fullmatch(compact)
    if not found or not (found[3] or found[4]) or (found[1] and found[2]) or len(compact) > _MOST_DIGITS:
        return flat
    value = Fraction((found[3] or "0").replace(",", "") + (found[4] or ""))
    if "-" in (found[1], found[2]):
        value = -value
    return f"N{value / 100 if found[5] else value}"  # no other answer has a capital left


def exact(gold: str, answer: str | None) -> bool:
    """Whether an answer equals the right one, both normalised. One that could not be read does not."""
    return answer is not None and normalised_answer(gold) == normalised_answer(answer)


def exact_match(golds: Sequence[str], answers: Sequence[str | None], groups: Ints | None = None) -> Score:
    """Share of answers equal to the right one (:func:`normalised_answer`), with its interval."""
    return share([exact(gold, answer) for gold, answer in zip(golds, answers, strict=True)], groups)
