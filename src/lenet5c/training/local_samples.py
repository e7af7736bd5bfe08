"""Part of the training images in a file that a rank reads."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.mapped import MappedImages, expect
from lenet5c.nn import Samples, steps

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer


def local_samples(trainer: "Trainer", index: NDArray[np.int64], distortion: Any) -> Samples:
    """Return the images of the next steps without reading those used only by other ranks."""
    own = _find_own(trainer, len(index))
    return trainer.preparation.samples(trainer.train_set.images, index, distortion, own)


def expect_order(trainer: "Trainer", order: NDArray[np.int64]) -> None:
    """Prefetch the images that this rank uses in the remaining steps of an epoch."""
    own = _find_own(trainer, len(order))
    expect(trainer.train_set.images, order if own is None else order[own])


def _find_own(trainer: "Trainer", count: int) -> NDArray[np.bool_] | None:
    """Return a mask of the next samples that this rank uses, None for all."""
    images = trainer.train_set.images
    if not isinstance(images, MappedImages):
        return None
    return steps.local_samples(
        trainer.model, trainer.optimizer, images.shape[1:], count, trainer.batch_size, trainer.ranks
    )
