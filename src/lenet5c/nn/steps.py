"""Runs of training steps: optimizer protocol and results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lenet5c.kernels.engine import _program
from lenet5c.kernels.engine.samples import Samples

if TYPE_CHECKING:
    from lenet5c.nn.layer import Shape
    from lenet5c.nn.loss import Loss
    from lenet5c.nn.sequential import Sequential


class StepsTaken:
    """Result of a run of steps: `losses`, finished steps (`taken`) and correct predictions."""

    def __init__(self, steps: int) -> None:
        self.losses = np.zeros(steps)
        self.taken = self.correct = 0


class Steps(Protocol):
    """Optimizer interface of `Sequential.train_steps`.

    Optimizers with `describe_steps`, such as those of `lenet5c.optim`, also have `steps`, the
    number of steps taken.
    """

    lr: float

    def step(self) -> None:
        """Update the parameters by one step."""


def take_each_step(
    model: Sequential,
    samples: Samples,
    labels: NDArray[Any],
    loss: Loss,
    optimizer: Steps,
    rates: Sequence[float],
    batch_size: int,
    weights: NDArray[Any] | None,
    record: StepsTaken,
) -> None:
    """Take the steps of `Sequential.train_steps` one by one, for models with layers in NumPy."""
    for step, rate in enumerate(rates):
        batch = slice(step * batch_size, (step + 1) * batch_size)
        part = None if weights is None else weights[batch]
        record.losses[step], right = model.train_step(samples[batch], labels[batch], loss, part)
        if not np.isfinite(record.losses[step]):
            break
        optimizer.lr = rate
        optimizer.step()
        record.taken += 1
        record.correct += right


def local_samples(
    model: Sequential, optimizer: Steps, shape: Shape, count: int, batch_size: int, ranks: Any
) -> NDArray[np.bool_] | None:
    """Return a mask of the samples of `Sequential.train_steps` that a rank reads, None for all.

    Parameters
    ----------
    model : Sequential
    optimizer : lenet5c.optim.Optimizer of this model
    shape : tuple of int
        Shape of a sample.
    count, batch_size : int
        Number of samples in all steps and in one step.
    ranks : lenet5c.training.parallel.Ranks

    Returns
    -------
    ndarray of bool (count,), or None
    """
    chain, update = model.compile_steps(optimizer, [0.0])
    if not (chain and update):
        return None
    program = chain.program(shape, settings=chain.training_settings)
    return _program.local_samples(program, count, batch_size, ranks.rank, ranks.size)
