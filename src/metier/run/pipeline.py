"""A run, from top to bottom: resolve, split, measure the base, adapt, measure again, calibrate, report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from metier.evaluation import baselines
from metier.evaluation.averaged import Slices
from metier.evaluation.evidence import failed, merge_scores, read_predictions, read_scores, write_predictions
from metier.evaluation.scores import Prediction
from metier.files import write_json, write_text
from metier.inference.bundle import write_bundle
from metier.models.adapters import ADAPTERS
from metier.models.bases import resolve
from metier.models.device import prepare_process
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.recipe import Recipe, load_recipe
from metier.run.adapt import train_specialist
from metier.run.again import each_alone, with_other_seeds
from metier.run.choices import answer_choices, fit_choices, most_frequent_place, score_choices
from metier.run.corpora import learn_corpus
from metier.run.data import Data, Shots, few_shots, measurable, prepare_data
from metier.run.describe import describe
from metier.run.generative import (
    answer_in_words,
    answer_room,
    answer_the_same,
    score_generated,
    score_written,
)
from metier.run.lengths import cut_texts, fitting_shots, told_of
from metier.run.measure import (
    Tick,
    answer_labels,
    classical_answers,
    fit_calibration,
    measure_retention,
    retention_data,
    score_retention,
    write_task_scores,
)
from metier.run.mixture import mix_tasks
from metier.run.progress import bar, console
from metier.run.search import Trials
from metier.run.selective import calibrate_answers, check_demand, in_words
from metier.run.stages import now, open_run
from metier.run.strategies import Asking
from metier.sources import Lock
from metier.tasks import Loaded
from metier.tasks.near import near_duplicates
from metier.training import log

WATTS = 65.0  # a laptop or server core pair under load; the report says that it is an assumption


def run(recipe_path: Path, *, out: Path | None = None, data_root: Path | None = None, offline: bool = False) -> Path:
    """Carry out a recipe; returns the run directory. Finished stages are not repeated.

    Errors: :class:`MetierError` for what the user can mend; the directory can always be continued.
    """
    recipe = load_recipe(recipe_path)
    path, text = out or Path("runs") / recipe.name, recipe_path.read_text(encoding="utf-8")
    if recipe.pretrain:
        learnt = learn_corpus(recipe_path, recipe, path, data_root=data_root, offline=offline)
        if recipe.task is None:
            return path
        recipe = recipe.model_copy(update={"base": str(learnt)})
    recipe.needed_task(recipe_path)
    return carry_out(recipe, text, path, data_root=data_root, offline=offline)


def carry_out(recipe: Recipe, text: str, path: Path, *, data_root: Path | None, offline: bool) -> Path:
    """Carry out ``recipe`` in the run directory ``path``, which keeps ``text`` as the recipe given."""
    with open_run(path) as directory:
        write_text(directory.path / "recipe.yaml", text)
        work = _Run(recipe, directory, data_root, offline)
        work.resolve()
        work.baselines()
        work.measure_base()
        work.strategies("base")
        work.adapt()
        work.measure_specialist()
        work.strategies("specialist")
        work.measure_mixture()
        work.score()
        work.repeat()
        work.report()
    return path


def as_yaml(recipe: Recipe) -> str:
    """A recipe as a user would write it."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _Run(Asking):
    """The stages, in their order."""

    # -- resolve -------------------------------------------------------------------------------------------------

    def resolve(self) -> None:
        """Find everything, split the data, and say what will be used."""
        recipe, where = self.recipe, {"data_root": self.data_root, "offline": self.offline}
        lock = Lock.load(self.path / "lock.json")
        self.data = prepare_data(recipe, lock=lock, **where)  # type: ignore[arg-type]
        self.recipe = recipe = measurable(recipe, self.data)
        if recipe.mix:
            self.mixture = mix_tasks(recipe, self.data, lock=lock, **where)  # type: ignore[arg-type]
        self.device = self._device()
        prepare_process(self.device.device)
        self._search(lock)
        self.base = resolve(self.recipe.base, lock=lock, offline=self.offline)
        if recipe.retention and recipe.adapt.method != "none":  # nothing is trained, nothing forgotten
            found = retention_data(recipe.retention, recipe.seed, lock=lock, **where)  # type: ignore[arg-type]
            self.general, self.absent = found
        lock.save(self.path / "lock.json")
        self.encoder = self._encoder(recipe.max_tokens)
        near = near_duplicates(self.data.part("train"), self.data.part("test"))
        write_json(self.path / "data" / "splits.json", {**self.data.to_json(), "near_duplicates": near})
        (self.path / "data" / "mixture.json").unlink(missing_ok=True)
        if self.mixture:
            splits = {data.name: data.to_json() for data in self.mixture.others}
            write_json(self.path / "data" / "mixture.json", {"drawn": self.mixture.drawn, "splits": splits})
        retention = {general.task.name: {"title": general.task.title} for general in self.general}
        before = self.directory.manifest.get("device", {})
        self.cut = cut_texts(self.encoder, self.data)
        about = describe(self.recipe, self.data, self.base, self.device, self.encoder, before)
        self.directory.record(**about, retention=retention, cut=self.cut)
        counts = " · ".join(f"{part} {len(self.data.part(part))}" for part in self.data.split.parts)
        console.print(f"[bold]{recipe.name}[/]: {self.data.task.title}, {counts}")
        console.print(f"  base {self.base.name} ({self.base.ref}) on {self.device.device}: {self.device.why}")
        notes = [f"forgetting is not measured on {name}: {reason}" for name, reason in self.absent.items()]
        if told := told_of(self.cut):
            notes.append(told)
        if near["pairs"]:
            notes.append(f"{near['test_examples']} test texts nearly repeat a training text (see the report)")
        notes += check_demand(recipe, self.data)
        for note in [*self.data.loaded.warnings, *notes]:
            console.print(f"  note: {note}", markup=False)

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

    # -- what the specialist is compared with --------------------------------------------------------------------

    def baselines(self) -> None:
        """Majority and TF-IDF with logistic regression, tuned on validation."""
        if self.data.task.kind != "classification":
            self._constant()
            return
        parts = {name: self.data.part(name) for name in ("train", "validation", "test")}
        texts = {name: [e.text for e in part] for name, part in parts.items()}
        golds = {name: [e.target for e in part] for name, part in parts.items()}
        labels = self.data.task.labels

        def write(name: str, fit: Callable[[], Any]) -> dict[str, Any]:
            model = fit()
            ids = [e.id for e in parts["test"]]
            found = baselines.predict(model, ids=ids, texts=texts["test"], golds=golds["test"], split="test")
            write_predictions(self._file(name), found)
            return {"setting": model.setting}

        fits: dict[str, Callable[[], Any]] = {
            "majority": lambda: baselines.majority(golds["train"], labels),
            "tfidf": lambda: baselines.tfidf(
                texts["train"], golds["train"], texts["validation"], golds["validation"], labels
            ),
        }
        for name, fit in fits.items():
            if name in self.recipe.measure.systems:
                self._stage(name, [self._data_key()], [self._file(name)], lambda n=name, f=fit: write(n, f))  # type: ignore[misc]

    def _constant(self) -> None:
        """The majority baseline of a task without classes."""

        def work() -> dict[str, Any]:
            train, test = self.data.part("train"), self.data.part("test")
            same = answer_the_same(train, test, "test") if self.data.task.written else most_frequent_place(train, test)
            answer, found = same
            write_predictions(self._file("majority"), found)
            return {"setting": {"answer": answer}}

        if "majority" in self.recipe.measure.systems:
            self._stage("majority", [self._data_key()], [self._file("majority")], work)

    def measure_base(self) -> None:
        """The base as it is: zero-shot, few-shot, written out, and what it can do outside the trade."""
        for name in ("base", "base-fewshot"):
            if name in self.recipe.measure.systems:
                few = "few" in name
                shots = few_shots(self.data, self.recipe.measure.shots, self.recipe.seed) if few else ([], {})
                reads = [self._data_key(), self._model_key(), shots]
                self._stage(name, reads, [self._file(name)], lambda n=name, s=shots: self._answer(n, s))  # type: ignore[misc]
        self._generated("base-generated", [self._data_key(), self._model_key()], self.runner)
        self._retention("base", [self._model_key()], self.runner)

    def _answer(self, name: str, chosen: tuple[Shots, dict[str, Shots]]) -> dict[str, Any]:
        shots, own = chosen
        encoder = self._encoder(self.recipe.max_tokens * (2 if shots or own else 1), shots)
        test = self.data.part("test")
        if len(fitting := fitting_shots(encoder, shots)) < len(shots):
            console.print(f"  note: {len(fitting)} of {len(shots)} solved examples fit into {name}'s prompt")
            shots = encoder.shots = fitting
        runner = self.runner()
        with bar(f"measure {name}", len(test)) as tick:
            if self.data.task.written:
                found = self._write(runner, encoder, trained=False, tick=tick)
            elif self.data.task.kind == "multiple_choice":
                found = answer_choices(runner, encoder, test, tick, own_shots=own)
            else:
                found = answer_labels(runner, encoder, test, "test", tick, own_shots=own)
        write_predictions(self._file(name), found)
        about: Any = {"each": self.data.protocol["shots"]} if own else [answer for _, answer in shots]
        return {"truncated": encoder.truncated, "shots": about}

    def _generated(self, name: str, reads: list[Any], runner: Callable[[], Runner]) -> None:
        """The second protocol of a classification task: the label is written, and read back."""
        if self.data.task.written or not self.recipe.measure.generation:
            return

        def work() -> None:
            with bar(f"measure {name}", len(self.data.part("test"))) as tick:
                found = self._write(runner(), self.encoder, trained=name.startswith("specialist"), tick=tick)
            write_predictions(self._file(name), found)

        self._stage(name, reads, [self._file(name)], work)

    def _write(self, runner: Runner, encoder: Encoder, *, trained: bool, tick: Tick) -> list[Prediction]:
        room = answer_room(self.encoder, self.data.part("train"))
        return answer_in_words(runner, encoder, self.data.part("test"), "test", room=room, trained=trained, tick=tick)

    def _retention(self, system: str, reads: list[Any], runner: Callable[[], Runner]) -> None:
        for general in self.general:
            file = self.predictions / f"{general.task.name}.{system}.parquet"
            key = [reads, general.task.model_dump(mode="json"), [e.id for e in general.examples]]
            name = f"retention-{general.task.name}-{system}"

            def work(general: Loaded = general, file: Path = file, system: str = system) -> None:
                with bar(f"{general.task.name}, {system}", len(general.examples)) as tick:
                    measure_retention(runner(), self.encoder.tokenizer, general, file, self.encoder.max_tokens, tick)

            self._stage(name, key, [file], work)

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
        self.directory.record(training=summary)
        shutil.rmtree(self.checkpoints / "best", ignore_errors=True)
        # also what `metier evaluate` and `metier curve` found is of the specialist that was here before
        for name in ("scores.json", "curve.json"):
            (self.path / "evidence" / name).unlink(missing_ok=True)
        return {}

    def _leave_as_it_is(self) -> dict[str, Any]:
        """The specialist is the base itself, with the task's prompt and its calibration."""
        room = answer_room(self.encoder, self.data.part("train")) if self.data.task.written else None
        write_bundle(
            self.specialist, None, self.encoder, self.base, self.device.dtype, method="none", answer_tokens=room
        )
        self.directory.record(training={"method": "none"})
        return {}

    # -- measuring again -----------------------------------------------------------------------------------------

    def measure_specialist(self) -> None:
        """The specialist on validation (for calibration) and, once, on test; written out; then what it forgot."""
        reads = [self._data_key(), self._model_key(), self._weights()]
        file = self._file("specialist")

        def work() -> None:
            if self.data.task.written:
                self._write_specialist()
                return
            parts = [(part, self.data.part(part)) for part in self.data.split.parts if part != "train"]
            found = []
            with bar("measure specialist", sum(len(examples) for _, examples in parts)) as tick:
                for part, examples in parts:
                    if self.data.task.kind == "multiple_choice":
                        found += answer_choices(self._adapted(), self.encoder, examples, tick, part=part)
                    else:
                        found += answer_labels(self._adapted(), self.encoder, examples, part, tick)
            write_predictions(file, found)

        self._stage("specialist", reads, [file], work)
        self._generated("specialist-generated", reads, self._adapted)
        self._retention("specialist", reads, self._adapted)

    def measure_mixture(self) -> None:
        """The specialist, and rivals that learnt one task alone, on the test part of every task mixed in."""
        if not self.mixture:
            return
        for data in self.mixture.others:
            reads = [data.to_json()["hash"], self._model_key(), self._weights()]
            files = {name: self.predictions / f"{data.name}.{name}.parquet" for name in ("tfidf", "specialist")}

            def work(data: Data = data, files: dict[str, Path] = files) -> None:
                write_predictions(files["tfidf"], classical_answers(data, data.part("test"))["tfidf"])
                with bar(f"measure on {data.name}", len(data.part("test"))) as tick:
                    found = answer_labels(self._adapted(), self.encoder, data.part("test"), "test", tick)
                write_predictions(files["specialist"], found)

            self._stage(f"mixture-{data.name}", reads, list(files.values()), work)
        if self.recipe.mix and self.recipe.mix.alone:
            self._release()
            each_alone(self.recipe, self.path, [d.name for d in (self.data, *self.mixture.others)], self._carry)

    def repeat(self) -> None:
        """The same training with other seeds."""
        (self.path / "evidence" / "seeds.json").unlink(missing_ok=True)
        if self.recipe.seeds:
            self._release()
            with_other_seeds(self.recipe, self.path, self.data.name, self.data.task.metric, self._carry)

    def _carry(self, recipe: Recipe, folder: Path) -> Path:
        where = {"data_root": self.data_root, "offline": self.offline}
        return carry_out(recipe, as_yaml(recipe), folder, **where)  # type: ignore[arg-type]

    def _write_specialist(self) -> None:
        with bar("measure specialist", len(self.data.part("test"))) as tick:
            found = self._write(self._adapted(), self.encoder, trained=True, tick=tick)
        write_predictions(self._file("specialist"), found)

    def score(self) -> None:
        """Scores with intervals from the predictions; calibration into the specialist."""
        task, seed = self.data.task, self.recipe.seed
        together = ["alone"] if self.recipe.mix and self.recipe.mix.alone else []
        systems = [*self.recipe.measure.systems, *together, "specialist"]
        evidence = self.path / "evidence"
        if task.written:
            entries = score_written(evidence, task, systems, seed)
        elif task.kind == "multiple_choice":
            entries = score_choices(evidence, task, systems, seed)
        else:
            slices = Slices.of(task, self.data.part("test"))
            entries = write_task_scores(evidence, task.name, task.labels, task.metric, systems, seed, slices=slices)
        if self.recipe.measure.generation and not task.written:
            entries |= score_generated(evidence, task, seed)
        entries |= self.score_asked()
        for data in self.mixture.others if self.mixture else ():
            write_task_scores(
                evidence,
                data.name,
                task.labels,
                task.metric,
                ["tfidf", *together, "specialist"],
                seed,
                fit_on=task.name,
            )
        scores = {**read_scores(evidence / "scores.json"), task.name: entries}
        for general in self.general:
            scores[general.task.name] = score_retention(self.predictions, general, seed)
        for name, reason in self.absent.items():
            scores[name] = {system: failed(reason) for system in ("base", "specialist")}
        write_json(evidence / "scores.json", scores)
        self._entries = entries
        if not task.written:
            self._calibrate()

    def _calibrate(self) -> None:
        """The temperature that the specialist divides its log-probabilities by, and the thresholds of its answers."""
        predictions, labels = read_predictions(self._file("specialist")), self.data.task.labels
        validation = [p for p in predictions if p.split == "validation"]
        if not validation:
            nothing = {"temperature": 1.0, "fitted_on": 0, "warning": "there was no validation part to fit it on"}
            write_json(self.specialist / "calibration.json", nothing)
            return
        fits = self.data.task.kind == "multiple_choice"
        temperature = fit_choices(validation) if fits else fit_calibration(validation, labels)
        demand, seed = self.recipe.selective, self.recipe.seed
        shipped, measured = calibrate_answers(predictions, labels, temperature.served, demand, seed)
        write_json(
            self.specialist / "calibration.json",
            {"temperature": temperature.served, "fitted_on": len(validation), "warning": temperature.warning} | shipped,
        )
        self._entries["specialist"] |= measured
        merge_scores(
            self.path / "evidence" / "scores.json", self.data.task.name, "specialist", self._entries["specialist"]
        )

    def report(self) -> None:
        """The report and the model card, from the run directory alone."""
        from metier.report import write_card, write_report

        seconds = sum(stage["seconds"] for stage in self.directory.manifest["stages"].values())
        energy = {"watt_hours": round(seconds * WATTS / 3600, 2), "seconds": round(seconds, 1),
                  "assumption": f"{WATTS:g} W for the whole machine while it works; not measured"}  # fmt: skip
        self.directory.record(finished=now(), energy=energy)
        page = write_report(self.path)
        write_card(self.path)
        metric = self.data.task.metric
        wide = max(20, *map(len, self._entries))
        for name, entry in self._entries.items():
            if entry["status"] != "ok":
                console.print(f"  {name:<{wide}} {entry['status']}: {entry['reason']}", markup=False)
                continue
            found = entry["metrics"][metric]
            ends = "(no interval)" if found["low"] is None else f"[{found['low']:.3f}, {found['high']:.3f}]"
            line = f"{found['value']:.3f}  {ends}  n = {found['n']}"
            line += f"  read {entry['parse_rate']:.1%}" if entry["parse_rate"] < 1 else ""
            console.print(f"  {name:<{wide}} {metric} {line}", markup=False)
        if demanded := self._entries["specialist"].get("selective"):
            console.print(f"  {in_words(demanded)}", markup=False)
        console.print(f"  report: [bold]{page}[/]")
