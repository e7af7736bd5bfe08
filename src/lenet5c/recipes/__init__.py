"""Complete training configurations, named recipes, and their runs."""

from lenet5c.recipes.folds import CrossValidation, cross_validate
from lenet5c.recipes.make_trainer import distill, trainer
from lenet5c.recipes.named import RECIPES, recipe
from lenet5c.recipes.recipe import Recipe
from lenet5c.recipes.reported import reached, reported
from lenet5c.recipes.run import Run, train
from lenet5c.recipes.run_config import RunConfig
from lenet5c.recipes.sweep import SweepResult, grid, run_many
from lenet5c.recipes.tune import Tuning, tune

__all__ = [
    "RECIPES",
    "CrossValidation",
    "Recipe",
    "Run",
    "RunConfig",
    "SweepResult",
    "Tuning",
    "cross_validate",
    "distill",
    "grid",
    "reached",
    "recipe",
    "reported",
    "run_many",
    "train",
    "trainer",
    "tune",
]
