"""YAML with line numbers -> validated `Recipe`, every problem at once."""

from __future__ import annotations

from armada_cli.recipe.loader import load_recipe
from armada_cli.recipe.model import Choice, Features, Recipe, Train
from armada_cli.recipe.problems import RecipeErrors, RecipeProblem
from armada_cli.recipe.shipped import find_recipe, shipped_recipes

__all__ = [
    "Choice",
    "Features",
    "Recipe",
    "RecipeErrors",
    "RecipeProblem",
    "Train",
    "find_recipe",
    "load_recipe",
    "shipped_recipes",
]
