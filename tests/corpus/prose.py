"""English sentences made from a seed: enough words and variety to pass every quality rule."""

from __future__ import annotations

import random

SUBJECTS = "the bank|a central banker|our committee|this patient|the market|a careful physician|the treasury".split("|")
VERBS = "raised|considered|reported|described|postponed|examined|reduced|explained|confirmed|questioned".split("|")
OBJECTS = (
    "the policy rate|an unusual finding|the balance sheet|a persistent cough|the price of energy|its earlier forecast"
).split("|")
ENDS = (
    "after a long debate|with great caution|because of the inflation outlook|and that was unexpected|"
    "to the surprise of many observers|in view of the evidence that we have|before the end of the quarter"
).split("|")
EXTRAS = "quietly cautiously openly formally rarely often finally initially broadly narrowly swiftly calmly".split()


def prose(seed: int | str, words: int = 80) -> str:
    """At least ``words`` words in sentences; another text for every seed."""
    generator = random.Random(f"prose {seed}")
    sentences: list[str] = []
    while sum(len(sentence.split()) for sentence in sentences) < words:
        parts = [generator.choice(pool) for pool in (SUBJECTS, EXTRAS, VERBS, OBJECTS, ENDS)]
        parts.insert(generator.randrange(5), f"number{generator.randrange(10**6)}")
        sentences.append(" ".join(parts).capitalize() + ".")
    return " ".join(sentences)
