"""Red flags in a text, and the referral that stands beside or before an answer: a floor, not a claim of safety.

The rules are data (``safety/rules.yaml``), and so is the labelled list that they are measured on
(``safety/sentences.tsv``). The list was written before the rules; one half was looked at while they were written, the
other was kept aside. A few of its sentences were seen when rules were widened; the rule "others better off" nearly
repeats one of them, so that of medicine's held-out half one sentence found is no evidence.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from metier.evaluation.intervals import proportion
from metier.evaluation.scores import Score
from metier.tasks.dialogues import without_speakers

NONE = "none"
_PLAIN = str.maketrans({**dict.fromkeys("’‘‛`´ʹʻʼ′＇", "'"), "“": '"', "”": '"', "–": "-", "—": "-"})
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
# a line that goes on in the next one: no empty line between them, and no item of a list
_BROKEN = re.compile(r"(?<=\S)\n(?=[^\n])(?!(?:[-*•–]|\(?\w{1,2}[.):]) )")


@dataclass(frozen=True)
class Rule:
    """A red flag: found in a sentence that holds every pattern of ``all`` and none of ``none``."""

    name: str
    category: str
    all: tuple[re.Pattern[str], ...]
    none: tuple[re.Pattern[str], ...]

    def found_in(self, sentence: str) -> bool:
        """Whether a sentence, made plain by :func:`plain`, raises it."""
        return all(p.search(sentence) for p in self.all) and not any(p.search(sentence) for p in self.none)


@dataclass(frozen=True)
class Flag:
    """A text's red flag: its category, the rule that raised it, and what to answer."""

    category: str
    rule: str
    referral: str


@dataclass(frozen=True)
class Guard:
    """What a domain's specialists say of themselves, and which texts they refer elsewhere."""

    domain: str
    intended_use: str
    notice: str
    referrals: Mapping[str, str]
    rules: tuple[Rule, ...]

    def check(self, *texts: str) -> Flag | None:
        """The gravest red flag of the texts (the fields of one question), in the order of ``referrals``; else None.

        Who speaks is no part of what is said: "Patient: my chest hurts" is not about patients.
        """
        sentences = [sentence for text in texts for sentence in _sentences(without_speakers(plain(text)))]
        for category, referral in self.referrals.items():
            for rule in self.rules:
                if rule.category == category and any(rule.found_in(sentence) for sentence in sentences):
                    return Flag(category, rule.name, referral)
        return None


@dataclass(frozen=True)
class Sentence:
    """A labelled sentence: ``category`` is that of a flag or ``none``; ``half`` is ``tuned`` or ``held-out``."""

    domain: str
    category: str
    kind: str
    half: str
    text: str


def plain(text: str) -> str:
    """A text in small letters, with straight apostrophes, single spaces and nothing invisible; line breaks stay."""
    seen = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    # before NFKC, which takes some apostrophes apart
    folded = unicodedata.normalize("NFKC", seen.translate(_PLAIN)).lower()
    lines = re.sub(r"\r\n?|[\v\f\x85\u2028\u2029]", "\n", folded)
    return re.sub(r" ?\n ?", "\n", re.sub(r"[^\S\n]+", " ", lines)).strip()


def _sentences(text: str) -> list[str]:
    """The sentences of a plain text: each line by itself, and as they read where a line goes on in the next one."""
    both = [*_SENTENCE.split(text), *_SENTENCE.split(_BROKEN.sub(" ", text))]
    return [sentence for sentence in dict.fromkeys(both) if sentence]


@functools.cache
def guard(domain: str) -> Guard | None:
    """The guard of a task's domain; None for one that has no rules."""
    data = _data()
    about = data.get(domain)
    if not isinstance(about, dict) or "rules" not in about:
        return None
    words: dict[str, str] = data["words"]

    def patterns(rule: Mapping[str, Any], part: str) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(_filled(pattern, words)) for pattern in rule.get(part, ()))

    rules = [Rule(r["name"], r["category"], patterns(r, "all"), patterns(r, "none")) for r in about["rules"]]
    return Guard(domain, about["intended_use"], about["notice"], about["referrals"], tuple(rules))


def domains() -> list[str]:
    """Domains that have a guard."""
    return [name for name in _data() if guard(name)]


@functools.cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((files(__package__) / "safety" / "rules.yaml").read_text("utf-8"))
    return found


def _filled(pattern: str, words: Mapping[str, str]) -> str:
    """A pattern with its words, which may hold others; ``n't`` is also found without its apostrophe."""
    while (filled := re.sub(r"\{([a-z]+)\}", lambda name: words[name[1]], pattern)) != pattern:
        pattern = filled
    return pattern.replace("n't", "n'?t")


@functools.cache
def labelled() -> tuple[Sentence, ...]:
    """The labelled list that comes with the rules."""
    lines = (files(__package__) / "safety" / "sentences.tsv").read_text("utf-8").splitlines()[1:]
    return tuple(Sentence(*line.split("\t")) for line in lines)


@dataclass(frozen=True)
class Measured:
    """What the rules find and miss, each a share with its 95 % Clopper-Pearson interval.

    Attributes:
        recall: sentences with a red flag that raise one, of whatever category.
        false_alarms: sentences without a red flag that raise one nevertheless; None where there are none.
        by_category: recall of each category, a flag of another category counted as a miss.
        missed: flagged sentences that raise nothing.
        alarmed: harmless sentences that raise a flag.
    """

    recall: Score | None
    false_alarms: Score | None
    by_category: dict[str, Score]
    missed: list[Sentence]
    alarmed: list[Sentence]

    def to_json(self) -> dict[str, Any]:
        """Scores as in ``scores.json``, and the texts that were missed or flagged for nothing."""
        return {
            "recall": self.recall and self.recall.to_json(),
            "false_alarms": self.false_alarms and self.false_alarms.to_json(),
            "by_category": {name: score.to_json() for name, score in self.by_category.items()},
            "missed": [s.text for s in self.missed],
            "alarmed": [s.text for s in self.alarmed],
        }


def measure(sentences: Sequence[Sentence]) -> Measured:
    """Recall and false alarms of the rules on labelled sentences, each checked by the guard of its own domain."""
    raised = [found.check(s.text) if (found := guard(s.domain)) else None for s in sentences]
    pairs = list(zip(sentences, raised, strict=True))
    flagged, harmless = ([(s, f) for s, f in pairs if (s.category == NONE) == calm] for calm in (False, True))
    by_category = {
        category: [f is not None and f.category == category for s, f in flagged if s.category == category]
        for category in dict.fromkeys(s.category for s, _ in flagged)
    }
    return Measured(
        _share([f is not None for _, f in flagged]),
        _share([f is not None for _, f in harmless]),
        {name: proportion(sum(hits), len(hits)) for name, hits in by_category.items()},
        [s for s, f in flagged if f is None],
        [s for s, f in harmless if f is not None],
    )


def _share(hits: Sequence[bool]) -> Score | None:
    return proportion(sum(hits), len(hits)) if hits else None


@functools.cache
def measured(domain: str, half: str | None = None) -> Measured:
    """The rules of a domain on the labelled list, all of it or one half."""
    return measure([s for s in labelled() if s.domain == domain and half in (None, s.half)])
