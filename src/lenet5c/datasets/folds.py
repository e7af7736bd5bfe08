"""Folds of a data set for cross-validation."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.dataset import Dataset, Source
from lenet5c.errors import RunError


def assign_folds(dataset: Dataset, count: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each image, 1 to `count`, stratified by class.

    Raises
    ------
    RunError
        If there are too few images.
    """
    if count > len(dataset):
        raise RunError(f"folds must be at most {len(dataset)}, the number of images, got {count}")
    of_class = np.bincount(dataset.labels)
    if (of_class == 1).any():
        name = dataset.class_names[int((of_class == 1).argmax())]
        raise RunError(
            f"folds must leave an image of each class for training, got one image of {name!r}; "
            "add images, or remove the class"
        )
    # A separate random stream, see docs/explanation/runs.md.
    order = np.argsort(np.random.default_rng([seed, 8]).random(len(dataset)), kind="stable")
    by_class = order[np.argsort(dataset.labels[order], kind="stable")]
    folds = np.empty(len(dataset), np.int64)
    folds[by_class] = 1 + np.arange(len(dataset)) % count
    return folds


def take_fold(source: Source, folds: NDArray[np.int64], fold: int) -> Source:
    """Return the data of one run: one fold for testing, all others for training."""
    train, test = (
        source.train.take(np.flatnonzero(part)) for part in (folds != fold, folds == fold)
    )
    return replace(source, train=train, test=test)
