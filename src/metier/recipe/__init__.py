"""The schema of a recipe: the one file that says everything about one specialist."""

from metier.recipe.corpus import CorpusChoice, CorpusSource
from metier.recipe.parts import Adapt, Curve, Measure, Mix, Retention, Search, SplitChoice, TaskChoice, Trial
from metier.recipe.plan import PlanChoice
from metier.recipe.read import load_recipe, place
from metier.recipe.schema import Recipe
from metier.recipe.strategies import Strategy, StrategyChoice

__all__ = [
    "Adapt",
    "CorpusChoice",
    "CorpusSource",
    "Curve",
    "Measure",
    "Mix",
    "PlanChoice",
    "Recipe",
    "Retention",
    "Search",
    "SplitChoice",
    "Strategy",
    "StrategyChoice",
    "TaskChoice",
    "Trial",
    "load_recipe",
    "place",
]
