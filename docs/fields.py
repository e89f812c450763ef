"""Write docs/recipe.md: every field that a recipe may have, from the schema itself.

python docs/fields.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metier.recipe import Recipe

HERE = Path(__file__).parent / "recipe.md"
INTRODUCTION = """# Every field of a recipe

Made from the schema by `python docs/fields.py`. A field without a default must be given where its part is; – is "none".
`metier validate recipe.yaml` says what is wrong with a recipe: line, field, and the nearest valid name.
"""
_BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_WORDS: dict[Any, str] = {None: "–", True: "`true`", False: "`false`"}


class _Page:
    """Sections are named by the field at which a part is met first."""

    def __init__(self) -> None:
        self.schema = Recipe.model_json_schema()
        self.parts: dict[str, Any] = self.schema["$defs"]
        self.titles: dict[str, str] = {}

    def text(self) -> str:
        """The recipe's own fields, then one section for every part, in the order in which they are met."""
        sections = [INTRODUCTION, self._section("A recipe", self.schema, "")]
        written: list[str] = []
        while left := [name for name in self.titles if name not in written]:
            title = self.titles[left[0]]
            sections.append(self._section(f"`{title}`", self.parts[left[0]], f"{title}."))
            written.append(left[0])
        return "\n".join(sections)

    def _section(self, title: str, part: dict[str, Any], path: str) -> str:
        said = " ".join(part.get("description", "").replace("``", "`").split())
        lines = [f"## {title}", "", *([said, ""] if said else []), "| field | takes | default | |", "|---|---|---|---|"]
        for name, field in part["properties"].items():
            default = "" if name in part.get("required", []) else _default(field.get("default"))
            cells = [f"`{name}`", self._takes(field, path + name), default, field.get("description", "")]
            lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
        return "\n".join([*lines, ""])

    def _takes(self, field: dict[str, Any], path: str) -> str:
        """What a field takes, in words; ``path`` names the parts that are met in it for the first time."""
        if "$ref" in field:
            name = field["$ref"].rsplit("/", 1)[1]
            title = self.titles.setdefault(name, path)
            return f"[{title}](#{''.join(c for c in title if c.isalnum() or c in '-_')})"
        for key in ("anyOf", "oneOf"):
            if key in field:
                choices = [one for one in field[key] if one.get("type") != "null"]
                names = {n: r.rsplit("/", 1)[1] for n, r in field.get("discriminator", {}).get("mapping", {}).items()}
                for name, part in names.items():
                    self.titles.setdefault(part, f"{path}.{name}")
                return " or ".join(dict.fromkeys(self._takes(one, path) for one in choices))
        if "const" in field or "enum" in field:
            return ", ".join(f"`{one}`" for one in field.get("enum", [field.get("const")]))
        if field.get("type") == "array":
            return f"list of {self._takes(field.get('items') or {'anyOf': field.get('prefixItems', [])}, path)}"
        if field.get("type") == "object":
            inner = field.get("additionalProperties")
            return f"mapping to {self._takes(inner, path)}" if isinstance(inner, dict) else "mapping"
        bounds = " and ".join(f"{sign} {field[key]:g}" for key, sign in _BOUNDS if key in field)
        return f"{_TYPES.get(field.get('type', ''), 'anything')} {bounds}".rstrip()


def _default(value: Any) -> str:
    if isinstance(value, dict):
        return "its own"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return _WORDS[value] if value is None or isinstance(value, bool) else f"`{value}`"


def reference() -> str:
    """The page as Markdown."""
    return _Page().text()


if __name__ == "__main__":
    HERE.write_text(reference(), encoding="utf-8")
    print(HERE)
