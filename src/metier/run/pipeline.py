"""A run, from top to bottom: resolve, split, measure the base, adapt, measure again, calibrate, report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.markup import escape

from metier.evaluation.evidence import failed, read_predictions, read_scores, write_predictions, write_scores
from metier.evaluation.groups import in_groups
from metier.evaluation.written import not_applicable
from metier.files import write_json, write_text
from metier.inference.bundle import write_bundle
from metier.models.adapters import ADAPTERS
from metier.models.bases import resolve
from metier.models.device import prepare_process
from metier.recipe import Recipe, load_recipe
from metier.run.adapt import train_specialist
from metier.run.again import each_alone, on_other_bases, with_other_seeds
from metier.run.answers import answer_labels
from metier.run.classical import answer_classically, classical_systems
from metier.run.corpora import learn_corpus
from metier.run.data import Data, measurable, prepare_data, thin_labels
from metier.run.describe import describe, energy
from metier.run.lengths import cut_texts, told_of
from metier.run.measure import Measuring
from metier.run.mixes import bases_beside
from metier.run.mixture import mix_tasks
from metier.run.progress import bar, console, show_scores
from metier.run.retention import retention_data, score_retention
from metier.run.scoring import score_generated, score_labels, score_systems
from metier.run.search import Trials
from metier.run.selective import check_demand, write_calibration
from metier.run.stages import now, open_run
from metier.sources import Lock
from metier.tasks import get
from metier.tasks.near import near_duplicates
from metier.training import log


def run(recipe_path: Path, *, out: Path | None = None, data_root: Path | None = None, offline: bool = False) -> Path:
    """Carry out a recipe; returns the run directory. Finished stages are not repeated.

    Errors: :class:`MetierError` for what the user can mend; the directory can always be continued.
    """
    recipe = load_recipe(recipe_path)
    path, text = out or Path("runs") / recipe.name, recipe_path.read_text(encoding="utf-8")
    beside: dict[str, str] = {}
    if recipe.pretrain:
        learnt = learn_corpus(recipe_path, recipe, path, data_root=data_root, offline=offline)
        if recipe.task is None:
            return path
        beside = bases_beside(recipe, path)
        recipe = recipe.model_copy(update={"base": str(learnt)})
    recipe.needed_task(recipe_path)
    return carry_out(recipe, path, text=text, beside=beside, data_root=data_root, offline=offline)


def carry_out(
    recipe: Recipe,
    path: Path,
    *,
    text: str | None = None,
    beside: Mapping[str, str] | None = None,
    data_root: Path | None,
    offline: bool,
) -> Path:
    """Carry out ``recipe`` in the run directory ``path``.

    Args:
        text: of the recipe, for the directory; its YAML if left out.
        beside: bases on which the task is learnt too, by the name that they have among the systems.
    """
    with open_run(path) as directory:
        work = _Run(recipe, directory, data_root, offline)
        work.beside = dict(beside or {})
        work.resolve()
        write_text(directory.path / "recipe.yaml", text or _as_yaml(recipe))
        work.baselines()
        work.measure_base()
        work.strategies("base")
        work.adapt()
        work.measure_specialist()
        work.strategies("specialist")
        work.measure_mixture()
        work.learn_beside()
        work.score()
        work.repeat()
        work.report()
    return path


def _as_yaml(recipe: Recipe) -> str:
    """A recipe as a user would write it."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _Run(Measuring):
    """The stages, in their order."""

    beside: dict[str, str]

    # -- resolve and split ---------------------------------------------------------------------------------------

    def resolve(self) -> None:
        """Find everything, split the data, and say what will be used."""
        lock = Lock.load(self.path / "lock.json")
        where: dict[str, Any] = {"lock": lock, "data_root": self.data_root, "offline": self.offline}
        self.data = prepare_data(self.recipe, **where)
        self.recipe = measurable(self.recipe, self.data)
        if self.recipe.mix:
            self.mixture = mix_tasks(self.recipe, self.data, **where)
        self.device = self._device()
        prepare_process(self.device.device)
        self._search(lock)
        self.base = resolve(self.recipe.base, lock=lock, offline=self.offline, where="recipe, base")
        if self.recipe.retention and self.recipe.adapt.method != "none":  # nothing is trained, nothing forgotten
            self.general, self.absent = retention_data(self.recipe.retention, self.recipe.seed, **where)
        lock.save(self.path / "lock.json")
        self.encoder = self._encoder(self.recipe.max_tokens)
        self.cut = cut_texts(self.encoder, self.data)
        if self.directory.is_stale("adapt", self._training_key()):
            self._forget_results()
        self._record_and_tell()

    def _forget_results(self) -> None:
        """A recipe that trains otherwise never stands beside the specialist, scores and report of the one before it."""
        console.print("  the recipe trains something else than before: the specialist and its results are made anew")
        shutil.rmtree(self.specialist, ignore_errors=True)
        evidence = [self.path / "evidence" / name for name in ("scores.json", "times.json", "curve.json", "seeds.json")]
        for file in [self.path / "report.html", *evidence, *self.predictions.glob("*.specialist*")]:
            file.unlink(missing_ok=True)
        self.directory.forget("adapt", "finished", "training")

    def _search(self, lock: Lock) -> None:
        """The recipe's settings from here on: those that did best on validation, where several are to be tried."""
        target = self.path / "evidence" / "search.json"
        if not self.recipe.search:
            target.unlink(missing_ok=True)
            return
        trials = Trials(
            self.recipe, self.data, self.mixture, self.device, path=self.path, lock=lock, offline=self.offline
        )
        self._stage("search", trials.keys, [target], lambda: trials.run(target))
        self.recipe = trials.chosen(target)

    def _record_and_tell(self) -> None:
        """What will be used, into the run directory and onto the terminal."""
        near = near_duplicates(self.data.part("train"), self.data.part("test"))
        write_json(self.path / "data" / "splits.json", {**self.data.to_json(), "near_duplicates": near})
        (self.path / "data" / "mixture.json").unlink(missing_ok=True)
        if self.mixture:
            splits = {data.name: data.to_json() for data in self.mixture.others}
            write_json(self.path / "data" / "mixture.json", {"drawn": self.mixture.drawn, "splits": splits})
        asked = [*(general.task for general in self.general), *map(get, self.absent)]
        retention = {task.name: {"title": task.title} for task in asked}
        before = self.directory.manifest.get("device", {})
        about = describe(self.recipe, self.data, self.base, self.device, self.encoder, before)
        self.directory.record(**about, retention=retention, cut=self.cut)
        counts = " · ".join(f"{part} {len(self.data.part(part))}" for part in self.data.split.parts)
        console.print(f"[bold]{self.recipe.name}[/]: {escape(self.data.task.title)}, {counts}")
        base = f"  base {self.base.name} ({self.base.ref}) on {self.device.device}: {self.device.why}"
        console.print(base, markup=False)
        notes = [f"forgetting is not measured on {name}: {reason}" for name, reason in self.absent.items()]
        if told := told_of(self.cut, self.recipe.max_tokens):
            notes.append(told)
        if near["pairs"]:
            notes.append(f"{near['test_examples']} test texts nearly repeat a training text (see the report)")
        notes += [*thin_labels(self.data), *check_demand(self.recipe, self.data)]
        notes += self.mixture.warnings() if self.mixture else []
        for note in [*self.data.loaded.warnings, *notes]:
            console.print(f"  note: {note}", markup=False)

    # -- what the specialist is compared with --------------------------------------------------------------------

    def baselines(self) -> None:
        """A constant answer; among classes also TF-IDF with logistic regression, tuned on validation."""
        for name in classical_systems(self.data):
            if name in self.recipe.measure.systems:
                self._stage(name, [self._data_key()], [self._file(name)], lambda n=name: self._classical(n))  # type: ignore[misc]

    def _classical(self, name: str) -> dict[str, Any]:
        setting, found = answer_classically(name, self.data, self.data.part("test"))
        write_predictions(self._file(name), found)
        return {"setting": setting}

    # -- adapting ------------------------------------------------------------------------------------------------

    def adapt(self) -> None:
        """Train, keep the weights that did best on validation, write the specialist."""
        outputs = [self.specialist / "template.json"]
        if self.recipe.adapt.method in ADAPTERS:
            outputs.append(self.specialist / "adapter_model.safetensors")
        self._stage("adapt", self._training_key(), outputs, self._train)

    def _train(self) -> dict[str, Any]:
        if self.recipe.adapt.method == "none":
            return self._leave_as_it_is()
        key = self.directory.sha(self._training_key())
        if any(self.cut["counts"].values()):
            log.append(self.path / "log.jsonl", event="cut", **self.cut)
        packing = self.runner().packing if self._runner else None
        self._runner, summary, room = train_specialist(
            self.recipe, self.data, self.mixture, self.encoder, self._fresh_model(),
            packing=packing, folder=self.checkpoints, log=self.path / "log.jsonl", key=key,
        )  # fmt: skip
        write_bundle(
            self.specialist, self._runner.model, self.encoder, self.base, self.device.dtype,
            method=self.recipe.adapt.method, answer_tokens=room,
        )  # fmt: skip
        self.directory.record(training=summary | _written_room(room))
        shutil.rmtree(self.checkpoints / "best", ignore_errors=True)
        return {"seconds": summary["seconds"]}

    def _leave_as_it_is(self) -> dict[str, Any]:
        """The specialist is the base itself, with the task's prompt and its calibration."""
        room = self._room()
        write_bundle(
            self.specialist, None, self.encoder, self.base, self.device.dtype, method="none", answer_tokens=room
        )
        self.directory.record(training={"method": "none"} | _written_room(room))
        return {}

    # -- several tasks, several bases, several seeds -------------------------------------------------------------

    def measure_mixture(self) -> None:
        """The specialist, and rivals that learnt one task alone, on the test part of every task mixed in."""
        if not self.mixture:
            return
        for data in self.mixture.others:
            reads = [data.to_json()["hash"], self._model_key(), self._weights()]
            files = [self.predictions / f"{data.name}.{name}.parquet" for name in ("tfidf", "specialist")]
            self._stage(f"mixture-{data.name}", reads, files, lambda d=data, f=files: self._ask_elsewhere(d, *f))  # type: ignore[misc]
        if self._alone():
            self._release()
            each_alone(self.recipe, self.path, [d.name for d in (self.data, *self.mixture.others)], self._carry)

    def _ask_elsewhere(self, data: Data, tfidf: Path, specialist: Path) -> None:
        test = data.part("test")
        write_predictions(tfidf, answer_classically("tfidf", data, test)[1])
        with bar(f"measure on {data.name}", len(test)) as tick:
            found = answer_labels(self._adapted(), self.encoder, test, "test", tick)
        write_predictions(specialist, found)

    def _alone(self) -> list[str]:
        """The system that learnt each task of a mixture alone, if the recipe asks for it."""
        return ["alone"] if self.recipe.mix and self.recipe.mix.alone else []

    def learn_beside(self) -> None:
        """The same training on other bases: of mixes, and the one that was continued."""
        if self.beside:
            self._release()
            on_other_bases(self.recipe, self.path, self.data.name, self.beside, self._carry)

    def repeat(self) -> None:
        """The same training with other seeds."""
        (self.path / "evidence" / "seeds.json").unlink(missing_ok=True)
        if self.recipe.seeds:
            self._release()
            with_other_seeds(self.recipe, self.path, self.data.name, self.data.task.metric, self._carry)

    def _carry(self, recipe: Recipe, folder: Path) -> Path:
        return carry_out(recipe, folder, data_root=self.data_root, offline=self.offline)

    # -- calibrate and report ------------------------------------------------------------------------------------

    def score(self) -> None:
        """Scores with intervals from the predictions; calibration into the specialist."""
        task, seed, answers = self.data.task, self.recipe.seed, self.predictions
        systems = [*self.recipe.measure.systems, *self._alone(), *self.beside, "specialist"]
        asked = [name for name in systems if name not in self.not_asked]
        entries = score_systems(answers, task, asked, self.data.part("test"), seed)
        entries |= {name: not_applicable(reason) for name, reason in self.not_asked.items()}
        if self.recipe.measure.generation and not task.written:
            entries |= score_generated(answers, task, asked, self.data.part("test"), seed)
        entries |= self.score_asked()
        if not task.written:
            found = in_groups(read_predictions(self._file("specialist")), self.data.loaded.examples)
            entries["specialist"] |= write_calibration(self.specialist, task, found, self.recipe.selective, seed)
        scores = {**read_scores(self.path / "evidence" / "scores.json"), task.name: entries}
        for data in self.mixture.others if self.mixture else ():
            rivals = ["tfidf", *self._alone(), "specialist"]
            scores[data.name] = score_labels(answers, task, rivals, data.part("test"), seed, on=data.name)
        for general in self.general:
            scores[general.task.name] = score_retention(answers, general, seed)
        for name, reason in self.absent.items():
            scores[name] = {system: failed(reason) for system in ("base", "specialist")}
        write_scores(self.path / "evidence" / "scores.json", scores)
        self._entries = entries
        self._mixed = {data.name: scores[data.name] for data in (self.mixture.others if self.mixture else ())}

    def report(self) -> None:
        """The report and the model card, from the run directory alone."""
        from metier.report import write_card, write_report

        self.directory.record(finished=now(), energy=energy(self.directory.manifest["stages"]))
        page = write_report(self.path)
        write_card(self.path)
        show_scores(self._entries, self.data.task.metric)
        for name, entries in self._mixed.items():
            console.print(f"  {name}:", markup=False)
            show_scores(entries, self.data.task.metric)
        console.print(f"  report: [bold]{escape(str(page))}[/]")


def _written_room(room: int | None) -> dict[str, int]:
    return {"max_new_tokens": room} if room else {}
