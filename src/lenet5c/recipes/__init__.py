"""Complete configurations of a training run, and the named ones."""

from lenet5c.recipes.named import RECIPES, recipe, trainer
from lenet5c.recipes.recipe import Recipe

__all__ = ["RECIPES", "Recipe", "recipe", "trainer"]
