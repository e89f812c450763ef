"""Chain of retrieval for long answers (Med-PaLM 2: Singhal et al. 2025, arXiv 2305.09617), in six steps.

1. a draft without help; 2. the claims it makes; 3. a query for each claim; 4. passages by BM25; 5. a summary of each
passage; 6. the answer from question and summaries alone. The draft is left out of the last step, so that the answer
is not anchored to it. Prompts are ours; the paper prints none.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from metier.errors import MetierError
from metier.evaluation.scores import Prediction
from metier.inference.strategies.budget import UNLIMITED, Budget, Say, Spent, within
from metier.inference.strategies.model import Model
from metier.inference.strategies.presets import LONG_FORM_TEMPERATURE
from metier.inference.strategies.retrieval import Bm25, Passage
from metier.inference.strategies.samples import Answered, Sample, seed_of
from metier.inference.strategies.thought import Tick
from metier.models.encode import Encoder
from metier.models.generate import Written
from metier.tasks import Example, Task, Template
from metier.tasks.templates import fill

CLAIMS = "List the claims that this answer makes, one short sentence a line.\n\nQuestion: {question}\nAnswer: {draft}"
QUERY = "Write a search query of a few words to check this claim.\n\nQuestion: {question}\nClaim: {claim}"
SUMMARY = "Say in two sentences what this passage says about the question.\n\nQuestion: {question}\nPassage: {passage}"
FINAL = (
    "Answer the question from these sources alone. Put the number of the source in brackets behind what you take from "
    "it, such as [1].\n\n{sources}\n\nQuestion: {question}"
)
AT_ONCE = 4
_NUMBER = r"(?:sources?\s*)?\d{1,6}"
_CITED = re.compile(rf"\[\s*({_NUMBER}(?:\s*(?:[,;&–-]|and)\s*{_NUMBER})*)\s*\]", re.IGNORECASE)
_SPAN = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")


@dataclass(frozen=True)
class Chain:
    """How long each step may be.

    Attributes:
        claims: claims that are looked up, at most.
        documents: passages looked up for each claim; the same passage is summarised once.
        tokens: of the draft and of the answer.
        step_tokens: of a query or a summary.
        temperature: of all steps; the paper wrote long answers greedily.
    """

    claims: int = 4
    documents: int = 2
    tokens: int = 256
    step_tokens: int = 64
    temperature: float = LONG_FORM_TEMPERATURE
    seed: int = 0


CHAIN = Chain()


@dataclass
class _Work:
    """One question on its way."""

    example: Example
    question: str
    samples: list[Sample] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    draft: str = ""
    claims: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    found: list[Passage] = field(default_factory=list)
    summaries: list[str] = field(default_factory=list)
    shown: int = 0
    answer: str = ""


def chain_of_retrieval(
    model: Model,
    task: Task,
    examples: Sequence[Example],
    library: Sequence[Passage],
    chain: Chain = CHAIN,
    *,
    budget: Budget = UNLIMITED,
    part: str = "test",
    name: str = "chain-of-retrieval",
    say: Say = lambda line: None,
    tick: Tick = lambda count: None,
) -> Spent:
    """A long answer with the passages that it cites.

    Args:
        library: what is searched.

    Errors: :class:`MetierError` for a task with options, an empty library, a budget too small for one question.
    """
    check_written(task)
    index = Bm25([passage.text for passage in library])
    steps = _Steps(model, task, chain)

    def bound(example: Example) -> int:
        read = model.max_tokens * (3 + chain.claims * (1 + chain.documents))
        return read + 3 * chain.tokens + chain.claims * (1 + chain.documents) * chain.step_tokens

    def work(batch: Sequence[Example]) -> list[Answered]:
        works = [_Work(example, " ".join(fill(task, example.inputs).split())) for example in batch]
        steps.drafts(works)
        steps.claims(works)
        steps.queries(works)
        for one in works:
            one.found = look_up(index, library, one.queries, chain.documents)
        steps.summaries(works)
        steps.answers(works)
        if left_out := sum(len(one.found) - one.shown for one in works):
            say(f"{name}: {left_out} of {sum(len(one.found) for one in works)} sources do not fit into the prompt")
        return [_answered(one, part) for one in works]

    return within(budget, examples, bound=bound, work=work, at_once=AT_ONCE, name=name, say=say, tick=tick)


def check_written(task: Task) -> None:
    """Errors: :class:`MetierError` for a task with options."""
    if not task.written:
        raise MetierError(
            f"'{task.name}' is a task of kind {task.kind}: a chain of retrieval writes long answers",
            fix="use self-consistency or ensemble-refinement for options",
        )


def look_up(index: Bm25, library: Sequence[Passage], queries: Sequence[str], count: int) -> list[Passage]:
    """The best passages of each query, each passage once, in the order found; none that shares no word with it."""
    found: dict[int, None] = {}
    for query in queries:
        scores = index.score(query)
        found |= dict.fromkeys(place for place in index.nearest(query, count) if scores[place] > 0)
    return [library[place] for place in found]


def claims_of(text: str, most: int) -> list[str]:
    """Claims of a list, one a line, without their numbers or bullets; at most ``most``, none twice."""
    lines = (re.sub(r"^\s*(?:[-*•]|\(?\d+[.):])\s*", "", line).strip() for line in text.splitlines())
    return list(dict.fromkeys(line for line in lines if re.search(r"\w", line)))[:most]


def citations(answer: str, sources: int) -> tuple[list[int], list[int]]:
    """Numbers of sources that an answer cites, in order: those there are, and those there are not."""
    numbers: list[int] = []
    for group in _CITED.findall(answer):
        for first, last in _SPAN.findall(group):
            begin, end = int(first), int(last or first)
            numbers += [begin, *range(max(begin + 1, 1), min(end, sources + 1)), end]
    unique = list(dict.fromkeys(numbers))
    return [n for n in unique if 1 <= n <= sources], [n for n in unique if not 1 <= n <= sources]


class _Steps:
    """The five steps that a model writes, each for several questions at once."""

    def __init__(self, model: Model, task: Task, chain: Chain) -> None:
        self.model, self.task, self.chain = model, task, chain
        self.first = model.encoder(task, room=chain.tokens)

    def drafts(self, works: Sequence[_Work]) -> None:
        prompts = [self.first.prompt(one.example.inputs) for one in works]
        for one, written in zip(
            works, self._write(self.first, works, "draft", prompts, self.chain.tokens), strict=True
        ):
            one.draft = written.text.strip()

    def claims(self, works: Sequence[_Work]) -> None:
        inputs = [{"question": one.question, "draft": one.draft} for one in works]
        for one, written in zip(works, self._ask(CLAIMS, works, "claims", inputs, self.chain.tokens), strict=True):
            one.claims = claims_of(written.text, self.chain.claims)

    def queries(self, works: Sequence[_Work]) -> None:
        """A query a claim; where the model writes none, the claim is looked up in its own words."""
        flat = [(one, claim) for one in works for claim in one.claims]
        inputs = [{"question": one.question, "claim": claim} for one, claim in flat]
        written = self._ask(QUERY, [one for one, _ in flat], "query", inputs, self.chain.step_tokens)
        for (one, claim), text in zip(flat, written, strict=True):
            first = next((line.strip() for line in text.text.splitlines() if line.strip()), "")
            one.queries.append(first or claim)
        for one in works:
            one.queries = one.queries or [one.question]  # a draft without a claim: the question itself is looked up

    def summaries(self, works: Sequence[_Work]) -> None:
        """What each passage says; where the model writes nothing, the passage itself."""
        flat = [(one, passage) for one in works for passage in one.found]
        inputs = [{"question": one.question, "passage": passage.text} for one, passage in flat]
        documents = [passage.id for _, passage in flat]
        written = self._ask(
            SUMMARY, [one for one, _ in flat], "summary", inputs, self.chain.step_tokens, documents=documents
        )
        for (one, passage), text in zip(flat, written, strict=True):
            one.summaries.append(" ".join(text.text.split()) or passage.text)

    def answers(self, works: Sequence[_Work]) -> None:
        """From the sources that fit whole: of one that was cut nobody could say whether it was read."""
        encoder = self._encoder(FINAL, self.chain.tokens)
        prompts = []
        for one in works:
            one.shown = len(one.summaries)
            while one.shown > 1 and not _fits(encoder, _sourced(one)):
                one.shown -= 1
            prompts.append(encoder.prompt(_sourced(one)))
        for one, written in zip(works, self._write(encoder, works, "answer", prompts, self.chain.tokens), strict=True):
            one.answer = written.text.strip()

    def _encoder(self, wording: str, room: int) -> Encoder:
        template = Template(system=self.task.template.system, input=wording)
        return self.model.encoder(self.task.model_copy(update={"template": template}), room=room)

    def _ask(
        self,
        wording: str,
        works: Sequence[_Work],
        stage: str,
        inputs: Sequence[dict[str, str]],
        room: int,
        documents: Sequence[str] | None = None,
    ) -> list[Written]:
        encoder = self._encoder(wording, room)
        return self._write(encoder, works, stage, [encoder.prompt(i) for i in inputs], room, documents)

    def _write(
        self,
        encoder: Encoder,
        works: Sequence[_Work],
        stage: str,
        prompts: Sequence[tuple[int, ...]],
        room: int,
        documents: Sequence[str] | None = None,
    ) -> list[Written]:
        if not works:
            return []
        start = time.perf_counter()
        numbers = [sum(other is one for other in works[:place]) for place, one in enumerate(works)]
        pairs = list(zip(works, numbers, strict=True))
        seeds = [seed_of(self.chain.seed, one.example.id, stage, number) for one, number in pairs]
        found = self.model.write(encoder, prompts, room=room, temperature=self.chain.temperature, seeds=seeds)
        seconds = (time.perf_counter() - start) / len(works)
        for place, ((one, number), prompt, text) in enumerate(zip(pairs, prompts, found, strict=True)):
            tokens = len(prompt) + len(text.ids)
            document = documents[place] if documents else None
            one.samples.append(
                Sample(question=one.example.id, stage=stage, number=number, text=text.text, ended=text.ended,
                       document=document, tokens=tokens, seconds=seconds)
            )  # fmt: skip
            one.tokens += tokens
            one.seconds += seconds
        return found


def _fits(encoder: Encoder, inputs: dict[str, str]) -> bool:
    ids = encoder.tokenizer.encode(encoder.render(inputs), add_special_tokens=not encoder.chat)
    return len(ids) <= encoder.max_tokens


def _sourced(one: _Work) -> dict[str, str]:
    """The last step's fields, with the sources that are shown."""
    shown = "\n".join(f"[{number}] {text}" for number, text in enumerate(one.summaries[: one.shown], 1))
    return {"question": one.question, "sources": shown or "(nothing was found)"}


def _answered(one: _Work, part: str) -> Answered:
    cited, invented = citations(one.answer, one.shown)
    prediction = Prediction(
        example_id=one.example.id, split=part, text=one.example.text, gold=one.example.target,
        answer=one.answer or None, probabilities={}, parsed=bool(one.answer), tokens=one.tokens, seconds=one.seconds,
        output=one.answer,
    )  # fmt: skip
    facts = {
        "claims": len(one.claims),
        "sources": [passage.id for passage in one.found[: one.shown]],
        "cited": [one.found[number - 1].id for number in cited],
        "invented": len(invented),
    }
    return Answered(prediction, tuple(one.samples), facts)
