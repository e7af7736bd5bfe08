"""Second derivatives of a loss with respect to the parameters of a model."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.kernels.arrays import unmasked
from lenet5c.kernels.engine.samples import Samples
from lenet5c.nn.layer import Floats
from lenet5c.nn.loss import Loss
from lenet5c.nn.parameter_store import keep_state

if TYPE_CHECKING:
    from lenet5c.nn.sequential import Sequential

# Samples per pass, limited because the activations of all layers are saved.
SECOND_CHUNK = 100


def measure_curvatures(
    model: "Sequential",
    samples: Samples,
    labels: NDArray[Any],
    loss: Loss,
    sample_weight: ArrayLike | None,
) -> Floats:
    """Set and return the model's `curvature_vector` for the loss of all samples."""
    if len(samples) == 0:
        raise ValueError("samples must have at least one sample, got none")
    weights = None if sample_weight is None else unmasked("sample_weight", sample_weight)
    total, whole = np.zeros(model.num_params), 0.0
    with keep_state(model), np.errstate(over="ignore", invalid="ignore"):  # shows in the result
        for chunk in np.array_split(np.arange(len(samples)), -(-len(samples) // SECOND_CHUNK)):
            y = model.forward(samples[chunk].values(), training=True)
            target = labels[chunk]
            of_chunk = None if weights is None else weights[chunk]
            dy, d2y = loss.second(y, target, of_chunk)
            model.backward_second(d2y, dy)
            share = loss.total_weight(target, y.shape, of_chunk)
            total += model.curvature_vector * share
            whole += share
    model.curvature_vector[:] = total / (whole if loss.reduction == "mean" else 1)
    return model.curvature_vector
