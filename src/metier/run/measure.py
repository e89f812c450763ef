"""The base before, the specialist after: how each answers the task, and what it can do outside the trade."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from metier.evaluation.evidence import write_predictions
from metier.evaluation.scores import Prediction
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.run.answers import answer
from metier.run.data import Shots, few_shots
from metier.run.generative import answer_in_words, answer_room
from metier.run.lengths import fitting_shots
from metier.run.progress import bar, console
from metier.run.retention import measure_retention
from metier.run.strategies import Asking
from metier.tasks import Loaded

NO_SHOT_FITS = "no solved example fits into half of the longest prompt"


class Measuring(Asking):
    """The stages that measure base and specialist."""

    def measure_base(self) -> None:
        """The base as it is: zero-shot, few-shot, written out, and what it can do outside the trade."""
        for name in ("base", "base-fewshot"):
            if name in self.recipe.measure.systems:
                few = "few" in name
                shots = few_shots(self.data, self.recipe.measure.shots, self.recipe.seed) if few else ([], {})
                if shots[0] and not fitting_shots(self._shot_encoder(shots), shots[0]):
                    self.not_asked[name] = NO_SHOT_FITS
                    console.print(f"  note: {name} is not measured: {NO_SHOT_FITS}")
                    continue
                reads = [self._data_key(), self._model_key(), shots]
                self._stage(name, reads, [self._file(name)], lambda n=name, s=shots: self._ask_base(n, s))  # type: ignore[misc]
        self._generated("base-generated", [self._data_key(), self._model_key()], self.runner)
        self._retention("base", [self._model_key()], self.runner)

    def _ask_base(self, name: str, chosen: tuple[Shots, dict[str, Shots]]) -> dict[str, Any]:
        """Zero-shot, or behind solved examples: the same for all questions, or its own for each."""
        shots, own = chosen
        encoder = self._shot_encoder(chosen)
        if len(fitting := fitting_shots(encoder, shots)) < len(shots):
            console.print(f"  note: {len(fitting)} of {len(shots)} solved examples fit into {name}'s prompt")
            shots = encoder.shots = fitting
        runner, test = self.runner(), self.data.part("test")
        with bar(f"measure {name}", len(test)) as tick:
            found = answer(runner, encoder, test, "test", room=self._room(), trained=False, tick=tick, own_shots=own)
        write_predictions(self._file(name), found)
        about: Any = {"each": self.data.protocol["shots"]} if own else [target for _, target in shots]
        return {"truncated": encoder.truncated, "shots": about}

    def _shot_encoder(self, chosen: tuple[Shots, dict[str, Shots]]) -> Encoder:
        """Prompts behind solved examples may be twice as long."""
        shots, own = chosen
        return self._encoder(self.recipe.max_tokens * (2 if shots or own else 1), shots)

    def measure_specialist(self) -> None:
        """The specialist on validation (for calibration) and, once, on test; written out; then what it forgot."""
        reads = [self._data_key(), self._model_key(), self._weights()]
        self._stage("specialist", reads, [self._file("specialist")], self._ask_specialist)
        self._generated("specialist-generated", reads, self._adapted)
        self._retention("specialist", reads, self._adapted)

    def _ask_specialist(self) -> None:
        # written answers carry no probability, so that there is nothing to calibrate
        names = ["test"] if self.data.task.written else [part for part in self.data.split.parts if part != "train"]
        found: list[Prediction] = []
        with bar("measure specialist", sum(len(self.data.part(name)) for name in names)) as tick:
            for name in names:
                found += answer(
                    self._adapted(), self.encoder, self.data.part(name), name, room=self._room(),
                    trained=self._learnt(), tick=tick,
                )  # fmt: skip
        write_predictions(self._file("specialist"), found)

    def _room(self) -> int | None:
        """Most tokens of an answer; None where the task's answers are chosen, not written."""
        return answer_room(self.encoder, self.data.part("train")) if self.data.task.written else None

    def _generated(self, name: str, reads: list[Any], runner: Callable[[], Runner]) -> None:
        """The second protocol of a classification task: the label is written, and read back."""
        if self.data.task.written or not self.recipe.measure.generation:
            return

        def work() -> None:
            test, trained = self.data.part("test"), name.startswith("specialist") and self._learnt()
            with bar(f"measure {name}", len(test)) as tick:
                room = answer_room(self.encoder, self.data.part("train"))
                found = answer_in_words(runner(), self.encoder, test, "test", room=room, trained=trained, tick=tick)
            write_predictions(self._file(name), found)

        self._stage(name, reads, [self._file(name)], work)

    def _retention(self, system: str, reads: list[Any], runner: Callable[[], Runner]) -> None:
        for general in self.general:
            file = self.predictions / f"{general.task.name}.{system}.parquet"
            key = [reads, general.task.model_dump(mode="json"), [e.id for e in general.examples]]
            name = f"retention-{general.task.name}-{system}"

            def work(general: Loaded = general, file: Path = file, system: str = system) -> None:
                with bar(f"{general.task.name}, {system}", len(general.examples)) as tick:
                    measure_retention(runner(), self.encoder.tokenizer, general, file, self.encoder.max_tokens, tick)

            self._stage(name, key, [file], work)
