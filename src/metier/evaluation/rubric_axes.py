"""What raters are asked: axes with their options, published ones by name and own ones from YAML."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from metier.errors import MetierError, nearest

FOLDER = resources.files("metier.evaluation") / "rubrics"
SIDES = ("A", "B", "tie")
TEXTS = {"independent": ("answer",), "pairwise": ("answer_a", "answer_b")}
"""Columns of a sheet with what is judged, by mode."""
HEAD = ("rater", "item", "question")
"""Columns that every sheet begins with."""
Mode = Literal["independent", "pairwise"]


def _trimmed(value: str) -> str:
    if not (text := " ".join(value.split())):
        raise ValueError("it is empty")
    return text


Word = Annotated[str, AfterValidator(_trimmed)]


class Axis(BaseModel):
    """One question about an answer, or about two.

    Attributes:
        name: short, of letters, digits, hyphens and underscores; a column of sheets.
        title: what reports call it.
        question: as the rater reads it.
        options: what can be chosen, in the order shown; of a comparison always A, B and tie.
        good: the options that count as good: reports give their share. The first option if left out.
        prefer: of a comparison, whether the chosen answer is the better one or the other is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
    title: Word = ""
    question: Word
    options: Annotated[list[Word], Field(max_length=20)] = []
    good: list[Word] = []
    prefer: Literal["chosen", "other"] = "chosen"

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(name := values.get("name"), str) and not values.get("title"):
            return {**values, "title": name.replace("_", " ").capitalize()}
        return values


class Rubric(BaseModel):
    """A set of axes, all of one mode."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Word
    title: Word = "Own axes"
    mode: Mode = "independent"
    source: Word = "own axes"
    axes: Annotated[list[Axis], Field(min_length=1, max_length=60)]

    @model_validator(mode="after")
    def _consistent(self) -> Rubric:
        for place, axis in enumerate(self.axes):
            what = f"axis {place + 1} ('{axis.name}')"
            if axis.name.casefold() in {*HEAD, *(name for names in TEXTS.values() for name in names)}:
                raise ValueError(f"{what}: sheets have a column of this name already")
            if any(axis.name.casefold() == other.name.casefold() for other in self.axes[:place]):
                raise ValueError(f"{what}: the name is used twice")
            if self.mode == "pairwise":
                _check_comparison(axis, what)
            else:
                _check_options(axis, what)
        return self

    def options(self, axis: Axis) -> list[str]:
        """What can be chosen on an axis."""
        return list(SIDES) if self.mode == "pairwise" else list(axis.options)

    def axis(self, name: str) -> Axis | None:
        """The axis of this name."""
        return next((axis for axis in self.axes if axis.name == name), None)

    def good(self, axis: Axis) -> list[str]:
        """The options whose share reports give."""
        return list(axis.good) or [axis.options[0]]


def _check_options(axis: Axis, what: str) -> None:
    if axis.prefer != "chosen":
        raise ValueError(f"{what}: 'prefer' is for mode pairwise; here 'good' lists the options that count as good")
    if len(axis.options) < 2 or len({option.casefold() for option in axis.options}) < len(axis.options):
        raise ValueError(f"{what}: at least two options are needed, each once")
    if strange := [option for option in axis.good if option not in axis.options]:
        raise ValueError(f"{what}: 'good' names '{strange[0]}'; {nearest(strange[0], axis.options)}")
    if len(axis.good) >= len(axis.options):
        raise ValueError(f"{what}: 'good' names every option, so nothing could be told apart")


def _check_comparison(axis: Axis, what: str) -> None:
    if axis.options or axis.good:
        raise ValueError(f"{what}: a comparison has the options A, B and tie; say 'prefer: chosen' or 'prefer: other'")


def presets() -> list[str]:
    """Names of the published sets of axes, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in FOLDER.iterdir() if entry.name.endswith(".yaml"))


def load_rubric(name_or_path: str) -> Rubric:
    """A preset by its name, or axes of one's own from a YAML file.

    Errors: :class:`MetierError` with the file, the field and what is wrong with it.
    """
    if name_or_path in presets():
        return read_rubric((FOLDER / f"{name_or_path}.yaml").read_text(encoding="utf-8"), name_or_path)
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise MetierError(
            f"there is no set of axes '{name_or_path}'",
            fix=f"name a .yaml file or a preset: {nearest(name_or_path, presets())}",
        )
    try:
        return read_rubric(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise MetierError(
            "there is no such file of axes", where=str(path), fix="metier rubric axes clinician"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise MetierError(f"the axes cannot be read: {error}", where=str(path)) from error


_QUOTE = "put quotes around a text with ? : # , or brackets in it"


def read_rubric(text: str, where: str) -> Rubric:
    """Axes from YAML; ``where`` names the file in messages."""
    example = "see metier rubric axes clinician, which prints a whole one"
    try:
        values = yaml.load(text, Loader=yaml.BaseLoader)  # every word as it is spelt: yes, on and 3 are options
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        what = f"not valid YAML: {getattr(error, 'problem', error)}"
        raise MetierError(what, where=f"{where}{line}", fix=f"{_QUOTE}; {example}") from error
    if not isinstance(values, dict):
        raise MetierError("a file of axes is a mapping with 'name' and 'axes'", where=where, fix=example)
    try:
        return Rubric.model_validate(values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        field = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in first["loc"])
        known = list(Axis.model_fields if "axes" in first["loc"] else Rubric.model_fields)
        fix = nearest(str(first["loc"][-1]), known) if first["type"] == "extra_forbidden" else example
        message = "unknown field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise MetierError(message, where=f"{where}, field '{field}'" if field else where, fix=fix) from error
