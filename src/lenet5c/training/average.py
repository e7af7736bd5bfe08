"""A running average of a model's parameters."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from lenet5c.nn import Sequential


class WeightAverage:
    """Exponential moving average of the parameters over the steps of a run (Polyak, Juditsky 1992).

    It is updated every `EVERY` steps, counted from the run's first, so that the way in which a run
    was cut into stretches or sessions changes no bit. Early on, when `decay` would hold on to the
    initial weights, the decay is (1 + n) / (10 + n) after n steps. Buffers, such as the means of
    batch normalization, are averages already and are not averaged again.

    Parameters
    ----------
    model : lenet5c.nn.Sequential
    decay : float
        Weight of the average at each step, more than 0 and less than 1.

    Attributes
    ----------
    vector : ndarray of float32
        As `model.vector`.

    Raises
    ------
    ValueError
        `decay` is out of range.
    """

    EVERY = 16

    def __init__(self, model: Sequential, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"average must be at least 0 and less than 1, got {decay!r}")
        self.model = model
        self.decay = float(decay)
        self.vector: NDArray[np.float32] = model.vector.copy()

    def steps_before_next(self, steps: int) -> int:
        """Return the number of steps that may follow `steps` before the next update."""
        return self.EVERY - steps % self.EVERY

    def update(self, steps: int) -> None:
        """Take in the parameters after `steps` steps, if an update is due."""
        if steps % self.EVERY == 0:
            gain = np.float32(1 - min(self.decay, (1 + steps) / (10 + steps)) ** self.EVERY)
            self.vector += gain * (self.model.vector - self.vector)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the average as its parameters within a `with` block."""
        own = self.model.vector.copy()
        try:
            self.model.vector[:] = self.vector
            yield
        finally:
            self.model.vector[:] = own
