"""Running average of the parameters of a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import numpy as np
from numpy.typing import NDArray

from lenet5c.nn import Sequential


class WeightAverage:
    """Exponential moving average of the parameters over the steps of a run (Polyak, Juditsky 1992).

    The average is updated every 16 steps, or more often in epochs of fewer than 256 steps: at least
    16 times per epoch, or after each step. Steps are counted from the start of the run, so that
    interrupting and resuming has no effect on the result. Early in a run, the decay is at most (1 +
    n) / (10 + n) after n steps, to forget the initial weights. Buffers, such as the means of batch
    normalization, are already averages and are not averaged.

    Parameters
    ----------
    model : lenet5c.nn.Sequential
    decay : float
        Weight of the average at each step, greater than 0 and less than 1.
    steps_per_epoch : int

    Attributes
    ----------
    every : int
        Steps between two updates.
    vector : ndarray of float32
        Averaged parameters, in the order of `model.vector`.

    Raises
    ------
    ValueError
        If `decay` is out of range.
    """

    MAXIMUM, PER_EPOCH = 16, 16  # maximum steps between updates, minimum updates per epoch

    def __init__(self, model: Sequential, decay: float, steps_per_epoch: int) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"average must be at least 0 and less than 1, got {decay!r}")
        self.model = model
        self.decay = float(decay)
        self.every = min(self.MAXIMUM, ceil(steps_per_epoch / self.PER_EPOCH))
        self.vector: NDArray[np.float32] = model.vector.copy()

    def steps_before_next(self, steps: int) -> int:
        """Return the number of steps from `steps` to the next update."""
        return self.every - steps % self.every

    def update(self, steps: int) -> None:
        """Update the average after `steps` steps, if an update is due."""
        if steps % self.every == 0:
            gain = np.float32(1 - min(self.decay, (1 + steps) / (10 + steps)) ** self.every)
            self.vector += gain * (self.model.vector - self.vector)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the parameters of the model with the average in a `with` block."""
        own = self.model.vector.copy()
        try:
            self.model.vector[:] = self.vector
            yield
        finally:
            self.model.vector[:] = own
