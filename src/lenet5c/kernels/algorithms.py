"""The algorithms for a convolution and its gradients, and the choice between them.

"tiles"   16 samples side by side, in a program of one op; float32, channels first
"direct"  channels, groups of samples, or pixels side by side, without tiles
"rows"    "direct" for a fully connected layer: its samples are the pixels of one image
"few"     a fully connected layer for a few samples: weights are read in place

docs/explanation/functions.md has the figures behind the choice.
"""

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np

import lenet5c.kernels.direct._direct as _direct
from lenet5c.kernels import threads
from lenet5c.kernels.arrays import Array, contiguous
from lenet5c.kernels.columns import fold
from lenet5c.kernels.direct import strips
from lenet5c.kernels.direct._products import Products
from lenet5c.kernels.engine._program import TILE_LANES as LANES
from lenet5c.kernels.engine._program import Program
from lenet5c.kernels.engine.ops import Conv2d
from lenet5c.kernels.engine.single import single_op_program
from lenet5c.kernels.shapes import Window, check_elements, covered
from lenet5c.kernels.simd import dispatch

Shape = tuple[int, ...]
PURPOSES = ("y", "dx", "dweight")


class Convolution:
    """A convolution x -> y of arrays whose shapes have been checked, cached between calls.

    Parameters
    ----------
    x_shape : (N, C, H, W), or (N, H, W, C) with `channels_last`
        N is omitted for a single sample, and H for one axis.
    weight_shape : (O, C / groups, KH, KW), or (KH, KW, C / groups, O)
    dtype : float32 or float64
    window, size
        As returned by `lenet5c.kernels.shapes.window_and_size`.
    groups : int
    channels_last : bool
    """

    def __init__(
        self,
        x_shape: Shape,
        weight_shape: Shape,
        dtype: Any,
        window: Window,
        size: Shape,
        groups: int,
        channels_last: bool,
    ) -> None:
        self.axes = axes = len(size)
        batch, sample = x_shape[: -axes - 1], x_shape[-axes - 1 :]
        if channels_last:
            *image, self.in_channels = sample
            *_, self.out_channels = weight_shape
            self.y_shape = (*batch, *size, self.out_channels)
        else:
            self.in_channels, *image = sample
            self.out_channels, *_ = weight_shape
            self.y_shape = (*batch, self.out_channels, *size)
        check_elements("the result", self.y_shape)
        self.x_shape, self.weight_shape, self.dtype = x_shape, weight_shape, dtype
        self.batch, self.groups, self.channels_last = prod(batch), groups, channels_last
        self.image, self.size = self._add_axis(image), self._add_axis(size)
        self.window = tuple(
            self._add_axis(each, other) for each, other in zip(window, (1, 1, 0, 1), strict=True)
        )
        self.x_sums = self._channels_between(self.in_channels, prod(image))
        self.y_sums = self._channels_between(self.out_channels, prod(size))
        self.work = self.batch * prod(size) * prod(weight_shape)  # multiply-adds
        self.algorithm = self._choose_algorithm(self.out_channels)
        self.dx_algorithm = self._choose_algorithm(self.in_channels)
        self._plans = {name: _OfThreads(partial(self._plan, name)) for name in PURPOSES}

    def _add_axis(self, each: Iterable[int], other: int = 1) -> tuple[int, int]:
        """Return a setting for two axes: a sequence is an image with one row.

        A single sequence is one column, which is divided into strips for several threads.
        """
        first, second = (*each, other)[:2] if self.batch == 1 else (other, *each)[-2:]
        return first, second

    def _channels_between(self, channels: int, pixels: int) -> Shape:
        """Return the sizes of an array before its channels, of the channels, and after them."""
        if self.channels_last:
            return self.batch * pixels, channels, 1
        return self.batch, channels, pixels

    def _choose_algorithm(self, channels: int) -> str:
        """Return the algorithm for this many channels of y or dx: the one that uses more lanes."""
        if self.is_fully_connected:
            return "few" if self.batch < 4 else "tiles" if self._fits_tiles else "rows"
        of_samples, of_channels = _filled_lanes(self.batch), _filled_lanes(channels)
        fuller = of_samples > of_channels or (of_samples == of_channels and self.batch >= LANES)
        return "tiles" if fuller and self._fits_tiles else "direct"

    @cached_property
    def is_fully_connected(self) -> bool:
        """True if the filters are as large as the image and cover it."""
        kernel_size, _, before, _ = self.window
        covers = kernel_size == self.image and not any(before)
        return covers and self.size == (1, 1) and self.groups == 1

    @cached_property
    def _has_border(self) -> bool:
        """True if the input gradient may read zeros around dy."""
        return not self.is_fully_connected and self.window[0] != (1, 1)

    @cached_property
    def _fits_tiles(self) -> bool:
        """True if a program can compute it with a tile that fits in the cache of a core."""
        values = self.in_channels * prod(self.image) + self.out_channels * prod(self.size)
        return (
            self.dtype == np.float32
            and self.groups == 1
            and not self.channels_last
            and LANES * values <= strips.STRIP_FLOATS
            # A program computes all windows that fit.
            and all(
                after > -stride for after, stride in zip(self._after, self.window[1], strict=True)
            )
        )

    @property
    def _after(self) -> list[int]:
        """The padding used after the image; less than 0 if the windows end within the image."""
        ends = zip(covered(self.window, self.size), self.window[2], self.image, strict=True)
        return [end - before - length for end, before, length in ends]

    # Results

    def result(
        self, x: Array, weight: Array, bias: Array | None, y: Array, num_threads: int | None
    ) -> None:
        """Write y."""
        count = threads.useful(self.work, num_threads)
        if self.algorithm == "tiles":
            params = self._params(weight, bias)
            self._program.forward(self._rows(x), params, self._rows(y), count)
        elif self.algorithm == "few":
            outwards = self.channels_last  # weights are (inputs, outputs)
            self._from_x.multiply(x, weight, outwards, bias, y, count)
        else:
            plan = self._plans["y"][count]
            _direct.convolve(plan, x, weight, bias, y, count)

    def data_gradient(
        self, dy: Array, weight: Array, bias: Array | None, dx: Array, num_threads: int | None
    ) -> None:
        """Write dx, with a bias added to each of its channels."""
        count = threads.useful(self.work, num_threads)
        if bias is not None and self.is_fully_connected:  # its pixels are channels of a row
            spread = np.tile if self.channels_last else np.repeat
            bias = spread(bias, prod(self.image))
        if self.dx_algorithm == "few":
            outwards = not self.channels_last
            self._from_y.multiply(dy, weight, outwards, bias, dx, count)
        else:
            plan = self._plans["dx"][count]
            if not _direct.convolve(plan, dy, weight, bias, dx, count, self._has_border):
                self._scatter(dy, weight, dx, num_threads)
                self._add_bias(dx, bias)

    def _scatter(self, dy: Array, weight: Array, dx: Array, num_threads: int | None) -> None:
        """Write dx without products of weights and zeros around dy, NaN for infinite weights."""
        dx_first = np.zeros((self.batch, self.in_channels, *self.image), self.dtype)
        if self.channels_last:
            dy = dy.reshape(self.batch, -1, self.out_channels).transpose(0, 2, 1)
            weight = weight.transpose(-1, -2, *range(self.axes))
        pixels, of_group = prod(self.size), self.out_channels // self.groups
        dy = contiguous(dy.reshape(self.batch, self.groups, of_group, pixels))
        weight = contiguous(weight.reshape(self.groups, of_group, -1).transpose(0, 2, 1))
        columns = np.empty((self.groups, weight.shape[1], pixels), self.dtype)
        products = self._products(*columns.shape[1:], of_group)
        for n in range(self.batch):
            for group in range(self.groups):
                factors = weight[group], dy[n, group]
                products.multiply(*factors, True, None, columns[group], 1)
            one = columns.reshape(1, -1, pixels)
            fold(one, self.window, self.size, dx_first[n : n + 1], num_threads)
        last = np.moveaxis(dx_first, 1, -1) if self.channels_last else dx_first
        dx[...] = last.reshape(dx.shape)

    def gradients(
        self,
        dy: Array,
        x: Array | None,
        weight: Array | None,
        dx: Array | None,
        needs: tuple[bool, bool, bool],
        num_threads: int | None,
    ) -> tuple[Array | None, Array | None]:
        """Write dx unless it is None; return dweight and dbias, or None if not needed.

        x is for dweight, weight for dx.
        """
        _, needs_weight, needs_bias = needs
        on_tiles = self.algorithm == "tiles" or (dx is not None and self.dx_algorithm == "tiles")
        if needs_weight and on_tiles:
            dweight, dbias = self._gradients_on_tiles(dy, x, weight, dx, num_threads)
            return dweight, dbias if needs_bias else None
        if dx is not None:
            self.data_gradient(dy, weight, None, dx, num_threads)
        if needs_weight and self.algorithm != "few":
            dweight = np.empty(self.weight_shape, self.dtype)
            dbias = np.empty(self.out_channels, self.dtype) if needs_bias else None
            plan, count = self._plans["dweight"][1], threads.useful(self.work, num_threads)
            _direct.weight_gradient(plan, x, dy, dweight, dbias, count)
            return dweight, dbias
        dweight = dbias = None
        if needs_weight:
            dweight = np.empty(self.weight_shape, self.dtype)
            count = threads.useful(self.work, num_threads)
            if self.channels_last:
                self._from_y.outer(dy, x, dweight, count)
            else:
                self._from_x.outer(x, dy, dweight, count)
        if needs_bias:
            dbias = self.sum_channels(dy, self.y_sums, num_threads)
        return dweight, dbias

    def sum_channels(self, dy: Array, layout: Shape, num_threads: int | None) -> Array:
        """Return the sum of each channel of dy, which is the gradient of a bias.

        The layout is that of the array, `x_sums` or `y_sums`.
        """
        sums = np.empty(layout[1], self.dtype)
        _direct.sum_channels(dy, layout, sums, threads.useful(dy.size, num_threads))
        return sums

    def _gradients_on_tiles(
        self, dy: Array, x: Array, weight: Array | None, dx: Array | None, num_threads: int | None
    ) -> tuple[Array, Array]:
        count, size = threads.useful(self.work, num_threads), prod(self.weight_shape)
        grads = np.zeros(size + self.out_channels, np.float32)
        params = np.zeros_like(grads) if dx is None else self._params(weight, None)
        rows = None if dx is None else self._rows(dx)
        self._program.backward(self._rows(x), self._rows(dy), params, grads, rows, count)
        return grads[:size].reshape(self.weight_shape), grads[size:]

    # Arrays in the shapes that the algorithms need

    @cached_property
    def _program(self) -> Program:
        kernel_size, stride, before, dilation = self.window
        padding = tuple((b, max(0, a)) for b, a in zip(before, self._after, strict=True))
        settings = self.out_channels, kernel_size, stride, padding, dilation
        weights = prod(self.weight_shape)
        return single_op_program((self.in_channels, *self.image), Conv2d, 0, weights, *settings)

    def _params(self, weight: Array, bias: Array | None) -> Array:
        bias = np.zeros(self.out_channels, np.float32) if bias is None else bias
        return np.concatenate((weight.ravel(), bias))

    def _rows(self, array: Array) -> Array:
        """Return one row for each sample."""
        return contiguous(array).reshape(self.batch, prod(array.shape[-self.axes - 1 :]))

    def _products(self, rows: int, outputs: int, inputs: int) -> Products:
        return Products(dispatch.direct[self.dtype.char], rows, inputs, outputs)

    @cached_property
    def _from_x(self) -> Products:
        """Products of few samples with the weights, (outputs, inputs) or transposed."""
        return self._products(self.batch, self.out_channels, prod(self.x_shape[-self.axes - 1 :]))

    @cached_property
    def _from_y(self) -> Products:
        """Products of few gradients with the weights, (inputs, outputs) or transposed."""
        return self._products(self.batch, prod(self.x_shape[-self.axes - 1 :]), self.out_channels)

    def _add_bias(self, array: Array, bias: Array | None) -> None:
        if bias is not None:
            array += bias if self.channels_last else bias.reshape(-1, *(1,) * self.axes)

    def _plan(self, purpose: str, count: int) -> _direct.Strips:
        """Return the compiled plan of y, dx or dweight, for a number of threads."""
        layout = "NHWC" if self.channels_last else "NCHW"
        units, groups, window = self.batch * self.groups, self.groups, self.window
        in_shape = self.in_channels // groups, *self.image
        out_shape = self.out_channels // groups, *self.size
        if self.is_fully_connected:
            layout = "NHWC" if self.channels_last else "rows"
            units, window = 1, ((1, 1), (1, 1), (0, 0), (1, 1))
            in_shape, out_shape = (
                (prod(in_shape), self.batch, 1),
                (self.out_channels, self.batch, 1),
            )
        shapes = in_shape, out_shape, window
        return strips.plan(self.dtype.char, purpose, units, groups, *shapes, count, layout)


class _OfThreads(dict[int, Any]):
    """Objects by the number of threads, created on demand."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __missing__(self, count: int) -> Any:
        made = self[count] = self.make(count)
        return made


def _filled_lanes(count: int) -> float:
    """Return the fraction of lanes in use if `count` values are processed 16 at a time."""
    return count / (-(-count // LANES) * LANES) if count else 0
