"""Convolution."""

from __future__ import annotations  # numpy.random is not imported for its names

from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.kernels.engine import ops
from lenet5c.kernels.shapes import pair, window_and_size
from lenet5c.nn.initialize import Init, draw
from lenet5c.nn.inputs import suggest_channels
from lenet5c.nn.layer import (
    Floats,
    Padding,
    Pair,
    Rng,
    Shape,
    as_lists,
    check_flag,
    check_padding,
    options,
    positive,
)
from lenet5c.nn.limits import reserve
from lenet5c.nn.tile_layer import Offset, TileLayer

__all__ = ["Conv2d"]


class Conv2d(TileLayer):
    """2-D convolution (cross-correlation) of images with filters; see `lenet5c.kernels.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (int, int)
    stride, dilation : int or (int, int)
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Zero padding. "same" makes the output size ceil(input / stride), with any odd pixel added at
        the bottom or on the right.
    groups : int
        Number of groups; must divide both channel counts.
    bias : bool
    init : str or callable
        Initializer of the weights, see `lenet5c.nn.initialize`. Biases are initialized to 0.
    rng : int or numpy.random.Generator, optional
        Seed or generator for the weights; by default they differ from run to run.
    connection_table : array_like of bool (in_channels, out_channels), optional
        Connections between input and output maps, such as table I of LeCun et al. (1998); all maps
        are connected by default. Cannot be combined with groups. The fan-in of a filter counts only
        the connected maps.

    Attributes
    ----------
    params : 'weight' (O, C / groups, KH, KW) and 'bias' (O,)
        With a connection table, weight has shape (connections, KH, KW): for each output map, the
        filters of its connected input maps.

    Notes
    -----
    With h = oh SH + kh DH - PH and w = ow SW + kw DW - PW, PH at the top and PW on the left, each
    sum over all other indices::

        y[n, o, oh, ow] = bias[o] + sum of weight[o, i, kh, kw] * x[n, i, h, w]
        dx[n, i, h, w] = sum of weight[o, i, kh, kw] * dy[n, o, oh, ow]
        dweight[o, i, kh, kw] = sum of x[n, i, h, w] * dy[n, o, oh, ow]
        dbias[o] = sum of dy[n, o, oh, ow]

    Reference: `lenet5c.reference.conv2d` and `connected_conv2d`.

    Examples
    --------
    >>> from lenet5c import nn
    >>> conv = nn.Conv2d(1, 6, kernel_size=5, rng=0)
    >>> conv.num_params, conv.output_shape((1, 32, 32)), conv.connections((1, 32, 32))
    (156, (6, 28, 28), 122304)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        init: Init = "he_normal",
        rng: Rng = None,
        connection_table: ArrayLike | None = None,
    ) -> None:
        self.in_channels = positive("in_channels", in_channels)
        self.out_channels = positive("out_channels", out_channels)
        self.kernel_size = pair(kernel_size, "kernel_size", 1)
        self.stride = pair(stride, "stride", 1)
        self.padding = check_padding(padding)
        self.dilation = pair(dilation, "dilation", 1)
        self.groups = positive("groups", groups)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"groups must divide in_channels, {in_channels}, and out_channels, "
                f"{out_channels}, got {groups}"
            )
        self.connection_table = self._check_table(connection_table)
        has_bias = check_flag("bias", bias)
        reserve(weight=self._weight_shape(), bias=(self.out_channels * has_bias,))
        if self.connection_table is None:
            shape = self._weight_shape()
            fan_in = prod(shape[1:])
            self.params["weight"] = draw(
                init, rng, shape, fan_in, fan_in * self.out_channels // shape[1]
            )
        else:
            self.params["weight"] = self._draw_connected(init, np.random.default_rng(rng))
        if has_bias:
            self.params["bias"] = np.zeros(self.out_channels)

    @property
    def dense_weight(self) -> Floats:
        """Return the weight as float32 (O, C / groups, KH, KW), 0 for unconnected maps."""
        if self.connection_table is None:
            return self.params["weight"].copy()
        dense = np.zeros((self.out_channels, self.in_channels, *self.kernel_size), np.float32)
        dense[self.connection_table.T] = self.params["weight"]
        return dense

    def _weight_shape(self) -> Shape:
        if self.connection_table is not None:
            return (int(self.connection_table.sum()), *self.kernel_size)
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def _check_table(self, connections: ArrayLike | None) -> NDArray[np.bool_] | None:
        if connections is None:
            return None
        table: NDArray[Any] = np.array(connections)
        if table.shape != (self.in_channels, self.out_channels) or not np.isin(table, (0, 1)).all():
            raise ValueError(
                "connection_table must be a boolean (or 0/1) array of shape "
                f"({self.in_channels}, {self.out_channels}), one row for each input map, got "
                f"{table.dtype} {table.shape}"
            )
        if not table.any(axis=0).all():
            raise ValueError(
                "connection_table must connect each output map to at least one input map, got an "
                "output map with none"
            )
        if self.groups != 1:
            raise ValueError(
                f"groups must be 1 with a connection_table, got {self.groups}; use one of them"
            )
        return table.astype(bool)

    def _draw_connected(self, init: Init, rng: np.random.Generator) -> Floats:
        filters = []
        fan_out = prod(self.kernel_size) * self.out_channels
        assert self.connection_table is not None
        for inputs in self.connection_table.sum(axis=0).tolist():
            shape = (inputs, *self.kernel_size)
            filters.append(draw(init, rng, shape, prod(shape), fan_out))
        return np.concatenate(filters)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3 or input_shape[0] != self.in_channels:
            raise ValueError(
                f"samples must have {self.in_channels} channels (C, H, W) for Conv2d, "
                f"got {input_shape}"
                f"{suggest_channels('in_channels', self.in_channels, input_shape)}"
            )
        _, size = window_and_size(
            input_shape[1:], self.kernel_size, self.stride, self.padding, self.dilation
        )
        return (self.out_channels, *size)

    def settings(self) -> dict[str, Any]:
        table = self.connection_table
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel_size": as_lists(self.kernel_size),
            "stride": as_lists(self.stride),
            "padding": as_lists(self.padding),
            "dilation": as_lists(self.dilation),
            "groups": self.groups,
            "bias": "bias" in self.params,
            "connection_table": None if table is None else table.astype(int).tolist(),
        }

    def connections(self, input_shape: Shape) -> int:
        return self.num_params * prod(self.output_shape(input_shape)[1:])

    def multiply_adds(self, input_shape: Shape) -> int:
        weights = self.num_params - (self.params["bias"].size if "bias" in self.params else 0)
        return weights * prod(self.output_shape(input_shape)[1:])

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return d2x = sum of w^2 d2y, with d2w = sum of x^2 d2y (eq. 25 and 27)."""
        return self.chain.backward_squared(d2y)

    def tile_op(self, offset: Offset) -> ops.Op:
        connections = None
        if self.connection_table is not None:
            connections = np.flatnonzero(self.connection_table.T).astype(np.intp)
        return ops.Conv2d(
            offset("weight"),
            offset("bias"),
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            connections,
        )

    def __repr__(self) -> str:
        more = options(self, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
        channels = f"{self.in_channels}, {self.out_channels}"
        return f"Conv2d({channels}, kernel_size={self.kernel_size}{more})"
