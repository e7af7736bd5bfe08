"""A running average of a model's parameters."""

from contextlib import contextmanager

import numpy as np


class WeightAverage:
    """The exponential moving average of the parameters over the steps of a run (Polyak and Juditsky, 1992).

    It is brought up to date every `EVERY` steps, counted from the run's first: how a run was cut into stretches or
    sessions changes no bit. Early on, when `decay` would hold on to the initial weights, it is (1 + n) / (10 + n) after
    n steps. Buffers, such as the means of batch normalisation, are averages already and are not averaged again.

    Parameters
    ----------
    model : lenet5c.nn.Layer
    decay : float
        What is kept at each step, more than 0 and less than 1.

    Attributes
    ----------
    vector : ndarray of float32, as `model.vector`
    """

    EVERY = 16

    def __init__(self, model, decay):
        if not 0 < decay < 1:
            raise ValueError(
                f"average is {decay!r}; it should be more than 0 and less than 1, or 0 for none"
            )
        self.model = model
        self.decay = float(decay)
        self.vector = model.vector.copy()

    def steps_before_next(self, steps):
        """How many steps may follow so many before the average wants to see the parameters."""
        return self.EVERY - steps % self.EVERY

    def after(self, steps):
        """Take in the parameters, if it is time to after so many steps."""
        if steps % self.EVERY == 0:
            gain = np.float32(1 - min(self.decay, (1 + steps) / (10 + steps)) ** self.EVERY)
            self.vector += gain * (self.model.vector - self.vector)

    @contextmanager
    def in_place(self):
        """The model with the average as its parameters, for the length of a `with` block."""
        own = self.model.vector.copy()
        try:
            self.model.vector[:] = self.vector
            yield
        finally:
            self.model.vector[:] = own
