"""Dropout."""

from typing import Any

import numpy as np

from lenet5c.nn.layer import Floats, Layer, Rng, Shape, as_floats, check_gradient

__all__ = ["Dropout"]


class Dropout(Layer):
    """Zero each value with probability p in training, and divide the others by 1 - p.

    Arrays of any shape are taken. After Srivastava et al. (2014).

    Parameters
    ----------
    p : float
        From 0 up to, but not including, 1.
    rng : int or numpy.random.Generator, optional
        Draws the masks; without it they differ from run to run.

    Notes
    -----
    In training, with a mask of 0 and 1 / (1 - p), y = mask * x and dx = mask * dy; else y = x.

    Reference: `lenet5c.reference.dropout`.
    """

    _mask: Floats | None = None

    def __init__(self, p: float = 0.5, rng: Rng = None) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"p must be at least 0 and less than 1, got {p!r}")
        self.p = float(p)
        self.rng = np.random.default_rng(rng)

    def forward(self, x: Floats, training: bool = False) -> Floats:
        x = as_floats(x, "Dropout")
        if not training or self.p == 0:
            self._mask = None
            return x
        kept = self.rng.random(x.shape, np.float32) >= self.p
        self._mask = np.asarray(kept * np.float32(1 / (1 - self.p)))
        return np.asarray(x * self._mask)

    def backward(self, dy: Floats) -> Floats:
        if self._mask is None:
            return dy
        check_gradient(dy, self._mask.shape)
        return np.asarray(dy * self._mask)

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Multiply by the square of the mask, a constant factor."""
        return self.backward(self.backward(d2y))

    def settings(self) -> dict[str, Any]:
        return {"p": self.p}

    def output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def __repr__(self) -> str:
        return f"Dropout({self.p})"
