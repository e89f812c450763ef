"""Removal of evaluation questions from the corpus.

A run of words that a text shares with a question is removed where it is 13 words long (GPT-3: Brown et al. 2020,
appendix C), or the whole question, or 120 characters, which includes every run of 512 (Med-PaLM 2: Singhal et al.
2025, overlap analysis). Around it 200 characters go too, and a text that would fall into more than ten pieces, or of
which nothing remains, is dropped (GPT-3, appendix C). Words are compared without case and punctuation. Runs are found
from eight shared words on: 120 characters hold as many unless they average more than 13 letters.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from metier.corpus.text import Step, Tally, Text, Texts, batched
from metier.corpus.words import Words, hash_ngrams, words_of

NGRAM = 13  # Brown et al. 2020, appendix C
CHARACTERS = (512, 120)  # Singhal et al. 2025
SEED = 8
SHORTEST = 5  # words of a question that is looked for as a whole; fewer are any sentence's
MARGIN = 200  # Brown et al. 2020, appendix C
PIECES = 10  # Brown et al. 2020, appendix C
DROPPED = "overlap with an evaluation task"


@dataclass(frozen=True)
class Match:
    """A run of words that a text shares with a question: which, how it counts, and its span in the text's bytes."""

    task: str
    question: int
    widths: tuple[str, ...]
    begin: int
    end: int


class Questions:
    """Evaluation texts, indexed.

    Args:
        tasks: by the task's name its questions or texts, without options and answers.
    """

    def __init__(self, tasks: Mapping[str, Sequence[str]]) -> None:
        self._names = list(tasks)
        self._words: list[np.ndarray] = []
        self._chars: list[np.ndarray] = []  # running length of the words joined by single blanks
        self._owner: list[tuple[int, int]] = []
        self._seeds: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for task, texts in enumerate(tasks.values()):
            found = words_of(texts)
            for number, (low, high) in enumerate(itertools.pairwise(found.first.tolist())):
                if high - low >= SHORTEST:
                    self._words.append(found.hashes[low:high].copy())
                    self._chars.append(np.cumsum(found.end[low:high] - found.begin[low:high] + 1))
                    self._owner.append((task, number))
        for n in sorted({min(SEED, len(words)) for words in self._words}):
            self._seeds[n] = self._index(n)

    def __len__(self) -> int:
        return len(self._words)

    def _index(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sorted seeds of n words, with question and place: of whole short questions, or everywhere in longer ones."""
        chosen = [q for q, words in enumerate(self._words) if min(SEED, len(words)) == n]
        seeds = [hash_ngrams(self._words[q], n) for q in chosen]
        owner = np.repeat(np.array(chosen), [len(found) for found in seeds])
        place = np.concatenate([np.arange(len(found)) for found in seeds])
        together = np.concatenate(seeds)
        order = np.argsort(together, kind="stable")
        return together[order], owner[order], place[order]

    def find(self, texts: Sequence[str]) -> list[list[Match]]:
        """The matches in each text."""
        words = words_of(texts)
        found: list[list[Match]] = [[] for _ in texts]
        covered: dict[int, int] = {}  # by question: a run that reached so far need not be found again
        for n, (seeds, owner, place) in self._seeds.items():
            grams, at = words.ngrams(n)
            low = np.searchsorted(seeds, grams)
            hits = np.flatnonzero(seeds[np.minimum(low, len(seeds) - 1)] == grams)
            covered.clear()
            for hit in hits.tolist():
                for entry in range(int(low[hit]), len(seeds)):
                    if seeds[entry] != grams[hit]:
                        break
                    question, here = int(owner[entry]), int(at[hit])
                    if covered.get(question, -1) > here:
                        continue
                    text, match, reach = self._extend(words, here, question, int(place[entry]))
                    covered[question] = reach
                    if match:
                        found[text].append(match)
        return found

    def _extend(self, words: Words, here: int, question: int, there: int) -> tuple[int, Match | None, int]:
        """The text, the match if it is wide enough, and the word where the run ends."""
        text = int(np.searchsorted(words.first, here, side="right")) - 1
        low, high = int(words.first[text]), int(words.first[text + 1])
        wanted = self._words[question]
        back = _agree(words.hashes[low:here][::-1], wanted[:there][::-1])
        ahead = _agree(words.hashes[here:high], wanted[there:])
        first, last = here - back, here + ahead
        chars = self._chars[question]
        width = int(chars[there + ahead - 1] - (chars[there - back - 1] if there > back else 0)) - 1
        widths = []
        if back + ahead == len(wanted):
            widths.append("whole question")
        if back + ahead >= NGRAM:
            widths.append(f"{NGRAM} words")
        widths += [f"{limit} characters" for limit in CHARACTERS if width >= limit]
        if not widths:
            return text, None, last
        task, number = self._owner[question]
        begin = int(words.begin[first] - words.texts[text])
        end = int(words.end[last - 1] - words.texts[text])
        return text, Match(self._names[task], number, tuple(widths), begin, end), last


def overlap_step(questions: Questions) -> Step:
    """Cut what stands in the questions out of every text; count by task and width."""

    def step(texts: Texts, tally: Tally) -> Texts:
        if not len(questions):
            yield from texts
            return
        for batch in batched(texts):
            for text, matches in zip(batch, questions.find([text.text for text in batch]), strict=True):
                cleaned = _remove(text, matches) if matches else text
                _count(tally, text, matches)
                if cleaned is None:
                    tasks = ", ".join(sorted({match.task for match in matches}))
                    tally.drop(DROPPED, text.id, tasks)
                else:
                    yield cleaned

    return step


def _count(tally: Tally, text: Text, matches: list[Match]) -> None:
    for match in matches:
        counts = tally.overlap.setdefault(match.task, {})
        for width in match.widths:
            counts.setdefault(width, set()).add(match.question)
        counts.setdefault("questions", set()).add(match.question)
        counts.setdefault("documents", set()).add(text.order)


def _remove(text: Text, matches: list[Match]) -> Text | None:
    """The text without the matches and a margin around each; None if too little or too broken a text remains."""
    data, pieces, done = text.text.encode(), [], 0
    for match in sorted(matches, key=lambda match: match.begin):
        pieces.append(data[done : max(done, match.begin - MARGIN)])
        done = max(done, match.end + MARGIN)
    pieces.append(data[done:])
    kept = [found for piece in pieces if len(found := piece.decode(errors="ignore").strip()) >= MARGIN]
    if not kept or len(kept) > PIECES:
        return None
    return replace(text, text="\n\n".join(kept))


def _agree(one: np.ndarray, other: np.ndarray) -> int:
    """How many entries from the beginning are equal."""
    size = min(len(one), len(other))
    differ = np.flatnonzero(one[:size] != other[:size])
    return int(differ[0]) if len(differ) else size
