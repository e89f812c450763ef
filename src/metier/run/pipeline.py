"""A run, from top to bottom: resolve, split, measure the base, adapt, measure again, calibrate, report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from metier.evaluation import baselines
from metier.evaluation.averaged import Slices
from metier.evaluation.evidence import failed, read_predictions, read_scores, write_predictions
from metier.files import sha256_file, write_json, write_text
from metier.inference.bundle import write_bundle
from metier.models.adapters import attach_lora, load_adapter, train_everything
from metier.models.bases import Base, resolve
from metier.models.device import Device, choose_device, prepare_process
from metier.models.encode import Encoder, split_prefix
from metier.models.forward import Runner
from metier.models.layers import lowest_layer
from metier.models.load import fitting, load_model, load_tokenizer, parameters
from metier.recipe import Recipe, load_recipe
from metier.run.again import each_alone, from_fewer, with_other_seeds
from metier.run.data import Data, Shots, few_shots, prepare_data
from metier.run.measure import (
    answer_labels,
    classical_answers,
    fit_calibration,
    label_trunk,
    measure_retention,
    retention_data,
    score_retention,
    validation_metrics,
    write_task_scores,
)
from metier.run.mixture import Mixture, mix_tasks
from metier.run.progress import bar, console
from metier.run.stages import RunDirectory, now, open_run, versions
from metier.sources import Lock
from metier.tasks import Loaded
from metier.training.loop import Progress, Schedule, train

WATTS = 65.0  # a laptop or server core pair under load; the report says that it is an assumption


def run(recipe_path: Path, *, out: Path | None = None, data_root: Path | None = None, offline: bool = False) -> Path:
    """Carry out a recipe; returns the run directory. Finished stages are not repeated.

    Errors: :class:`MetierError` for what the user can mend; the directory can always be continued.
    """
    recipe = load_recipe(recipe_path)
    text = recipe_path.read_text(encoding="utf-8")
    return _carry_out(recipe, text, out or Path("runs") / recipe.name, data_root=data_root, offline=offline)


def curve(
    recipe_path: Path,
    *,
    sizes: Sequence[int] | None = None,
    out: Path | None = None,
    data_root: Path | None = None,
    offline: bool = False,
) -> Path:
    """Carry out a recipe from ever more examples: at what size does fine-tuning start to win?

    Returns:
        ``evidence/curve.json`` of the run directory, whose report shows it as a plot.
    """
    from metier.report import write_report
    from metier.report.read import read_run

    path = run(recipe_path, out=out, data_root=data_root, offline=offline)
    recipe = load_recipe(recipe_path)
    found = read_run(path)

    def carry(smaller: Recipe, folder: Path) -> Path:
        console.print(f"[bold]from {smaller.split.most_train} examples[/]")
        return _carry_out(smaller, _as_yaml(smaller), folder, data_root=data_root, offline=offline)

    count = sum(found.splits["counts"]["train"].values())
    target = from_fewer(recipe, path, found.task["name"], found.metric, count, carry, sizes)
    write_report(path)
    return target


def _carry_out(recipe: Recipe, text: str, path: Path, *, data_root: Path | None, offline: bool) -> Path:
    with open_run(path) as directory:
        write_text(directory.path / "recipe.yaml", text)
        work = _Work(recipe, directory, data_root, offline)
        work.resolve()
        work.baselines()
        work.measure_base()
        work.adapt()
        work.measure_specialist()
        work.measure_mixture()
        work.score()
        work.repeat()
        work.report()
    return path


def _as_yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


class _Work:
    """What the stages share: the recipe, the directory, and what has been loaded so far."""

    def __init__(self, recipe: Recipe, directory: RunDirectory, data_root: Path | None, offline: bool) -> None:
        self.recipe, self.directory, self.path = recipe, directory, directory.path
        self.data_root, self.offline = data_root, offline
        self.predictions = self.path / "evidence" / "predictions"
        self.checkpoints = self.path / "checkpoints"
        self.specialist = self.path / "specialist"
        self.absent: dict[str, str] = {}
        self.data: Data
        self.base: Base
        self.device: Device
        self.encoder: Encoder
        self.general: list[Loaded] = []
        self.mixture: Mixture | None = None
        self._runner: Runner | None = None

    # -- resolve -------------------------------------------------------------------------------------------------

    def resolve(self) -> None:
        """Find everything, split the data, and say what will be used."""
        recipe, where = self.recipe, {"data_root": self.data_root, "offline": self.offline}
        lock = Lock.load(self.path / "lock.json")
        self.data = prepare_data(recipe, lock=lock, **where)  # type: ignore[arg-type]
        if recipe.mix:
            self.mixture = mix_tasks(recipe, self.data, lock=lock, **where)  # type: ignore[arg-type]
        self.base = resolve(recipe.base, lock=lock, offline=self.offline)
        if recipe.retention:
            found = retention_data(recipe.retention, recipe.seed, lock=lock, **where)  # type: ignore[arg-type]
            self.general, self.absent = found
        lock.save(self.path / "lock.json")
        self.device = self._device()
        prepare_process(self.device.device)
        self.encoder = self._encoder(recipe.max_tokens)
        write_json(self.path / "data" / "splits.json", self.data.to_json())
        if self.mixture:
            splits = {data.name: data.to_json() for data in self.mixture.others}
            write_json(self.path / "data" / "mixture.json", {"drawn": self.mixture.drawn, "splits": splits})
        retention = {general.task.name: {"title": general.task.title} for general in self.general}
        self.directory.record(**self._description(), retention=retention)
        counts = " · ".join(f"{part} {len(self.data.part(part))}" for part in ("train", "validation", "test"))
        console.print(f"[bold]{recipe.name}[/]: {self.data.task.title}, {counts}")
        console.print(f"  base {self.base.name} ({self.base.ref}) on {self.device.device}: {self.device.why}")
        notes = [f"forgetting is not measured on {name}: {reason}" for name, reason in self.absent.items()]
        for note in [*self.data.loaded.warnings, *notes]:
            console.print(f"  note: {note}", markup=False)

    def _device(self) -> Device:
        """A continued run keeps the number format it began with: the same bytes must come out."""
        before = self.directory.manifest.get("device", {})
        same = before.get("asked") == [self.recipe.device, self.recipe.dtype]
        return choose_device(self.recipe.device, before["dtype"] if same else self.recipe.dtype)

    def _description(self) -> dict[str, Any]:
        task, example = self.data.task, self.data.part("train")[0]
        prefix, _ = split_prefix(
            [self.encoder.training_item(e.inputs, e.target) for e in self.data.part("train")[:200]]
        )
        prompt = self.encoder.prompt(example.inputs)
        before = self.directory.manifest.get("device", {})
        asked = [self.recipe.device, self.recipe.dtype]
        device = before if before.get("asked") == asked else {**self.device.to_json(), "asked": asked}
        return {
            "name": self.recipe.name,
            "recipe": self.recipe.model_dump(mode="json"),
            "task": {
                **task.model_dump(mode="json", exclude={"sources", "variants"}),
                "where": self.data.loaded.where,
                "variant": self.recipe.task.variant,
                "protocol": self.data.protocol,
            },
            "base": self.base.to_json(),
            "prompt": {
                "rendered": self.encoder.render(example.inputs),
                "inputs": dict(example.inputs),
                "tokens": len(prompt),
                "shared_prefix_tokens": len(prefix),
                "answer_tokens": {label: len(self.encoder.answer(label)) for label in task.labels},
                "answer_ids": {label: list(self.encoder.answer(label)) for label in task.labels},
                "loss_on": "the answer's tokens and its end token",
                "answer": example.target,
                "end": self.encoder.tokenizer.decode([self.encoder.end]),
            },
            "device": device,
            "versions": versions(),
            "seed": self.recipe.seed,
        }

    # -- what the specialist is compared with --------------------------------------------------------------------

    def baselines(self) -> None:
        """Majority and TF-IDF with logistic regression, tuned on validation."""
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

    def measure_base(self) -> None:
        """The base as it is: zero-shot, few-shot, and what it can do outside the trade."""
        for name in ("base", "base-fewshot"):
            if name in self.recipe.measure.systems:
                few = "few" in name
                shots = few_shots(self.data, self.recipe.measure.shots, self.recipe.seed) if few else ([], {})
                reads = [self._data_key(), self._model_key(), shots]
                self._stage(name, reads, [self._file(name)], lambda n=name, s=shots: self._answer(n, s))  # type: ignore[misc]
        self._retention("base", [self._model_key()], self.runner)

    def _answer(self, name: str, chosen: tuple[Shots, dict[str, Shots]]) -> dict[str, Any]:
        shots, own = chosen
        encoder = self._encoder(self.recipe.max_tokens * (2 if shots or own else 1), shots)
        test = self.data.part("test")
        runner = self.runner()
        with bar(f"measure {name}", len(test)) as tick:
            write_predictions(self._file(name), answer_labels(runner, encoder, test, "test", tick, own_shots=own))
        about: Any = {"each": self.data.protocol["shots"]} if own else [answer for _, answer in shots]
        return {"truncated": encoder.truncated, "shots": about}

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
        if self.recipe.adapt.method == "lora":
            outputs.append(self.specialist / "adapter_model.safetensors")
        self._stage("adapt", self._training_key(), outputs, self._train)

    def _train(self) -> dict[str, Any]:
        adapt, recipe = self.recipe.adapt, self.recipe
        key = self.directory.sha(self._training_key())
        model = self._fresh_model()
        lowest = lowest_layer(adapt.lowest_layer, model)
        if adapt.method == "lora":
            model = attach_lora(
                model,
                rank=adapt.rank,
                alpha=adapt.scale,
                dropout=adapt.dropout,
                targets=adapt.targets,
                seed=recipe.seed,
                lowest=lowest,
            )
        else:
            model = train_everything(model, lowest)
        self._runner = runner = Runner(model, packing=self.runner().packing if self._runner else None)
        train_part = self.mixture.train if self.mixture else self.data.part("train")
        items = [self.encoder.training_item(e.inputs, e.target) for e in train_part]
        trainable, everything = parameters(model)
        steps = adapt.epochs * -(-len(items) // adapt.batch_size)
        schedule = self._schedule(steps)
        console.print(
            f"  adapt {adapt.method}: {trainable:,} of {everything:,} weights, "
            f"{len(items)} examples × {adapt.epochs} epochs = {steps} steps, peak rate {adapt.rate:g}"
            + (f", layers below {lowest} computed once" if lowest else "")
        )
        looks = [data.part("validation") for data in (self.data, *(self.mixture.others if self.mixture else ()))]
        spill = self.checkpoints / "validation-trunk"
        trunks = [label_trunk(runner, self.encoder, examples, lowest, spill) for examples in looks]

        def validate() -> dict[str, float]:
            """Of a mixture: the mean over its tasks, however large each is."""
            found = [validation_metrics(runner, self.encoder, *look) for look in zip(looks, trunks, strict=True)]
            return {name: sum(metrics[name] for metrics in found) / len(found) for name in found[0]}

        with bar("adapt", steps) as advance:
            shown = 0

            def report(progress: Progress, total: int, loss: float, rate: float) -> None:
                nonlocal shown
                speed = progress.examples / progress.seconds
                advance(progress.step - shown, f"loss {loss:.3f} · {speed:.1f} examples/s")
                shown = progress.step

            result = train(
                runner, items, schedule, folder=self.checkpoints, log=self.path / "log.jsonl", key=key,
                lowest_layer=lowest, validate=validate, report=report,
            )  # fmt: skip
        write_bundle(self.specialist, model, self.encoder, self.base, self.device.dtype, method=adapt.method)
        summary = _training_summary(result, adapt.method, trainable, everything, adapt.epochs, len(items))
        summary["lowest_layer"] = lowest
        summary["truncated"] = self.encoder.truncated
        self.directory.record(training=summary)
        shutil.rmtree(self.checkpoints / "best", ignore_errors=True)
        # also what `metier evaluate` found is of the specialist that was here before
        (self.path / "evidence" / "scores.json").unlink(missing_ok=True)
        return {}

    def _schedule(self, steps: int) -> Schedule:
        adapt = self.recipe.adapt
        return Schedule(
            epochs=adapt.epochs,
            batch_size=adapt.batch_size,
            learning_rate=adapt.rate,
            warmup=adapt.warmup,
            weight_decay=adapt.weight_decay,
            clip=adapt.clip,
            validate_every=max(1, steps // (adapt.epochs * adapt.validations_per_epoch)),
            patience=adapt.patience,
            checkpoint_every=adapt.checkpoint_every,
            micro_batch_tokens=adapt.micro_batch_tokens,
            seed=self.recipe.seed,
        )

    # -- measuring again -----------------------------------------------------------------------------------------

    def measure_specialist(self) -> None:
        """The specialist on validation (for calibration) and, once, on test; then what it forgot."""
        reads = [self._data_key(), self._model_key(), self._weights()]
        file = self._file("specialist")

        def work() -> None:
            parts = [(part, self.data.part(part)) for part in ("validation", "test")]
            found = []
            with bar("measure specialist", sum(len(examples) for _, examples in parts)) as tick:
                for part, examples in parts:
                    found += answer_labels(self._adapted(), self.encoder, examples, part, tick)
            write_predictions(file, found)

        self._stage("specialist", reads, [file], work)
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
            self._runner, self._loaded_back = None, False
            each_alone(self.recipe, self.path, [d.name for d in (self.data, *self.mixture.others)], self._carry)

    def repeat(self) -> None:
        """The same training with other seeds."""
        (self.path / "evidence" / "seeds.json").unlink(missing_ok=True)
        if self.recipe.seeds:
            self._runner, self._loaded_back = None, False
            with_other_seeds(self.recipe, self.path, self.data.name, self.data.task.metric, self._carry)

    def _carry(self, recipe: Recipe, folder: Path) -> Path:
        where = {"data_root": self.data_root, "offline": self.offline}
        return _carry_out(recipe, _as_yaml(recipe), folder, **where)  # type: ignore[arg-type]

    def score(self) -> None:
        """Scores with intervals from the predictions; calibration into the specialist."""
        task, seed = self.data.task, self.recipe.seed
        together = ["alone"] if self.recipe.mix and self.recipe.mix.alone else []
        systems = [*self.recipe.measure.systems, *together, "specialist"]
        evidence = self.path / "evidence"
        slices = Slices.of(task, self.data.part("test"))
        entries = write_task_scores(evidence, task.name, task.labels, task.metric, systems, seed, slices=slices)
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
        scores = read_scores(evidence / "scores.json")
        for general in self.general:
            scores[general.task.name] = score_retention(self.predictions, general, seed)
        for name, reason in self.absent.items():
            scores[name] = {system: failed(reason) for system in ("base", "specialist")}
        write_json(evidence / "scores.json", scores)
        validation = [p for p in read_predictions(self._file("specialist")) if p.split == "validation"]
        temperature = fit_calibration(validation, task.labels)
        value = 1.0 if temperature.at_bound else temperature.value
        write_json(
            self.specialist / "calibration.json",
            {"temperature": value, "fitted_on": len(validation), "warning": temperature.warning},
        )
        self._entries = entries

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
        for name, entry in self._entries.items():
            found = entry["metrics"][metric]
            line = f"{found['value']:.3f}  [{found['low']:.3f}, {found['high']:.3f}]  n = {found['n']}"
            console.print(f"  {name:<14} {metric} {line}", markup=False)
        console.print(f"  report: [bold]{page}[/]")

    # -- helpers -------------------------------------------------------------------------------------------------

    def _stage(self, name: str, reads: Any, outputs: list[Path], work: Callable[[], Any]) -> None:
        if not self.directory.stage(name, reads, outputs, work):
            console.print(f"  [dim]{name}: done before[/]")

    def _file(self, system: str) -> Path:
        return self.predictions / f"{self.data.task.name}.{system}.parquet"

    def _data_key(self) -> list[Any]:
        return [self.data.to_json()["hash"], self.data.task.model_dump(mode="json", exclude={"sources", "variants"})]

    def _weights(self) -> list[str]:
        return [sha256_file(file) for file in sorted(self.specialist.glob("*.safetensors"))]

    def _model_key(self) -> list[Any]:
        return [self.base.sha256, self.device.dtype, self.device.device, self.recipe.max_tokens]

    def _training_key(self) -> list[Any]:
        library = versions()
        adapt = self.recipe.adapt.model_dump(mode="json", exclude={"checkpoint_every"})
        key = [self._data_key(), self._model_key(), adapt, self.recipe.seed, library["torch"], library["peft"]]
        if self.mixture:
            key += [[e.id for e in self.mixture.train], [data.to_json()["hash"] for data in self.mixture.others]]
        return key

    def _encoder(self, max_tokens: int, shots: list[Any] | None = None) -> Encoder:
        limit = fitting(self.base.path, max_tokens)
        return Encoder(load_tokenizer(self.base.path), self.data.task, limit, shots or [])

    def _fresh_model(self) -> Any:
        return load_model(self.base.path, dtype=self.device.torch_dtype, device=self.device.device)

    def runner(self) -> Runner:
        """The model in use: the base until it is adapted."""
        if self._runner is None:
            self._runner = Runner(self._fresh_model())
        return self._runner

    def _adapted(self) -> Runner:
        """The specialist as it was written to disk: what is measured is what is shipped."""
        if not getattr(self, "_loaded_back", False):
            if self.recipe.adapt.method == "lora":
                model = load_adapter(self._fresh_model(), self.specialist)
            else:
                model = load_model(self.specialist, dtype=self.device.torch_dtype, device=self.device.device)
            self._runner = Runner(model, packing=self._runner.packing if self._runner else None)
            self._loaded_back = True
        return self.runner()


def _training_summary(
    result: Progress, method: str, trainable: int, everything: int, epochs: int, examples: int
) -> dict[str, Any]:
    seconds = max(result.seconds, 1e-9)
    return {
        "method": method,
        "trainable_parameters": trainable,
        "total_parameters": everything,
        "steps": result.step,
        "epochs": epochs,
        "examples": examples,
        "examples_seen": result.examples,
        "examples_per_s": round(result.examples / seconds, 2),
        "tokens_per_s": round(result.tokens / seconds, 1),
        "seconds": round(result.seconds, 1),
        "tokens": result.tokens,
        "loss_tokens": result.loss_tokens,
        "best_step": result.best_step,
        "best_validation": result.best_metric,
        "stopped": result.stopped,
    }
