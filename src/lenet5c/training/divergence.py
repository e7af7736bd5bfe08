"""Search for the origin of a non-finite number."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer


def find_non_finite(trainer: "Trainer", loss: float, batch: NDArray[np.int64]) -> str:
    """Describe the first non-finite value in the order of the computation of a step.

    Parameters
    ----------
    trainer : Trainer
        The trainer, at the step that failed.
    loss : float
        Loss of that step.
    batch : ndarray of int64 (N,)
        Indices of the samples of that step.
    """
    when = f"the loss is {loss} at step {trainer.steps_taken + 1} (epoch {trainer.epoch + 1})"
    remedy = f"lower the learning rate from {trainer.optimizer.lr:g}"
    for name, array in trainer.model.state_dict().items():
        if not np.isfinite(array).all():
            return f"{when}: {name} is not finite since the previous step; {remedy}"
    x = trainer.samples(batch, trainer.epoch_distortion()).values()
    if not np.isfinite(x).all():
        return f"{when}: the prepared input is not finite; check mean and std of Preparation"
    for name, layer in trainer.model.layers.items():
        x = layer.forward(x)
        if not np.isfinite(x).all():
            return f"{when}: the output of layer {name} is not finite; {remedy}"
    return f"{when}: all layers are finite, but the loss is not; {remedy}"
