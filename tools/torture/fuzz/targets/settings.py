"""Settings from dicts: recipes, runs, preparations, distortions, and changes of recipes."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np

from lenet5c.datasets import Distortion, Preparation
from lenet5c.recipes import RECIPES, Recipe, RunConfig, recipe
from torture.fuzz.support import MutateBytes, dump_json, mutate_json, parse_json

MAX_LENGTH = 4096
ERRORS = (ValueError, TypeError)

MEAN = np.zeros((1, 28, 28), np.float32)
READERS: dict[str, Callable[[Any], object]] = {
    "recipe": Recipe.from_dict,
    "run": RunConfig.from_dict,
    "preparation": Preparation.from_dict,
    "mean": lambda values: Preparation.from_dict(values, MEAN),
    "distortion": Distortion.from_dict,
    "changes": lambda values: recipe(**values),
}


def read(data: bytes) -> None:
    """Build the object described by a dict, and compare its description."""
    value = parse_json(data)
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        kind, values = value
        if kind in READERS and isinstance(values, dict):
            made = READERS[kind](values)
            if hasattr(made, "to_dict"):
                made.to_dict()


def seeds() -> Iterator[bytes]:
    """Yield results of `to_dict` of each kind, and changes."""
    for name in RECIPES:
        yield dump_json(["recipe", RECIPES[name].to_dict()])
    yield dump_json(["run", RunConfig().to_dict()])
    for name in Preparation.NAMES:
        mean = MEAN if name == "mean-image" else None
        settings = {"size": (28, 28), "mean_image": mean}
        yield dump_json(
            ["mean" if mean is not None else "preparation", Preparation(**settings).to_dict()]
        )
    for name in Distortion.NAMES:
        yield dump_json(["distortion", Distortion.named(name).to_dict()])
    yield dump_json(["changes", {"optimizer": "sgd", "lr": 0.1, "momentum": 0.5}])
    yield dump_json(["changes", {"schedule": "step", "schedule_settings": {"every": 2}}])
    yield dump_json(["changes", {"pooling": "max", "dropout": 0.5, "init": {"normal": 0.01}}])
    yield dump_json(["changes", {"loss": "mse", "distortion": "modern", "validation": 100}])
    yield dump_json(["changes", {"epochs": "2", "epoch": 3}])


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change values of the settings."""
    return mutate_json(data, random, mutate_bytes)
