"""The strategies of a recipe: each asked on the test part, kept as evidence, scored beside zero-shot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metier.errors import MetierError
from metier.evaluation.asked import evaluate_asked, summary
from metier.evaluation.evidence import read_predictions, write_predictions
from metier.evaluation.groups import in_groups
from metier.evaluation.scores import Prediction
from metier.inference.strategies import (
    Budget,
    Chain,
    Loaded,
    Sample,
    Setting,
    Spent,
    chain_of_retrieval,
    choose,
    ensemble_refinement,
    few_shot,
    self_consistency,
    write_samples,
    zero_shot,
)
from metier.inference.strategies.likelihood import in_orders
from metier.inference.strategies.long_form import check_written
from metier.inference.strategies.questions import worded
from metier.inference.strategies.shots import check_pool
from metier.inference.strategies.writing import write_answer
from metier.recipe import Recipe
from metier.recipe.strategies import (
    BudgetChoice,
    ChainOfRetrieval,
    ChainOfThought,
    EnsembleRefinement,
    FewShot,
    SelfConsistency,
    Strategy,
    ZeroShot,
)
from metier.run.data import Data, solved_pool
from metier.run.library import check_library, load_library
from metier.run.progress import bar, console
from metier.run.work import Work
from metier.tasks import Example, Task, read_worked
from metier.tasks.choices import Scheme
from metier.tasks.prepare import key_of
from metier.tasks.worked import worked_hash

REFERENCE = "zero-shot"


def ask(
    choice: Strategy,
    model: Loaded,
    task: Task,
    examples: Sequence[Example],
    pool: Sequence[Example],
    *,
    seed: int,
    roots: Sequence[Path] = (),
    offline: bool = False,
    title: str | None = None,
    label_is: Scheme | None = None,
) -> Spent:
    """Ask ``examples`` by one strategy; the estimate and the progress are shown.

    Args:
        pool: solved examples that few-shot chooses from.
        roots: folders that a relative corpus is looked for in.
        label_is: how the task's own table writes which option is right; worked examples are read alike.

    Errors: :class:`MetierError` for a strategy that does not fit the task, and for a budget too small.
    """
    own = seed if choice.seed is None else choice.seed
    name = title or choice.called

    def say(line: str) -> None:
        console.print(f"  {line}", markup=False)

    with bar(name, len(examples)) as tick:
        common: dict[str, Any] = {
            "budget": Budget(**choice.budget.model_dump()),
            "name": name,
            "say": say,
            "tick": tick,
        }
        match choice:
            case ZeroShot() if task.written:
                return write_answer(model, task, examples, seed=own, **common)
            case ZeroShot():
                return zero_shot(model, task, examples, **_likelihood(choice), seed=own, **common)
            case FewShot():
                shots = choose(task, pool, choice.k, choice.select, own, choice.answer)
                return few_shot(model, task, examples, shots, **_likelihood(choice), seed=own, **common)
            case ChainOfThought() | SelfConsistency():
                setting = _setting(choice, task, examples, own, say, label_is)
                return self_consistency(model, task, examples, setting, **common)
            case EnsembleRefinement():
                setting = _setting(choice, task, examples, own, say, label_is)
                return ensemble_refinement(model, task, examples, setting, choice.second, **common)
            case ChainOfRetrieval():
                library = load_library(
                    choice.corpus, roots, text=choice.text, split_on=choice.split_on, offline=offline
                )
                say(f"{name}: {len(library):,} passages to look things up in")
                fields = ("claims", "documents", "tokens", "step_tokens", "temperature")
                chain = Chain(**{field: getattr(choice, field) for field in fields}, seed=own)
                return chain_of_retrieval(model, task, examples, library, chain, **common)
    raise TypeError(f"no strategy: {choice!r}")


def check_strategy(
    choice: Strategy,
    task: Task,
    pool: Sequence[Example],
    *,
    roots: Sequence[Path] = (),
    offline: bool = False,
    label_is: Scheme | None = None,
) -> None:
    """Refuse what cannot be asked, whoever is asked. Arguments are those of :func:`ask`.

    Errors: :class:`MetierError` for a strategy that does not fit the task, too few solved examples, and for worked
    examples or a corpus that cannot be read.
    """
    match choice:
        case ZeroShot() if task.written:
            return
        case ZeroShot() | FewShot():
            in_orders(task, choice.answer, choice.shuffles)
            if isinstance(choice, FewShot):
                check_pool(pool, choice.k)
        case ChainOfThought() | SelfConsistency() | EnsembleRefinement():
            worded(task, choice.answer)
            if choice.exemplars:
                read_worked(choice.exemplars, task, label_is)
        case ChainOfRetrieval():
            check_written(task)
            check_library(choice.corpus, roots, text=choice.text, split_on=choice.split_on, offline=offline)


def _setting(
    choice: ChainOfThought | SelfConsistency | EnsembleRefinement,
    task: Task,
    examples: Sequence[Example],
    seed: int,
    say: Callable[[str], None],
    label_is: Scheme | None,
) -> Setting:
    """How chains are written; a worked example that is among the questions is left out."""
    samples = 1 if isinstance(choice, ChainOfThought) else choice.samples
    worked = read_worked(choice.exemplars, task, label_is) if choice.exemplars else []
    asked_now = {key_of(example) for example in examples}
    kept = [one for one in worked if key_of(one.example) not in asked_now]
    if len(kept) < len(worked):
        say(f"{len(worked) - len(kept)} of {len(worked)} worked examples are among the questions: left out")
    return Setting(samples, choice.temperature, choice.tokens, choice.answer, seed, tuple(kept))


def _likelihood(choice: ZeroShot | FewShot) -> dict[str, Any]:
    return {name: getattr(choice, name) for name in ("answer", "normalise", "unconditional", "shuffles")}


def sampled(examples: Sequence[Example], count: int | None, seed: int) -> list[Example]:
    """``count`` examples in seeded order, all if left out; a smaller sample is the beginning of a larger one."""
    order = np.random.default_rng(seed).permutation(len(examples))
    return [examples[place] for place in order[: count or len(examples)]]


def asked_as(choice: Strategy) -> list[Any]:
    """What the answers to a strategy depend on of itself: its settings, and what its worked examples say."""
    return [choice.model_dump(mode="json"), *filter(None, [worked_hash(getattr(choice, "exemplars", None))])]


def with_reference(choices: Sequence[Strategy]) -> list[Strategy]:
    """The strategies, with the zero-shot that all are compared with in front, asked as many questions as any other.

    One that the recipe does not name may spend what the dearest of the others may.
    """
    counts = [choice.questions for choice in choices]
    most = None if None in counts else max(count for count in counts if count is not None)
    own = next((choice for choice in choices if choice.called == REFERENCE), None)
    if own is not None and not isinstance(own, ZeroShot):
        raise MetierError(
            f"'{own.title}' is what the others are compared with: {getattr(own, 'name', '')} cannot be called that",
            where="recipe, strategies",
            fix="give it another title",
        )
    first = (own or ZeroShot(name="zero-shot", budget=_dearest(choices))).model_copy(update={"questions": most})
    return [first, *(choice for choice in choices if choice is not own)]


def _dearest(choices: Sequence[Strategy]) -> BudgetChoice:
    tokens, seconds = ([getattr(choice.budget, name) for choice in choices] for name in ("tokens", "seconds"))
    return BudgetChoice(
        tokens=None if None in tokens else max(tokens), seconds=None if None in seconds else max(seconds)
    )


def keep(
    spent: Spent,
    examples: Sequence[Example],
    predictions: Path,
    samples: Path,
    *,
    choice: Strategy,
    truncated: int,
    seed: int,
) -> dict[str, Any]:
    """Write predictions and samples; returns what ``scores.json`` says of the strategy.

    ``examples`` are those that were to be asked: they know which belong together.
    """
    answers = [answered.prediction for answered in spent.answered]
    write_predictions(predictions, answers)
    texts: list[Sample] = [sample for answered in spent.answered for sample in answered.samples]
    samples.unlink(missing_ok=True)
    if texts:
        write_samples(samples, texts)
    facts = summary(
        in_groups(answers, examples), [a.facts or {} for a in spent.answered],
        not_asked=spent.not_asked, truncated=truncated, seed=seed,
    )  # fmt: skip
    estimate = {"at_most_tokens": spent.at_most, "expected_seconds": round(spent.expected_seconds, 2)}
    return {"name": getattr(choice, "name", ""), "settings": choice.model_dump(mode="json"), **estimate, **facts}


def asked_of(recipe: Recipe, who: str) -> list[Strategy]:
    """The strategies that ``base`` or ``specialist`` is asked by, with what they are compared with."""
    usual = "base" if recipe.adapt.method == "none" else "specialist"
    mine = [choice for choice in recipe.strategies or () if (choice.model or usual) in (who, "both")]
    return with_reference(mine) if mine else []


def check_strategies(recipe: Recipe, data: Data, *, data_root: Path | None, offline: bool) -> None:
    """Refuse a recipe's strategies that cannot be asked before anything is learnt; as :func:`check_strategy`."""
    roots = [Path(), *([data_root] if data_root else [])]
    for choice in [*asked_of(recipe, "base"), *asked_of(recipe, "specialist")]:
        examples = sampled(data.part("test"), choice.questions, recipe.seed)
        check_strategy(
            choice, data.task, solved_pool(data, examples), roots=roots, offline=offline,
            label_is=data.loaded.label_is,
        )  # fmt: skip


class Asking(Work):
    """The stages that ask base and specialist by the recipe's strategies."""

    def strategies(self, who: str) -> None:
        """Ask ``base`` or ``specialist`` by every strategy that is meant for it.

        Before the base is asked, and so before anything is learnt, those of both are checked.
        """
        systems = [f"{one}-{choice.called}" for one in ("base", "specialist") for choice in self._asked_of(one)]
        if who == "base" and not all(self._file(system).exists() for system in systems):
            check_strategies(self.recipe, self.data, data_root=self.data_root, offline=self.offline)
        for choice in self._asked_of(who):
            system = f"{who}-{choice.called}"
            files = [self._file(system), self._samples(system)]
            reads = [self._data_key(), self._model_key(), *asked_as(choice), self.recipe.seed]
            if who == "specialist":
                reads.append(self._weights())
            # a strategy that writes nothing leaves no file of samples
            self._stage(f"strategy-{system}", reads, files[:1], lambda c=choice, w=who: self._asked(w, c))  # type: ignore[misc]

    def _asked(self, who: str, choice: Strategy) -> dict[str, Any]:
        runner = self.runner() if who == "base" else self._adapted()
        trained = who == "specialist" and self._learnt()
        model = Loaded(runner, self.encoder.tokenizer, self.encoder.max_tokens, trained)
        examples = sampled(self.data.part("test"), choice.questions, self.recipe.seed)
        system = f"{who}-{choice.called}"
        pool = solved_pool(self.data, examples)
        roots = [Path(), *([self.data_root] if self.data_root else [])]
        spent = ask(
            choice, model, self.data.task, examples, pool, seed=self.recipe.seed, roots=roots, offline=self.offline,
            title=system, label_is=self.data.loaded.label_is,
        )  # fmt: skip
        facts = keep(
            spent, examples, self._file(system), self._samples(system), choice=choice, truncated=model.truncated,
            seed=self.recipe.seed,
        )  # fmt: skip
        return {"facts": facts}

    def score_asked(self) -> dict[str, Any]:
        """Entries of the strategies, by system."""
        entries = {}
        for who in ("base", "specialist"):
            reference = f"{who}-{REFERENCE}"
            for choice in self._asked_of(who):
                system = f"{who}-{choice.called}"
                zero = None if system == reference else (reference, self._grouped(reference))
                entries[system] = evaluate_asked(
                    self.data.task, self._grouped(system), seed=self.recipe.seed, reference=zero,
                    cost=self.directory.manifest["stages"][f"strategy-{system}"]["facts"],
                )  # fmt: skip
        return entries

    def _grouped(self, system: str) -> list[Prediction]:
        return in_groups(read_predictions(self._file(system)), self.data.part("test"))

    def _asked_of(self, who: str) -> list[Strategy]:
        return asked_of(self.recipe, who)

    def _samples(self, system: str) -> Path:
        return self.path / "evidence" / "samples" / f"{self.data.task.name}.{system}.parquet"
