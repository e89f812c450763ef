"""What the stages of a run share: the recipe, the directory, what has been loaded, and what each stage reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from metier.files import sha256_file
from metier.models.adapters import ADAPTERS, load_adapter
from metier.models.bases import Base
from metier.models.device import Device, choose_device
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import fitting, load_model, load_tokenizer
from metier.recipe import Recipe
from metier.run.data import Data
from metier.run.keys import data_key, model_key, training_key
from metier.run.mixture import Mixture
from metier.run.progress import console
from metier.run.stages import RunDirectory
from metier.tasks import Loaded


class Work:
    """What the stages share: the recipe, the directory, and what has been loaded so far."""

    def __init__(self, recipe: Recipe, directory: RunDirectory, data_root: Path | None, offline: bool) -> None:
        self.recipe, self.directory, self.path = recipe, directory, directory.path
        self.data_root, self.offline = data_root, offline
        self.predictions = self.path / "evidence" / "predictions"
        self.checkpoints = self.path / "checkpoints"
        self.specialist = self.path / "specialist"
        self.absent: dict[str, str] = {}
        self.not_asked: dict[str, str] = {}  # systems that cannot be measured, and why
        self.data: Data
        self.base: Base
        self.device: Device
        self.encoder: Encoder
        self.general: list[Loaded] = []
        self.mixture: Mixture | None = None
        self._known_key: list[Any] | None = None
        self._runner: Runner | None = None
        self._loaded_back = False

    def _stage(self, name: str, reads: Any, outputs: list[Path], work: Callable[[], Any]) -> None:
        if not self.directory.stage(name, reads, outputs, work):
            console.print(f"  {name}: done before", style="dim", markup=False)

    def _file(self, system: str) -> Path:
        return self.predictions / f"{self.data.task.name}.{system}.parquet"

    def _data_key(self) -> list[Any]:
        if self._known_key is None:
            self._known_key = data_key(self.data)
        return self._known_key

    def _weights(self) -> list[str]:
        return [sha256_file(file) for file in sorted(self.specialist.glob("*.safetensors"))]

    def _model_key(self) -> list[Any]:
        return model_key(self.recipe, self.base, self.device)

    def _training_key(self) -> list[Any]:
        return training_key(self.recipe, self.data, self.mixture, self.base, self.device)

    def _encoder(self, max_tokens: int, shots: list[Any] | None = None) -> Encoder:
        taken = self.recipe.adapt.soft_tokens
        limit = fitting(self.base.path, max_tokens, taken=taken, answers=self.data.answers)
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
        if not self._loaded_back:
            if self.recipe.adapt.method == "none":
                return self.runner()
            if self.recipe.adapt.method in ADAPTERS:
                model = load_adapter(self._fresh_model(), self.specialist)
            else:
                model = load_model(self.specialist, dtype=self.device.torch_dtype, device=self.device.device)
            self._runner = Runner(model, packing=self._runner.packing if self._runner else None)
            self._loaded_back = True
        return self.runner()

    def _learnt(self) -> bool:
        """Whether the specialist learnt to end its answers: without any training it is the base, and goes on alike."""
        return self.recipe.adapt.method != "none"

    def _release(self) -> None:
        """Let go of the model: another run needs the memory."""
        self._runner, self._loaded_back = None, False

    def _device(self) -> Device:
        """A continued run keeps the number format it began with: the same bytes must come out."""
        before = self.directory.manifest.get("device", {})
        same = before.get("asked") == [self.recipe.device, self.recipe.dtype]
        chosen = choose_device(self.recipe.device, before["dtype"] if same else self.recipe.dtype)
        kept = same and self.recipe.dtype == "auto"
        return replace(chosen, why=f"{chosen.dtype}, the format of the run's first start") if kept else chosen
