"""The schema of a recipe: the one file that says everything about one specialist."""

from metier.recipe.corpus import CorpusChoice, CorpusSource
from metier.recipe.parts import Adapt, Measure, Mix, Retention, SplitChoice, TaskChoice
from metier.recipe.read import load_recipe, place
from metier.recipe.schema import Recipe

__all__ = [
    "Adapt",
    "CorpusChoice",
    "CorpusSource",
    "Measure",
    "Mix",
    "Recipe",
    "Retention",
    "SplitChoice",
    "TaskChoice",
    "load_recipe",
    "place",
]
