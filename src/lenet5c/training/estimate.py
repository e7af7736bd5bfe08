"""Estimates of an optimizer, such as SDLM, before each epoch."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet5c.errors import NonFiniteError

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer


def estimate_curvature(trainer: "Trainer") -> None:
    """Let the optimizer estimate the curvature for an epoch; repeating it has no effect.

    Raises
    ------
    NonFiniteError
        If a second derivative is negative or not finite.
    """
    count = len(trainer.train_set)
    rng = np.random.default_rng([trainer.seed, 4, trainer.epoch])
    optimizer: Any = trainer.optimizer
    index = rng.choice(count, min(optimizer.samples, count), replace=False)
    optimizer.lr = trainer.rate(trainer.steps_taken)
    try:
        target, weight = trainer.targets[index]
        optimizer.estimate(trainer.samples(index), target, trainer.loss, weight)
    except ArithmeticError as error:
        raise NonFiniteError(f"before epoch {trainer.epoch + 1}: {error}") from None
