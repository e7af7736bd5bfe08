"""The search for the place where a number stopped being finite."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer


def find_non_finite(trainer: "Trainer", loss: float, batch: NDArray[np.int64]) -> str:
    """Describe the first place that is not finite, in the order in which a step computes them.

    Parameters
    ----------
    trainer : Trainer
        At the step that failed.
    loss : float
        Of that step.
    batch : ndarray of int64 (N,)
        Indices of its samples.
    """
    when = f"the loss is {loss} at step {trainer.steps_taken + 1} (epoch {trainer.epoch + 1})"
    remedy = f"lower the learning rate, it is {trainer.optimizer.lr:g}"
    for name, array in trainer.model.state_dict().items():
        if not np.isfinite(array).all():
            return f"{when}: {name} is not finite since the step before; {remedy}"
    x = trainer.samples(batch, trainer.epoch_distortion()).values()
    if not np.isfinite(x).all():
        return f"{when}: the prepared input is not finite; check mean and std of the preparation"
    for name, layer in trainer.model.layers.items():
        x = layer.forward(x)
        if not np.isfinite(x).all():
            return f"{when}: the output of layer {name} is not finite; {remedy}"
    return f"{when}: all layers are finite, the loss function is not; {remedy}"
