"""Fully connected layer and flattening."""

from math import prod
from typing import Any

import numpy as np

from lenet5c.kernels.engine import ops
from lenet5c.nn.initialize import Init, draw
from lenet5c.nn.layer import Floats, Rng, Shape, check_flag, positive
from lenet5c.nn.limits import reserve
from lenet5c.nn.tile_layer import Offset, TileLayer

__all__ = ["Flatten", "Linear"]


class Linear(TileLayer):
    """Fully connected layer: y = x weight^T + bias.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    init, rng
        See `Conv2d`.

    Attributes
    ----------
    params : 'weight' (out_features, in_features) and 'bias' (out_features,)

    Notes
    -----
    ::

        y[n, o] = bias[o] + sum over i of weight[o, i] * x[n, i]
        dx[n, i] = sum over o of weight[o, i] * dy[n, o]
        dweight[o, i] = sum over n of x[n, i] * dy[n, o]
        dbias[o] = sum over n of dy[n, o]

    Reference: `lenet5c.reference.linear`.

    Examples
    --------
    >>> from lenet5c import nn
    >>> nn.Linear(120, 84, rng=0).num_params
    10164
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        init: Init = "he_normal",
        rng: Rng = None,
    ) -> None:
        self.in_features = positive("in_features", in_features)
        self.out_features = positive("out_features", out_features)
        shape = (self.out_features, self.in_features)
        has_bias = check_flag("bias", bias)
        reserve(weight=shape, bias=(self.out_features * has_bias,))
        self.params["weight"] = draw(init, rng, shape, self.in_features, self.out_features)
        if has_bias:
            self.params["bias"] = np.zeros(self.out_features)

    def output_shape(self, input_shape: Shape) -> Shape:
        if tuple(input_shape) != (self.in_features,):
            size, hints = prod(input_shape), []
            if len(input_shape) > 1:
                hints.append("put a Flatten before it")
            if size != self.in_features:
                hints.append(f"create the layer with in_features={size}")
            hint = f"; {', and '.join(hints)}"
            raise ValueError(
                f"samples must have shape ({self.in_features},) for Linear, "
                f"got {tuple(input_shape)}{hint}"
            )
        return (self.out_features,)

    def settings(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": "bias" in self.params,
        }

    def connections(self, input_shape: Shape) -> int:
        return self.num_params

    def multiply_adds(self, input_shape: Shape) -> int:
        return int(self.params["weight"].size)

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return d2x = sum of w^2 d2y, with d2w = sum of x^2 d2y (eq. 25 and 27)."""
        return self.chain.backward_squared(d2y)

    def tile_op(self, offset: Offset) -> ops.Op:
        return ops.Linear(offset("weight"), offset("bias"), self.out_features)

    def __repr__(self) -> str:
        return f"Linear({self.in_features}, {self.out_features})"


class Flatten(TileLayer):
    """Flatten the maps of each sample: (N, C, H, W) to (N, C * H * W).

    Notes
    -----
    ::

        y[n, (c H + h) W + w] = x[n, c, h, w]
        dx[n, c, h, w] = dy[n, (c H + h) W + w]

    Reference: `lenet5c.reference.flatten`.
    """

    def output_shape(self, input_shape: Shape) -> Shape:
        return (prod(input_shape),)

    def settings(self) -> dict[str, Any]:
        return {}

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        return self.backward(d2y)

    def tile_op(self, offset: Offset) -> ops.Op:
        return ops.Flatten()

    def __repr__(self) -> str:
        return "Flatten()"
