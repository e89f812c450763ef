"""Made-up texts with repeated phrases, numbers, and letters that are no ASCII."""

from __future__ import annotations

import random

PHRASES = ("the interest rate swap", "net income", "amortization of goodwill", "Société Générale", "profit rose to",
           "in the quarter ended", "cash flow", "EBITDA", "naïve", "利率", "shareholders' equity")  # fmt: skip
SYLLABLES = ("ba", "con", "der", "fi", "gul", "ment", "nor", "pra", "que", "ris", "sta", "tion", "ver", "zu")


def texts(count: int = 200, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    maker = random.Random(1)
    words = ["".join(maker.choices(SYLLABLES, k=maker.randint(2, 4))) for _ in range(120)]
    found = []
    for _ in range(count):
        chosen = generator.choices(PHRASES, k=generator.randint(2, 6)) + generator.choices(words, k=6)
        generator.shuffle(chosen)
        found.append(" ".join(chosen) + f", {generator.randint(0, 999)}.\n")
    return found
