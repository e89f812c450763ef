"""Made-up texts with repeated phrases, numbers, and letters that are no ASCII."""

from __future__ import annotations

import random

WORDS = ("the interest rate swap", "net income", "amortization of goodwill", "Société Générale", "profit rose to",
         "in the quarter ended", "cash flow", "EBITDA", "naïve", "利率", "shareholders' equity")  # fmt: skip


def texts(count: int = 200, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    return [
        " ".join(generator.choices(WORDS, k=generator.randint(3, 9))) + f", {generator.randint(0, 999)}.\n"
        for _ in range(count)
    ]
