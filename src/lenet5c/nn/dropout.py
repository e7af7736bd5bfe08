"""Dropout."""

from collections.abc import Hashable
from numbers import Real
from typing import Any

import numpy as np

from lenet5c.kernels.engine import training_ops
from lenet5c.nn.layer import Floats, Rng
from lenet5c.nn.tile_layer import Elementwise, Offset

__all__ = ["Dropout"]

MAXIMUM = 2**63


class Dropout(Elementwise):
    """Zero each value with probability p in training, and divide the others by 1 - p.

    The input may have any shape. See Srivastava et al. (2014).

    Parameters
    ----------
    p : float
        Probability of zeroing a value, at least 0 and less than 1.
    rng : int or numpy.random.Generator, optional
        Seed or generator for the masks; by default they differ from run to run.

    Attributes
    ----------
    seed : int
    passes : int
        Number of training passes so far.

    Notes
    -----
    In training, with a mask of 0 and 1 / (1 - p), y = mask * x and dx = mask * dy; else y = x. The
    mask is a hash of the seed, the number of the pass, the index of the sample in the batch and the
    index of the element in the sample.

    Reference: `lenet5c.reference.dropout`.
    """

    def __init__(self, p: float = 0.5, rng: Rng = None) -> None:
        real = isinstance(p, Real) and not isinstance(p, bool)
        if not real or not 0 <= p < 1:
            raise ValueError(f"p must be a number of at least 0 and less than 1, got {p!r}")
        self.p = float(p)
        self.seed = int(np.random.default_rng(rng).integers(MAXIMUM))
        self._counter = np.zeros(1, np.int64)

    @property
    def passes(self) -> int:
        return int(self._counter[0])

    @property
    def rng_state(self) -> dict[str, Any]:
        """Seed and number of passes, which determine all future masks."""
        return {"seed": self.seed, "passes": self.passes}

    @rng_state.setter
    def rng_state(self, state: dict[str, Any]) -> None:
        if type(state) is not dict or state.keys() != {"seed", "passes"}:
            raise ValueError(f"state must have the keys seed and passes, got {state!r}")
        for name, value in state.items():
            if type(value) is not int or not 0 <= value < MAXIMUM:
                raise ValueError(f"{name} must be an integer from 0 to 2^63 - 1, got {value!r}")
        self.seed = state["seed"]
        self._counter[0] = state["passes"]

    def settings(self) -> dict[str, Any]:
        return {"p": self.p}

    def tile_op(self, offset: Offset) -> training_ops.Dropout:
        return training_ops.Dropout(0.0, self.seed, self._counter)

    def training_op(self, offset: Offset) -> training_ops.Dropout:
        return training_ops.Dropout(self.p, self.seed, self._counter)

    @property
    def training_settings(self) -> Hashable:
        return self.p, self.seed

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return d2x = mask^2 d2y, since the mask is a constant factor."""
        return self.backward(self.backward(d2y))

    def __repr__(self) -> str:
        return f"Dropout({self.p})"
