"""Global pooling."""

from math import prod
from typing import Any

from lenet5c.kernels.engine import ops
from lenet5c.nn.layer import Floats, Shape
from lenet5c.nn.tile_layer import Offset, TileLayer

__all__ = ["GlobalAvgPool2d", "GlobalMaxPool2d"]


class GlobalPool2d(TileLayer):
    """Base class of global pooling: one value for each map, of any size."""

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3 or 0 in input_shape:
            raise ValueError(
                f"samples must be (C, H, W) for {type(self).__name__}, got {tuple(input_shape)}"
            )
        return input_shape[0], 1, 1

    def connections(self, input_shape: Shape) -> int:
        return prod(input_shape)

    def settings(self) -> dict[str, Any]:
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class GlobalMaxPool2d(GlobalPool2d):
    """Global max pooling: (N, C, H, W) to (N, C, 1, 1), for maps of any size.

    Notes
    -----
    ::

        y[n, c, 0, 0] = max over h, w of x[n, c, h, w]
        dx[n, c, h, w] = dy[n, c, 0, 0] at the first maximum, else 0

    Reference: `lenet5c.reference.global_max_pool2d`.

    Examples
    --------
    >>> from lenet5c import nn
    >>> nn.GlobalMaxPool2d().output_shape((64, 7, 9))
    (64, 1, 1)
    """

    def tile_op(self, offset: Offset) -> ops.Op:
        return ops.GlobalMaxPool2d()

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        return self.backward(d2y)


class GlobalAvgPool2d(GlobalPool2d):
    """Global average pooling: (N, C, H, W) to (N, C, 1, 1), for maps of any size.

    Followed by `Flatten` and a `Linear` layer with C features, it makes a classifier for images of
    any size; see Lin et al. (2013), Network in network.

    Notes
    -----
    ::

        y[n, c, 0, 0] = sum over h, w of x[n, c, h, w] / (H W)
        dx[n, c, h, w] = dy[n, c, 0, 0] / (H W)

    Reference: `lenet5c.reference.global_avg_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> nn.GlobalAvgPool2d().forward(np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)).ravel()
    array([2.5, 8.5], dtype=float32)
    """

    def tile_op(self, offset: Offset) -> ops.Op:
        return ops.GlobalAvgPool2d()

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return d2y / (H W)^2 at each pixel."""
        _, _, height, width = self.chain.saved_input("backward_second").shape
        return self.backward(d2y / (height * width))
