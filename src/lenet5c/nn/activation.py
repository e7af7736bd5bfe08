"""Elementwise activations."""

from lenet5c.kernels.engine import ops
from lenet5c.nn.tile_layer import TileLayer


class _Activation(TileLayer):
    kind = ""

    def output_shape(self, input_shape):
        if len(input_shape) not in (1, 3):
            raise ValueError(
                f"{type(self).__name__} takes samples (C, H, W) or (features,), got {tuple(input_shape)}"
            )
        return tuple(input_shape)

    def backward_second(self, d2y, dy=None):
        """d2x = f'(x)^2 d2y; the exact second derivative has a term f''(x) dy, which Gauss-Newton drops (eq. 27)."""
        return self.backward(self.backward(d2y))

    def tile_op(self, offset):
        return ops.Activation(self.kind)

    def __repr__(self):
        return f"{type(self).__name__}()"


class ReLU(_Activation):
    """Rectified linear unit: y = max(x, 0), and dx = dy where y > 0, else 0.

    Reference: `lenet5c.reference.relu`.
    """

    kind = "relu"


class Sigmoid(_Activation):
    """Logistic function: y = 1 / (1 + exp(-x)), and dx = dy y (1 - y).

    Reference: `lenet5c.reference.sigmoid`.
    """

    kind = "sigmoid"


class Tanh(_Activation):
    """Hyperbolic tangent: y = tanh(x), and dx = dy (1 - y^2).

    Reference: `lenet5c.reference.tanh`.
    """

    kind = "tanh"


class ScaledTanh(_Activation):
    """Scaled hyperbolic tangent: amplitude * tanh(slope * x).

    By default the squashing function of LeCun et al. (1998), appendix A: f(1) = 1 and f(-1) = -1,
    and the curvature is largest there.

    Parameters
    ----------
    amplitude, slope : float
        From 1e-15 to 1e15 in size, of either sign.

    Notes
    -----
    ::

        y = amplitude * tanh(slope * x)
        dx = dy * amplitude * slope * (1 - (y / amplitude)^2)

    Reference: `lenet5c.reference.scaled_tanh`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> nn.ScaledTanh().forward(np.array([[-1, 0, 1]], np.float32)).round(4)
    array([[-1.,  0.,  1.]], dtype=float32)
    """

    kind = "scaled_tanh"

    def __init__(self, amplitude=1.7159, slope=2 / 3):
        for name, value in (("amplitude", amplitude), ("slope", slope)):
            # Products and quotients of the two, and squares, are float32.
            if not 1e-15 <= abs(value) <= 1e15:
                raise ValueError(
                    f"{name} is {value!r}; it should be a number of 1e-15 to 1e15, or the negative of one"
                )
        self.amplitude, self.slope = float(amplitude), float(slope)

    def tile_op(self, offset):
        return ops.Activation(self.kind, (self.amplitude, self.slope))

    def __repr__(self):
        return f"ScaledTanh({self.amplitude:g}, {self.slope:g})"
