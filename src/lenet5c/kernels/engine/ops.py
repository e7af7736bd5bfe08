"""Ops on tiles, one class for each kind, with the settings of a layer and those added by lowering.

They do not depend on `lenet5c.nn`. A parameter is named by its offset in the parameter
vector.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lenet5c.kernels.engine import _program
from lenet5c.kernels.shapes import covered, paddings, pool2d_output_size, window_and_size
from lenet5c.kernels.simd import dispatch

Pair = tuple[int, int]
Shape = tuple[int, ...]


@dataclass(eq=False, repr=False, match_args=False)
class Op:
    """An op on tiles, x (C, H, W, 16) to y (O, OH, OW, 16); its kernels are those named `kind`.

    Lowering sets the shapes, and x and y: their places in the arena, in floats.
    """

    kind = ""
    in_shape: Shape = field(init=False, default=())
    out_shape: Shape = field(init=False, default=())
    x: int = field(init=False, default=0)
    y: int = field(init=False, default=0)
    relu = pool = False  # taken in by lowering, where a class has them

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        """Return the ops to run for an input of `shape`, and the shape of the output."""
        raise NotImplementedError

    def shaped(self, in_shape: Shape, out_shape: Shape) -> Self:
        """Return a copy with these shapes."""
        op = copy(self)
        op.in_shape, op.out_shape = in_shape, out_shape
        return op

    @property
    def inner_shape(self) -> Shape:
        """The output before a pooling that is part of the op."""
        channels, height, width = self.out_shape
        return (channels, 2 * height, 2 * width) if self.pool else self.out_shape

    @property
    def param_ranges(self) -> list[Pair]:
        """Ranges (start, stop) of the weight, and of the bias if there is one."""
        return []

    @property
    def work(self) -> int:
        """Approximate number of elementary operations per sample."""
        return prod(self.inner_shape)

    @property
    def given_floats(self) -> int:
        """Number of floats that the engine passes to the op for each tile."""
        return 0

    @property
    def reads_input(self) -> bool:
        """True if the gradient depends on the input of the op."""
        return kernels_read(self.kind)[0]

    @property
    def reads_output(self) -> bool:
        """True if the gradient depends on the output of the op."""
        return kernels_read(self.kind)[1] or (self.relu and not self.pool)


@cache
def kernels_read(kind: str) -> tuple[bool, bool]:
    """Return two flags: the backward kernel reads the op's input, and its output."""
    return _program.kernels_read(dispatch.tiles, kind)


@dataclass(eq=False, repr=False, match_args=False)
class Flatten(Op):
    """Reshape (C, H, W) to (C * H * W,); needs no computation."""

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        return [], (prod(shape),)


@dataclass(eq=False, repr=False, match_args=False)
class Activation(Op):
    """An elementwise function of ops/activation.pxi, named there, with its constants."""

    kind: str = ""
    constants: tuple[float, ...] = ()

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        whole = shape if len(shape) == 3 else (prod(shape), 1, 1)
        return [self.shaped(whole, whole)], shape


@dataclass(eq=False, repr=False, match_args=False)
class Pad2d(Op):
    """Zero padding before each plane."""

    kind = "pad2d"
    padding: Pair


@dataclass(eq=False, repr=False, match_args=False)
class Pool2d(Op):
    """A pooling; with `mask`, its gradient includes that of the preceding rectifier.

    `padding` is what `window_and_size` takes; lowering makes it the padding before the image.
    """

    kernel_size: Pair
    stride: Pair
    padding: Any = (0, 0)
    dilation: Pair = field(default=(1, 1), kw_only=True)
    ceil_mode: bool = field(default=False, kw_only=True)
    mask: bool = field(init=False, default=False)

    @property
    def halves(self) -> bool:
        """True for LeNet's pooling: 2 x 2 windows that cover the image exactly once."""
        halved = tuple(2 * extent for extent in self.out_shape[1:]) == self.in_shape[1:]
        plain = self.padding == (0, 0) and self.dilation == (1, 1)
        return self.kernel_size == self.stride == (2, 2) and plain and halved

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        window, size = window_and_size(
            *(shape[1:], self.kernel_size, self.stride, self.padding, self.dilation),
            ceil_mode=self.ceil_mode,
            pooling=True,
        )
        op = self.shaped(shape, (shape[0], *size))
        op.padding = window[2]  # type: ignore[attr-defined]
        return [op], op.out_shape

    @property
    def work(self) -> int:
        return prod(self.out_shape) * prod(self.kernel_size)


@dataclass(eq=False, repr=False, match_args=False)
class MaxPool2d(Pool2d):
    """The largest value of each window."""

    kind = "max_pool2d"


@dataclass(eq=False, repr=False, match_args=False)
class AvgPool2d(Pool2d):
    """The mean of each window, padding counted or not."""

    kind = "avg_pool2d"
    count_include_pad: bool = True
    padded_end: Pair = field(init=False, default=(0, 0))

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        ops, out_shape = super().lower(shape)
        pads = paddings(self.padding, shape[1:], self.kernel_size, self.stride)
        ends = [extent + after for extent, (_, after) in zip(shape[1:], pads, strict=True)]
        ops[0].padded_end = tuple(ends)  # type: ignore[attr-defined]
        return ops, out_shape


@dataclass(eq=False, repr=False, match_args=False)
class GlobalPool2d(Pool2d):
    """A pooling with one window, the whole image."""

    kernel_size: Pair = (1, 1)  # lowering makes it the size of the image
    stride: Pair = (1, 1)

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        op = replace(self, kernel_size=shape[1:]).shaped(shape, (shape[0], 1, 1))
        return [op], op.out_shape


@dataclass(eq=False, repr=False, match_args=False)
class GlobalMaxPool2d(GlobalPool2d):
    """The largest value of each map."""

    kind = "global_max_pool2d"


@dataclass(eq=False, repr=False, match_args=False)
class GlobalAvgPool2d(GlobalPool2d):
    """The mean of each map."""

    kind = "global_avg_pool2d"


@dataclass(eq=False, repr=False, match_args=False)
class Rbf(Op):
    """Squared distances from codes (classes, features), an array whose address must not change."""

    kind = "rbf"
    codes: NDArray[np.float32]

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        return [self.shaped((*shape, 1, 1), (len(self.codes), 1, 1))], (len(self.codes),)


@dataclass(eq=False, repr=False, match_args=False)
class Weighted(Op):
    """An op with parameters: `filter_size` weights for each output, and optionally a bias.

    weight and bias are their offsets in the parameter vector.
    """

    weight: int
    bias: int | None

    @property
    def filter_size(self) -> int:
        raise NotImplementedError

    @property
    def weight_size(self) -> int:
        return self.out_shape[0] * self.filter_size

    @property
    def param_ranges(self) -> list[Pair]:
        ranges = [(self.weight, self.weight + self.weight_size)]
        if self.bias is not None:
            ranges.append((self.bias, self.bias + self.out_shape[0]))
        return ranges

    @property
    def work(self) -> int:
        return prod(self.inner_shape) * self.filter_size


@dataclass(eq=False, repr=False, match_args=False)
class Linear(Weighted):
    """y = weight x + bias; `relu` rectifies y, `mask` masks its gradient accordingly."""

    kind = "linear"
    out_features: int
    relu: bool = field(init=False, default=False)
    mask: bool = field(init=False, default=False)

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        # A filter as wide as its single input row.
        op = self.shaped((1, 1, prod(shape)), (self.out_features, 1, 1))
        return [op], (self.out_features,)

    @property
    def kernel_size(self) -> Pair:
        return 1, self.in_shape[2]

    @property
    def filter_size(self) -> int:
        return self.in_shape[2]


@dataclass(eq=False, repr=False, match_args=False)
class Summed(Weighted):
    """An op whose gradients are summed over positions, at dweight and dbias of a record."""

    dweight: int = field(init=False, default=0)
    dbias: int = field(init=False, default=0)

    @property
    def sums(self) -> int:
        """The number of sums that belong to the weight."""
        return self.weight_size

    @property
    def sum_ranges(self) -> list[tuple[int, int, int]]:
        """(start, stop, sums): ranges of parameters, and the offset of their sums in a record."""
        sums = (self.dweight, self.dbias)
        return [(*span, at) for span, at in zip(self.param_ranges, sums, strict=False)]


@dataclass(eq=False, repr=False, match_args=False)
class Subsample2d(Summed):
    """The sum of each window, times the channel's weight, plus its bias."""

    kind = "subsample2d"
    kernel_size: Pair
    filter_size: ClassVar[int] = 1

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        size = pool2d_output_size(shape[1:], self.kernel_size)
        return [self.shaped(shape, (shape[0], *size))], (shape[0], *size)

    @property
    def stride(self) -> Pair:
        return self.kernel_size

    @property
    def work(self) -> int:
        return prod(self.out_shape) * prod(self.kernel_size)


@dataclass(eq=False, repr=False, match_args=False)
class Conv2d(Summed):
    """A convolution; `connections` has o * C + c of each existing filter, ascending.

    With `definition` it is summed as it is defined: terms that are not negative have such a sum
    then. Lowering takes a rectifier (`relu`, and `mask` as of `Linear`) and a pooling (`pool`) of
    2 x 2 windows into it, whose argmax indices then lie at `argmax`. With `outputs_only` there are
    none, and the pooling may be that of the mean (`average`).
    """

    kind = "conv2d"
    out_channels: int
    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Any = (0, 0)  # in any form accepted by window_and_size
    dilation: Pair = (1, 1)
    groups: int = 1
    connections: NDArray[np.intp] | None = None
    definition: bool = field(init=False, default=False)
    relu: bool = field(init=False, default=False)
    mask: bool = field(init=False, default=False)
    pool: bool = field(init=False, default=False)
    average: bool = field(init=False, default=False)
    outputs_only: bool = field(init=False, default=False)
    argmax: int = field(init=False, default=0)

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        channels, *image = shape
        window, size = window_and_size(
            image, self.kernel_size, self.stride, self.padding, self.dilation
        )
        out_shape, ops = (self.out_channels, *size), []
        ends = zip(image, window[2], covered(window, size), strict=True)
        padded = (channels, *(max(length + before, end) for length, before, end in ends))
        if padded != shape:
            ops.append(Pad2d(window[2]).shaped(shape, padded))
            shape = padded
        if self.kernel_size == shape[1:] and self.groups == 1 and self.connections is None:
            # One filter position: a fully connected layer, whose gradient has a faster algorithm.
            linear, _ = Linear(self.weight, self.bias, self.out_channels).lower(shape)
            return ops + linear, out_shape
        op = replace(self, padding=(0, 0)).shaped(shape, out_shape)
        return [*ops, op], out_shape

    @property
    def filter_size(self) -> int:
        return self.in_shape[0] // self.groups * prod(self.kernel_size)

    @property
    def sums(self) -> int:
        return self.out_channels * self.filter_size

    @property
    def weight_size(self) -> int:
        if self.connections is None:
            return self.sums
        return len(self.connections) * prod(self.kernel_size)

    @property
    def sum_ranges(self) -> list[tuple[int, int, int]]:
        if self.connections is None:
            return super().sum_ranges
        # A record has all filters; those that are neighbors among the connections make one range.
        ranges: list[tuple[int, int, int]] = []
        size = prod(self.kernel_size)
        for run in np.split(self.connections, np.flatnonzero(np.diff(self.connections) != 1) + 1):
            start = ranges[-1][1] if ranges else self.weight
            ranges.append((start, start + len(run) * size, self.dweight + int(run[0]) * size))
        if self.bias is not None:
            ranges.append((self.bias, self.bias + self.out_channels, self.dbias))
        return ranges
