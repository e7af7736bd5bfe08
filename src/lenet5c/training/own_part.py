"""The part of the training images that a rank reads, where they stay in their file."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.mapped import MappedImages, expect
from lenet5c.nn import Samples, steps

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer


def own_samples(trainer: "Trainer", index: NDArray[np.int64], distortion: Any) -> Samples:
    """Return the images of the next steps; those that only other ranks use are not read."""
    own = _find_own(trainer, len(index))
    return trainer.preparation.samples(trainer.train_set.images, index, distortion, own)


def expect_order(trainer: "Trainer", order: NDArray[np.int64]) -> None:
    """Begin to read the images that this rank uses of the steps to come in an epoch."""
    own = _find_own(trainer, len(order))
    expect(trainer.train_set.images, order if own is None else order[own])


def _find_own(trainer: "Trainer", count: int) -> NDArray[np.bool_] | None:
    """Return which of the next samples this rank uses, None for all."""
    images = trainer.train_set.images
    if not isinstance(images, MappedImages):
        return None
    return steps.own_samples(
        trainer.model, trainer.optimizer, images.shape[1:], count, trainer.batch_size, trainer.ranks
    )
