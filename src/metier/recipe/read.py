"""From a YAML file to a recipe, and from a mistake to its line and the nearest valid name."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from metier.errors import MetierError, nearest
from metier.recipe.schema import Recipe
from metier.recipe.strategies import NAMES, StrategyChoice
from metier.recipe.task import TaskChoice
from metier.recipe.words import told


class RecipeLoader(yaml.SafeLoader):
    """YAML in which only true and false are truth values: yes, no, on and off are words, and often labels."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), [*"tTfF"]
)


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Errors: :class:`MetierError` with file, line, field and the nearest valid name.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MetierError("there is no such recipe", where=str(path), fix="metier new NAME > recipe.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MetierError(
            f"the recipe cannot be read: {error}", where=str(path), fix="a recipe is a YAML file in UTF-8"
        ) from error
    try:
        node = yaml.compose(text, Loader=RecipeLoader)
        values = yaml.load(text, Loader=RecipeLoader)
    except (yaml.YAMLError, ValueError) as error:  # a date that is none raises ValueError
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise MetierError(
            f"the recipe is not valid YAML: {getattr(error, 'problem', error)}",
            where=f"{path}{line}",
            fix="look at that line and the one before: brackets, indentation, quotes around text with ': ' or '#'",
        ) from error
    _refuse_twice(node, path)
    if not isinstance(values, dict):
        raise MetierError("a recipe is a mapping of fields", where=str(path), fix="see metier new finance-sentiment")
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise _explain(error, path, node) from error
    return beside(recipe, path)


def _refuse_twice(node: Any, path: Path, field: str = "", above: tuple[int, ...] = ()) -> None:
    """YAML takes the last of two fields of one name without a word."""
    if id(node) in above:  # an anchor within itself
        return
    above = (*above, id(node))
    for number, value in enumerate(node.value if isinstance(node, yaml.SequenceNode) else ()):
        _refuse_twice(value, path, f"{field}{number}.", above)
    lines: dict[str, int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name, line = str(key.value), int(key.start_mark.line) + 1
        if name in lines:
            raise MetierError(
                f"the field '{name}' stands twice, in line {lines[name]} too",
                where=f"{path}, line {line}, field '{field}{name}'",
                fix="keep one of them",
            )
        lines[name] = line
        _refuse_twice(value, path, f"{field}{name}.", above)


def place(path: Path, field: str) -> str:
    """Where a field such as ``plan.model.hidden`` stands in a recipe, or its nearest parent: file, line and field."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    return f"{path}, line {_line(node, tuple(field.split('.')))}, field '{field}'"


def beside(recipe: Recipe, path: Path) -> Recipe:
    """The recipe as read from ``path``: a relative data file is looked for beside it, then from the current folder."""
    mix = recipe.mix and recipe.mix.model_copy(update={"tasks": [_found(task, path) for task in recipe.mix.tasks]})
    asked = recipe.strategies and [_files(strategy, path) for strategy in recipe.strategies]
    task = recipe.task and _found(recipe.task, path)
    found = recipe.model_copy(update={"task": task, "mix": mix, "strategies": asked})
    found._folder = path.parent.resolve()
    return found


def _files(strategy: StrategyChoice, path: Path) -> StrategyChoice:
    named = {field: getattr(strategy, field, None) for field in ("corpus", "exemplars")}
    beside = {
        field: str(path.parent / name)
        for field, name in named.items()
        if name and not Path(name).is_absolute() and (path.parent / name).exists()
    }
    return strategy.model_copy(update=beside) if beside else strategy


def _found(task: TaskChoice, path: Path) -> TaskChoice:
    beside = {
        field: str(path.parent / name)
        for field, name in (("file", task.file), ("exemplars", task.exemplars))
        if name and not Path(name).is_absolute() and (path.parent / name).exists()
    }
    return task.model_copy(update=beside) if beside else task


def _explain(error: ValidationError, path: Path, node: Any) -> MetierError:
    # an unknown field is often the misspelt name of one that is missing: tell that first
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    tagged = _location(first["loc"])
    location = tuple(part for part in tagged if part not in NAMES)
    name = ".".join(str(part) for part in location)
    where = f"{path}, line {_line(node, location)}, field '{name}'" if name else str(path)
    if first["type"] == "extra_forbidden":
        field = str(location[-1])
        return MetierError(f"unknown field '{field}'", where=where, fix=_nearest_field(field, tagged[:-1]))
    if first["type"] == "missing":
        return MetierError(f"the field '{name}' is missing", where=f"{path}, line {_line(node, location[:-1])}")
    if first["type"].startswith("union_tag"):
        said = first["input"].get("name") if isinstance(first["input"], dict) else first["input"]
        what = "a strategy has no name" if said is None else f"there is no strategy '{said}'"
        return MetierError(what, where=where, fix=nearest(str(said), NAMES))
    # where a field takes several kinds of values, each is a fault; the one that came furthest was meant
    places = [_location(found["loc"]) for found in error.errors()]
    tagged = max((p for p in places if p[: len(tagged)] == tagged), key=len)
    what, fix = told([found for found, p in zip(error.errors(), places, strict=True) if p == tagged])
    location = tuple(part for part in tagged if part not in NAMES)
    name = ".".join(str(part) for part in location)
    where = f"{path}, line {_line(node, location)}, field '{name}'" if name else str(path)
    others = {p for p in places if p != tagged[: len(p)]}
    more = f" ({len(others)} more after it)" if others else ""
    return MetierError(f"{what}{more}", where=where, fix=_with_hint(fix, tagged))


def _with_hint(fix: str | None, location: tuple[Any, ...]) -> str | None:
    """The fix with the field's usual value, where one can be shown, and what the reference says of it."""
    while location and isinstance(location[-1], int):
        location = location[:-1]
    model = _part(location[:-1]) if location else None
    field = model.model_fields.get(str(location[-1])) if model else None
    if field is None:
        return fix
    if not fix:  # a rule between the fields of a part says itself what to do
        return None if _part(location) else field.description
    if "mapping of fields" in fix and field.default is not None and type(None) in get_args(field.annotation):
        fix += ", or null for none"
    if fix.startswith("write") and type(field.default) in (int, float):
        fix += f", such as {field.default}"
    return f"{fix} ({field.description})" if field.description else fix


def _location(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """A place as it stands in the file, without pydantic's names for a union's alternatives and a mapping's keys."""
    own = ("function-", "union", "list[", "dict[", "literal[", "[key]")
    return tuple(part for part in parts if not str(part).startswith(own) and part not in ("str", "int", "float"))


def _part(location: tuple[Any, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] = Recipe
    if tags := [place for place, part in enumerate(location) if part in NAMES]:
        model, location = NAMES[str(location[tags[-1]])], location[tags[-1] + 1 :]
    named = False
    for part in location:
        if isinstance(part, int) or named:  # a place in a list or a name of one's own: entries are all of one kind
            named = False
            continue
        field = model.model_fields.get(str(part))
        if field is None:
            return None
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = [t for t in options if isinstance(t, type) and issubclass(t, BaseModel)]
        if not inner:
            return None
        model, named = inner[0], getattr(field.annotation, "__origin__", None) is dict
    return model


def _known(location: tuple[Any, ...]) -> list[str]:
    model = _part(location)
    return list(model.model_fields) if model else []


def _nearest_field(field: str, place: tuple[Any, ...]) -> str:
    """The name that was meant; what is written at the top may belong one level below."""
    known = _known(place)
    for part in [] if place or difflib.get_close_matches(field, known, 1, 0.8) else known:
        if found := difflib.get_close_matches(field, _known((part,)), 1, 0.8):
            return f"write '{found[0]}' under '{part}'"
    return nearest(field, known)


def _line(node: Any, location: tuple[Any, ...]) -> int:
    """1-based line of a field, or of its nearest parent that stands in the file."""
    line = int(node.start_mark.line) + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                return line
            line, node = int(pairs[0][0].start_mark.line) + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = int(node.start_mark.line) + 1
        else:
            return line
    return line
