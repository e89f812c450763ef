"""Strategies of inference: how base and specialist are asked on the test part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError

from metier.errors import MetierError, nearest
from metier.inference.strategies import presets
from metier.recipe.part import Part, Seed
from metier.recipe.words import told


class BudgetChoice(Part):
    """The most that a strategy may spend on all its questions; no limit if left out."""

    tokens: int | None = Field(default=None, ge=1, description="run through the model, prompts and all samples")
    seconds: float | None = Field(default=None, gt=0, description="by the clock")


class Strategy(Part):
    """What all strategies have."""

    title: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="its name in the evidence, where a strategy stands there twice; the strategy's own if left out",
    )
    model: Literal["base", "specialist", "both"] | None = Field(
        default=None, description="who is asked: base, specialist or both; the specialist if one is trained"
    )
    questions: int | None = Field(
        default=None, ge=1, description="a seeded sample of the test part, the same for all; the whole part if left out"
    )
    budget: BudgetChoice = BudgetChoice()
    seed: Seed | None = Field(default=None, description="the recipe's if left out")

    @property
    def called(self) -> str:
        """Its name in the evidence, without who was asked."""
        return self.title or str(getattr(self, "name", ""))


class _Likelihood(Strategy):
    answer: Literal["letter", "text"] | None = Field(
        default=None, description="the option's letter or its text; as the task's template has it if left out"
    )
    normalise: Literal["auto", "none", "token", "character", "byte"] = Field(
        default="auto", description="auto is by characters for multiple choice; not for labels, nor if unconditional"
    )
    unconditional: bool = Field(default=False, description="divide by the answer's likelihood without the question")
    shuffles: int = Field(default=1, ge=1, description="orders of the options that are averaged over")


class ZeroShot(_Likelihood):
    """The likeliest option."""

    name: Literal["zero-shot"]


class FewShot(_Likelihood):
    """The likeliest option behind solved examples."""

    name: Literal["few-shot"]
    k: int = Field(default=presets.SHOTS, ge=1, description="solved examples; Med-PaLM: 5, on PubMedQA 3")
    select: Literal["fixed", "sampled", "nearest"] = Field(
        default="fixed", description="the same for all, drawn anew for each question, or nearest by BM25"
    )


class _Thought(Strategy):
    answer: Literal["letter", "text"] | None = Field(
        default=None, description="the option's letter or its text; as the task's template has it if left out"
    )
    tokens: int = Field(default=presets.RATIONALE_TOKENS, ge=1, description="the longest chain of thought")
    exemplars: str | None = Field(
        default=None, description="worked examples in front: a YAML or jsonl file with rationale and answer, or usmle"
    )


class ChainOfThought(_Thought):
    """One chain of thought, then the likeliest option."""

    name: Literal["chain-of-thought"]
    temperature: float = Field(default=0.0, ge=0, description="0 takes the likeliest token each time")


class SelfConsistency(_Thought):
    """The plurality of sampled chains of thought."""

    name: Literal["self-consistency"]
    samples: int = Field(default=presets.SELF_CONSISTENCY_SAMPLES, ge=1, description="Med-PaLM: 11")
    temperature: float = Field(default=presets.TEMPERATURE, gt=0, description="Med-PaLM's is not published")


class EnsembleRefinement(_Thought):
    """Chains of thought, weighed by further ones, which vote."""

    name: Literal["ensemble-refinement"]
    samples: int = Field(default=presets.REFINEMENT_FIRST, ge=1, description="of the first stage; Med-PaLM 2: 11")
    second: int = Field(default=presets.REFINEMENT_SECOND, ge=1, description="of the second stage; Med-PaLM 2: 33")
    temperature: float = Field(default=presets.TEMPERATURE, gt=0, description="Med-PaLM 2's is not published")


class ChainOfRetrieval(Strategy):
    """A long answer from passages that are looked up for the claims of a draft."""

    name: Literal["chain-of-retrieval"]
    corpus: str = Field(description="a file, folder or glob of documents, or the run directory of a curated corpus")
    text: str | list[str] | None = Field(
        default=None, description="where documents are tables: column(s), field(s) or path expression(s) of the text"
    )
    split_on: str = Field(default="file", description="in txt and md: file, line, blank-line, or a line that separates")
    claims: int = Field(default=4, ge=1, description="claims that are looked up, at most")
    documents: int = Field(default=2, ge=1, description="passages looked up for each claim")
    tokens: int = Field(default=256, ge=1, description="of the draft and of the answer")
    step_tokens: int = Field(default=64, ge=1, description="of a query or a summary")
    temperature: float = Field(default=presets.LONG_FORM_TEMPERATURE, ge=0, description="Med-PaLM 2: 0 for long form")


StrategyChoice = Annotated[
    ZeroShot | FewShot | ChainOfThought | SelfConsistency | EnsembleRefinement | ChainOfRetrieval,
    Field(discriminator="name"),
]
NAMES: dict[str, type[Strategy]] = {
    "zero-shot": ZeroShot,
    "few-shot": FewShot,
    "chain-of-thought": ChainOfThought,
    "self-consistency": SelfConsistency,
    "ensemble-refinement": EnsembleRefinement,
    "chain-of-retrieval": ChainOfRetrieval,
}


def own_names(strategies: list[Strategy]) -> list[Strategy]:
    """The same list; two of one name in the evidence are refused.

    Raises:
        ValueError: a name that stands there twice.
    """
    titles = [strategy.called for strategy in strategies]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise ValueError(f"two strategies are called '{twice}': give one of them a title")
    return strategies


StrategyList = Annotated[list[StrategyChoice], Field(min_length=1), AfterValidator(own_names)]


def with_exemplars(strategies: list[Strategy], exemplars: str | None) -> list[Strategy]:
    """The strategies, those that reason with the worked examples of a file, unless they name their own.

    Errors: :class:`MetierError` where none of them reasons.
    """
    if exemplars is None:
        return strategies
    if not any(isinstance(strategy, _Thought) for strategy in strategies):
        raise MetierError(
            "worked examples are for chains of thought, and no strategy writes any",
            where="--exemplars",
            fix="add --strategy chain-of-thought, self-consistency or ensemble-refinement, or leave it out",
        )
    return [
        strategy.model_copy(update={"exemplars": strategy.exemplars or exemplars})
        if isinstance(strategy, _Thought)
        else strategy
        for strategy in strategies
    ]


def parse_strategies(texts: Sequence[str], **more: Any) -> list[Strategy]:
    """Several of :func:`parse_strategy`, each under a name of its own."""
    try:
        return own_names([parse_strategy(text, **more) for text in texts])
    except ValueError as error:
        raise MetierError(str(error), fix="add title=… to one of them") from error


def parse_strategy(text: str, **more: Any) -> Strategy:
    """A strategy as it is written on a command line: ``self-consistency:samples=5,temperature=0.5``.

    Args:
        more: fields that hold besides those in ``text``.

    Errors: :class:`MetierError` for an unknown strategy or field, with the nearest, and for a value that does not fit.
    """
    name, _, rest = text.partition(":")
    where = f"--strategy {text}"
    if name not in NAMES:
        raise MetierError(f"there is no strategy '{name}'", where=where, fix=nearest(name, NAMES))
    values: dict[str, Any] = {**more, "name": name}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key not in NAMES[name].model_fields:
            raise MetierError(f"'{name}' has no field '{key}'", where=where, fix=nearest(key, NAMES[name].model_fields))
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            what = f"the value of '{key}' cannot be read: {value}"
            raise MetierError(what, where=where, fix="write it as in YAML, such as samples=11") from error
    try:
        return NAMES[name].model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        what, fix = told([first])
        if first["type"] == "missing":
            what, fix = f"'{name}' needs a {field}", f"write --strategy {name}:{field}=…"
        raise MetierError(what, where=f"{where}, field '{field}'", fix=fix) from error
