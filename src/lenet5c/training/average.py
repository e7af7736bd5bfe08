"""A running average of a model's parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import numpy as np
from numpy.typing import NDArray

from lenet5c.nn import Sequential


class WeightAverage:
    """Exponential moving average of the parameters over the steps of a run (Polyak, Juditsky 1992).

    It is updated every 16 steps, more often in epochs of less than 256: at least 16 times an epoch,
    or after each step. The steps are counted from the run's first, so that the way in which a run
    was cut into stretches or sessions changes no bit. Early on, when `decay` would hold on to the
    initial weights, the decay is (1 + n) / (10 + n) after n steps. Buffers, such as the means of
    batch normalization, are averages already and are not averaged again.

    Parameters
    ----------
    model : lenet5c.nn.Sequential
    decay : float
        Weight of the average at each step, more than 0 and less than 1.
    steps_per_epoch : int

    Attributes
    ----------
    every : int
        Steps from one update to the next.
    vector : ndarray of float32
        As `model.vector`.

    Raises
    ------
    ValueError
        `decay` is out of range.
    """

    MOST, PER_EPOCH = 16, 16  # steps from one update to the next, updates in an epoch

    def __init__(self, model: Sequential, decay: float, steps_per_epoch: int) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"average must be at least 0 and less than 1, got {decay!r}")
        self.model = model
        self.decay = float(decay)
        self.every = min(self.MOST, ceil(steps_per_epoch / self.PER_EPOCH))
        self.vector: NDArray[np.float32] = model.vector.copy()

    def steps_before_next(self, steps: int) -> int:
        """Return the number of steps that may follow `steps` before the next update."""
        return self.every - steps % self.every

    def update(self, steps: int) -> None:
        """Update the average after `steps` steps, if an update is due."""
        if steps % self.every == 0:
            gain = np.float32(1 - min(self.decay, (1 + steps) / (10 + steps)) ** self.every)
            self.vector += gain * (self.model.vector - self.vector)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the parameters of the model by the average within a `with` block."""
        own = self.model.vector.copy()
        try:
            self.model.vector[:] = self.vector
            yield
        finally:
            self.model.vector[:] = own
