"""English sentences made from a seed: enough words and variety to pass every quality rule."""

from __future__ import annotations

import random

_TEXT = """
bank policy rate committee patient market treasury physician inflation balance sheet cough energy price forecast
finding report debate caution outlook observer evidence quarter growth labour wages supply demand credit household
mortgage lender deposit reserve currency exchange trade tariff import export budget deficit revenue tax hospital
clinic symptom fever treatment therapy dosage trial sample study result theory method measure survey index output
industry factory machine worker contract salary pension insurance claim premium risk loss profit margin share
investor fund bond yield maturity coupon auction dealer broker commission fee account ledger audit standard rule
court judge appeal statute agency board member chair meeting minute statement press question answer paper chapter
section table figure model equation variable parameter estimate error sample region city village river mountain
forest farmer harvest grain cattle milk sugar coffee cotton steel copper silver harbour vessel cargo railway bridge
tunnel highway vehicle engine battery turbine reactor pipeline refinery laboratory experiment microscope bacteria
virus protein enzyme tissue muscle nerve kidney liver heart artery pressure oxygen glucose hormone surgery nurse
ward discharge history
"""
WORDS = _TEXT.split()
LINKS = ["the", "of", "and", "that", "to", "with", "have", "in", "for", "by", "from", "after", "under", "while"]


def prose(seed: int | str, words: int = 80) -> str:
    """At least ``words`` words in sentences; another text for every seed."""
    generator = random.Random(f"prose {seed}")
    sentences: list[str] = []
    while sum(len(sentence.split()) for sentence in sentences) < words:
        parts = [generator.choice(WORDS if place % 2 else LINKS) for place in range(generator.randrange(9, 16))]
        sentences.append(" ".join([generator.choice(WORDS).capitalize(), "is", *parts]) + ".")
    return " ".join(sentences)
