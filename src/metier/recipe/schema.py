"""One specialist, from data to report: the whole of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from metier.errors import MetierError
from metier.recipe.adapt import Adapt, Search, Trial
from metier.recipe.corpus import CorpusChoice
from metier.recipe.measure import Curve, Measure, Retention
from metier.recipe.part import Part, Seed
from metier.recipe.plan import PlanChoice
from metier.recipe.pretrain import Pretrain
from metier.recipe.selective import Selective
from metier.recipe.strategies import StrategyList
from metier.recipe.task import Mix, SplitChoice, TaskChoice
from metier.recipe.tokenizer import TokenizerChoice


class Recipe(Part):
    """One specialist, from data to report."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="also of the run directory")
    task: TaskChoice | None = None
    corpus: CorpusChoice | None = None
    tokenizer: TokenizerChoice | None = Field(
        default=None, description="trained on what is learnt of the corpus; instead of corpus.tokenizer"
    )
    plan: PlanChoice | None = None
    pretrain: Pretrain | None = Field(
        default=None,
        description="learn the corpus first, from nothing or the base; then the task, if there is one",
    )
    protocol: Literal["metier", "fingpt", "bloomberg"] = Field(
        default="metier", description="whose rows and wording to test by: metier, fingpt or bloomberg"
    )
    base: str = Field(
        default="smollm2-135m-instruct", description="a name of `metier bases`, hf:owner/name, or a folder"
    )
    adapt: Adapt = Adapt()
    split: SplitChoice = SplitChoice()
    measure: Measure = Measure()
    strategies: StrategyList | None = Field(default=None, description="further ways of asking, on the test part")
    retention: Retention | None = Retention()
    max_tokens: int = Field(default=1024, ge=32, description="longest prompt; the middle of a longer text is left out")
    seed: Seed = Field(default=0, description="of all that is drawn, except the split, which has its own")
    seeds: list[Seed] | None = Field(
        default=None, min_length=2, description="train once with each: mean and spread; the first is the specialist"
    )
    mix: Mix | None = None
    search: Search | None = None
    curve: Curve | None = Field(default=None, description="for metier curve: sizes, and rivals to compare with")
    selective: Selective | None = Field(default=None, description="abstain unless what is answered is accurate enough")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="auto takes a GPU where one is")
    dtype: Literal["auto", "bfloat16", "float32", "float16"] = Field(
        default="auto",
        description="number format of the base; auto takes bfloat16 where the processor has it or a probe says it pays",
    )

    _folder: Path | None = PrivateAttr(default=None)

    @property
    def looked_in(self) -> Path | None:
        """The folder of the recipe's file, where its data is looked for first; None if that is the current one."""
        return self._folder if self._folder and self._folder != Path.cwd() else None

    def needed_task(self, path: Path | None = None) -> TaskChoice:
        """The task, for a verb that learns or measures one.

        Errors: :class:`MetierError` where the recipe, at ``path``, has none.
        """
        if self.task is None:
            raise MetierError(
                f"the recipe '{self.name}' has no task to learn",
                where=f"{path or 'recipe'}, field 'task'",
                fix=f"add a task, or use {self._other_verb()}",
            )
        return self.task

    def _other_verb(self) -> str:
        if self.pretrain:
            return "metier run: it only learns its corpus"
        if self.corpus:
            return "metier curate: it is only curated (or add pretrain)"
        return "metier plan: it is only planned" if self.plan else "another recipe"

    @model_validator(mode="before")
    @classmethod
    def _one_stop(cls, values: Any) -> Any:
        """``corpus.stop`` is what pretraining does, too, unless it has a ``stop`` of its own."""
        if isinstance(values, dict):
            corpus, own = values.get("corpus"), values.get("pretrain")
            if isinstance(corpus, dict) and isinstance(own, dict) and "stop" in corpus:
                return {**values, "pretrain": {"stop": corpus["stop"], **own}}
        return values

    @model_validator(mode="after")
    def _something_to_do(self) -> Recipe:
        if self.task is None and self.plan is None and self.corpus is None:
            raise ValueError("the field 'task' is missing (or 'corpus', or 'plan', for a recipe without one)")
        return self

    @model_validator(mode="after")
    def _a_demand_is_of_a_task(self) -> Recipe:
        if self.selective and self.task is None:
            raise ValueError("'selective' is a demand on answers: add the field 'task'")
        return self

    @model_validator(mode="after")
    def _pretraining_has_text(self) -> Recipe:
        if self.pretrain and not self.corpus:
            raise ValueError("'pretrain' learns a corpus: add the field 'corpus' with its sources")
        if self.pretrain and self.seeds and not (self.task or self.pretrain.mixes):
            raise ValueError("'seeds' repeat a task or mixes: give 'seed' for a corpus learnt once")
        return self

    @model_validator(mode="after")
    def _one_tokenizer(self) -> Recipe:
        if self.tokenizer and not self.corpus:
            raise ValueError("'tokenizer' is trained on a corpus: add the field 'corpus' with its sources")
        if self.tokenizer and self.corpus and "tokenizer" in self.corpus.model_fields_set:
            raise ValueError("'tokenizer' trains one and 'corpus.tokenizer' names one: leave one of them out")
        if self.tokenizer and self.pretrain and self.pretrain.method == "continue":
            raise ValueError("a base that is continued has its own tokenizer: leave 'tokenizer' out")
        return self

    @model_validator(mode="after")
    def _nothing_to_repeat(self) -> Recipe:
        given = [name for name in ("mix", "search", "seeds") if getattr(self, name)]
        if self.adapt.method == "none" and given:
            raise ValueError(f"with 'adapt.method: none' nothing is trained: leave out {', '.join(given)}")
        return self

    @model_validator(mode="after")
    def _published_protocols_are_of_the_catalogue(self) -> Recipe:
        if self.protocol != "metier" and self.task and self.task.file:
            raise ValueError(
                f"the protocol '{self.protocol}' is for tasks of the catalogue, not for a table of one's own"
            )
        return self

    @model_validator(mode="after")
    def _first_seed(self) -> Recipe:
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed stands twice: each must be another, such as [0, 1, 2]")
        if self.seeds and "seed" in self.model_fields_set and self.seed != self.seeds[0]:
            raise ValueError("leave seed out where there are seeds: the first of them is the specialist's")
        return self.model_copy(update={"seed": self.seeds[0]}) if self.seeds and self.seed != self.seeds[0] else self

    @model_validator(mode="after")
    def _trials_fit(self) -> Recipe:
        for number, trial in enumerate(self.search.trials if self.search else (), 1):
            try:
                method = self.with_settings(trial).adapt.method
            except ValidationError as error:
                said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
                raise ValueError(f"search.trials, number {number}: {said}") from error
            if method == "none":
                raise ValueError(f"search.trials, number {number}: with method none nothing is trained: leave it out")
        return self

    def with_settings(self, trial: Trial) -> Recipe:
        """This recipe with what a trial changes, and without its search."""
        adapt = self.adapt.changed(trial.adapt)
        return self.model_copy(update={"base": trial.base or self.base, "adapt": adapt, "search": None})
