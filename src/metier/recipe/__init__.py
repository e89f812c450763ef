"""The schema of a recipe: the one file that says everything about one specialist."""

from metier.recipe.adapt import Adapt, Search, Trial
from metier.recipe.corpus import CorpusChoice, CorpusSource
from metier.recipe.measure import Curve, Measure, Retention
from metier.recipe.plan import PlanChoice
from metier.recipe.read import beside, load_recipe, place
from metier.recipe.schema import Recipe
from metier.recipe.strategies import Strategy, StrategyChoice
from metier.recipe.task import Mix, SplitChoice, TaskChoice

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
    "beside",
    "load_recipe",
    "place",
]
