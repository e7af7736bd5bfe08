"""A run of training steps: what makes them, and what comes of them."""

from typing import Protocol

import numpy as np


class StepsTaken:
    """Outcome of a run of steps: `losses` of each, finished steps (`taken`), correct answers."""

    def __init__(self, steps: int) -> None:
        self.losses = np.zeros(steps)
        self.taken = self.correct = 0


class Steps(Protocol):
    """An optimizer, as `Sequential.train_steps` takes it.

    One with `describe_steps`, as those of `lenet5c.optim`, also has `steps`, the number taken.
    """

    lr: float

    def step(self) -> None:
        """Move the parameters by one step."""
