"""Pooling and subsampling."""

from math import prod
from typing import Any

import numpy as np

from lenet5c.kernels.engine import ops
from lenet5c.kernels.shapes import paddings, pair, pool2d_output_size, window_and_size
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
    check_gradient,
    check_padding,
    options,
    positive,
)
from lenet5c.nn.limits import reserve
from lenet5c.nn.tile_layer import Offset, TileLayer

__all__ = ["AvgPool2d", "MaxPool2d", "Subsample2d"]


class Pool2d(TileLayer):
    """Base class of pooling layers."""

    dilation = (1, 1)

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = pair(kernel_size, "kernel_size", 1)
        self.stride = self.kernel_size if stride is None else pair(stride, "stride", 1)
        self.padding = check_padding(padding)
        self.ceil_mode = check_flag("ceil_mode", ceil_mode)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise ValueError(
                f"samples must be (C, H, W) for {type(self).__name__}, got {input_shape}"
            )
        _, size = window_and_size(
            *(input_shape[1:], self.kernel_size, self.stride, self.padding, self.dilation),
            ceil_mode=self.ceil_mode,
            pooling=True,
        )
        return input_shape[0], *size

    def settings(self) -> dict[str, Any]:
        return {
            "kernel_size": as_lists(self.kernel_size),
            "stride": as_lists(self.stride),
            "padding": as_lists(self.padding),
            "ceil_mode": self.ceil_mode,
        }

    def connections(self, input_shape: Shape) -> int:
        return prod(self.kernel_size) * prod(self.output_shape(input_shape))

    def __repr__(self) -> str:
        more = options(self, padding=(0, 0), dilation=(1, 1), ceil_mode=False)
        return f"{type(self).__name__}({self.kernel_size}, stride={self.stride}{more})"


class MaxPool2d(Pool2d):
    """Max pooling; see `lenet5c.kernels.max_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        `kernel_size` by default.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Padding with minus infinity, on each side fewer pixels than the window covers.
    dilation : int or (int, int)
        Distance between the pixels of a window.
    ceil_mode : bool
        Round the output size up instead of down.

    Notes
    -----
    With h = oh SH + kh DH - PH and w = ow SW + kw DW - PW::

        y[n, c, oh, ow] = max over kh, kw of x[n, c, h, w]
        dx[n, c, h, w] = sum of the dy[n, c, oh, ow] whose window has its first maximum at (h, w)

    Reference: `lenet5c.reference.max_pool2d`.

    Examples
    --------
    >>> from lenet5c import nn
    >>> nn.MaxPool2d(2).output_shape((6, 28, 28))
    (6, 14, 14)
    """

    kind = "max_pool2d"

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Padding = 0,
        dilation: Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = pair(dilation, "dilation", 1)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "dilation": as_lists(self.dilation)}

    def tile_op(self, offset: Offset) -> ops.Op:
        return ops.MaxPool2d(
            *(self.kernel_size, self.stride, self.padding),
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        return self.backward(d2y)


class AvgPool2d(Pool2d):
    """Average pooling; see `lenet5c.kernels.avg_pool2d`.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        See `MaxPool2d`; padding is with zeros.
    count_include_pad : bool
        Include padding in the divisor. With `ceil_mode`, pixels beyond the padding are never
        included.

    Notes
    -----
    With h = oh SH + kh - PH, w = ow SW + kw - PW, and the divisor of each window::

        y[n, c, oh, ow] = sum over kh, kw of x[n, c, h, w] / divisor[oh, ow]
        dx[n, c, h, w] = sum over the windows with (h, w) of dy[n, c, oh, ow] / divisor[oh, ow]

    Reference: `lenet5c.reference.avg_pool2d`.
    """

    kind = "avg_pool2d"

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = check_flag("count_include_pad", count_include_pad)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "count_include_pad": self.count_include_pad}

    def tile_op(self, offset: Offset) -> ops.Op:
        return ops.AvgPool2d(
            *(self.kernel_size, self.stride, self.padding, self.count_include_pad),
            ceil_mode=self.ceil_mode,
        )

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return d2y, divided by the square of the divisor, at each pixel of a window."""
        size = self.chain.saved_input("backward_second").shape[2:]
        pads = paddings(self.padding, size, self.kernel_size, self.stride)
        counts = []
        for length, window, stride, (before, after), count in zip(
            size, self.kernel_size, self.stride, pads, d2y.shape[2:], strict=True
        ):
            first = np.arange(count) * stride - before
            start, end = (-before, length + after) if self.count_include_pad else (0, length)
            counts.append(np.minimum(first + window, end) - np.maximum(first, start))
        divisor: Floats = np.outer(*counts).astype(np.float32)
        return self.backward(d2y / divisor)

    def __repr__(self) -> str:
        more = options(self, padding=(0, 0), ceil_mode=False, count_include_pad=True)
        return f"AvgPool2d({self.kernel_size}, stride={self.stride}{more})"


class Subsample2d(TileLayer):
    """Subsampling with a trained coefficient and bias per map.

    Each output is the sum of a window times the coefficient of its map, plus the bias. In LeCun et
    al. (1998), section II-B, windows are 2 by 2 and an activation follows.

    Parameters
    ----------
    channels : int
    kernel_size : int or (int, int)
        Size of the windows, which do not overlap; incomplete windows are dropped.
    init : str or callable
        Initializer of the coefficients, whose fan-in is the size of a window; see
        `lenet5c.nn.initialize`. Biases are initialized to 0.
    rng : int or numpy.random.Generator, optional

    Attributes
    ----------
    params : 'weight' (channels,) and 'bias' (channels,)

    Notes
    -----
    With the sum[n, c, oh, ow] of each window of x::

        y[n, c, oh, ow] = weight[c] * sum[n, c, oh, ow] + bias[c]
        dx[n, c, oh KH + kh, ow KW + kw] = weight[c] * dy[n, c, oh, ow]
        dweight[c] = sum over n, oh, ow of sum[n, c, oh, ow] * dy[n, c, oh, ow]
        dbias[c] = sum over n, oh, ow of dy[n, c, oh, ow]

    Reference: `lenet5c.reference.subsample2d`.

    Examples
    --------
    >>> from lenet5c import nn
    >>> layer = nn.Subsample2d(6, rng=0)
    >>> layer.num_params, layer.output_shape((6, 28, 28)), layer.connections((6, 28, 28))
    (12, (6, 14, 14), 5880)
    """

    def __init__(
        self, channels: int, kernel_size: Pair = 2, init: Init = "lecun_uniform", rng: Rng = None
    ) -> None:
        self.channels = positive("channels", channels)
        self.kernel_size = pair(kernel_size, "kernel_size", 1)
        reserve(weight=(self.channels,), bias=(self.channels,))
        fan_in = prod(self.kernel_size)
        self.params["weight"] = draw(init, rng, (self.channels,), fan_in, 1)
        self.params["bias"] = np.zeros(self.channels)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3 or input_shape[0] != self.channels:
            raise ValueError(
                f"samples must have {self.channels} channels (C, H, W) for Subsample2d, "
                f"got {tuple(input_shape)}"
                f"{suggest_channels('channels', self.channels, input_shape)}"
            )
        return (self.channels, *pool2d_output_size(input_shape[1:], self.kernel_size))

    def settings(self) -> dict[str, Any]:
        return {"channels": self.channels, "kernel_size": as_lists(self.kernel_size)}

    def connections(self, input_shape: Shape) -> int:
        return (prod(self.kernel_size) + 1) * prod(self.output_shape(input_shape))

    def multiply_adds(self, input_shape: Shape) -> int:
        return prod(self.output_shape(input_shape))

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Treat the sum of a window as one input, as in the authors' code.

        Strictly, eq. 25 treats its four elements separately.
        """
        x = self.chain.saved_input("backward_second")
        check_gradient(d2y, (len(x), *self.output_shape(x.shape[1:])), "d2y")
        (height, width), (KH, KW) = d2y.shape[2:], self.kernel_size
        sums = np.zeros(d2y.shape, np.float32)
        for h in range(KH):
            for w in range(KW):
                sums += x[:, :, h : KH * height : KH, w : KW * width : KW]
        squared = np.zeros_like(x)  # the squared sum of each window, at one position
        squared[:, :, : KH * height : KH, : KW * width : KW] = sums * sums
        return self.chain.backward_squared(d2y, squared)

    def tile_op(self, offset: Offset) -> ops.Op:
        return ops.Subsample2d(offset("weight"), offset("bias"), self.kernel_size)

    def __repr__(self) -> str:
        return f"Subsample2d({self.channels}, kernel_size={self.kernel_size})"
