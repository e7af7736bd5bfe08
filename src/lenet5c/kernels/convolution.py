"""Convolution on plain NumPy arrays.

They run on the compiled kernels: on tiles of 16 samples (a program of one op; float32), or directly
on the arrays, with channels or groups side by side; `_Convolution._best_way` chooses. A fully
connected layer on few samples is im2col and a matrix product.
"""

from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

import lenet5c.kernels.direct._direct as _direct
from lenet5c.kernels import threads
from lenet5c.kernels.arrays import (
    Array,
    check_array,
    check_out,
    check_shape,
    contiguous,
    deliver,
    rows,
    work_array,
)
from lenet5c.kernels.columns import Pair, Real, Window, fold, unfold, window_of
from lenet5c.kernels.direct import strips
from lenet5c.kernels.engine._program import TILE_LANES as LANES
from lenet5c.kernels.engine._program import Program
from lenet5c.kernels.engine.ops import Conv2d
from lenet5c.kernels.engine.single import single_op_program
from lenet5c.kernels.shapes import check_elements, conv2d_output_size

# Column matrices are made strip by strip, so that they take no more than this: 4 MiB of float64.
COLUMN_ELEMENTS = 2**19


def conv2d(
    x: NDArray[Real],
    weight: NDArray[Real],
    bias: NDArray[Real] | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    out: NDArray[Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[Real]:
    """Cross-correlate images with filters, as `torch.nn.functional.conv2d` does.

    Parameters
    ----------
    x : ndarray (N, C, H, W), float32 or float64
    weight : ndarray (O, C / groups, KH, KW), same dtype
    bias : ndarray (O,), same dtype, optional
    stride, padding, dilation : int or (int, int)
        Vertical and horizontal, in pixels; the padding is zeros.
    groups : int
        Output channels are cut into as many groups, each of which sees its share of the input
        channels.
    out : ndarray (N, O, OH, OW), same dtype, optional
        Receives the result; may overlap an input.
    num_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ndarray (N, O, OH, OW)

    Raises
    ------
    TypeError
        An argument is no ndarray of float32 or float64, or dtypes are mixed.
    ValueError
        A shape or a setting does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> kernels.conv2d(x, np.ones((1, 1, 2, 2), np.float32))[0, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    conv: _Convolution = _Convolution(x, weight, bias, stride, padding, dilation, groups)
    shape = (len(x), *conv.out_shape)
    check_out("out", out, shape, x.dtype)
    work = work_array(out, shape, x.dtype, (x, weight, bias))
    count = threads.effective(num_threads)
    if conv.way == "tiles":
        conv.forward_tiles(x, work, count)
    elif conv.way == "columns":
        conv.forward_columns(x, work, count)
    else:
        conv.forward_direct(x, work, count)
    return deliver(work, out)


def conv2d_backward(
    dy: NDArray[Real],
    x: NDArray[Real],
    weight: NDArray[Real],
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    out: tuple[NDArray[Real] | None, NDArray[Real] | None, NDArray[Real] | None] | None = None,
    num_threads: int | None = None,
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]:
    """Gradients of `conv2d` for its input, weight and bias.

    Parameters
    ----------
    dy : ndarray (N, O, OH, OW)
        Gradient of the result.
    x, weight, stride, padding, dilation, groups
        As given to `conv2d`.
    out : tuple of three ndarrays, any of them None, optional
        Receive dx, dweight and dbias.
    num_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    dx : ndarray (N, C, H, W)
    dweight : ndarray (O, C / groups, KH, KW)
    dbias : ndarray (O,)

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.
    """
    conv: _Convolution = _Convolution(x, weight, None, stride, padding, dilation, groups)
    check_array("dy", dy, 4, x.dtype)
    check_shape("dy", dy, (len(x), *conv.out_shape))
    shapes = (x.shape, weight.shape, (len(weight),))
    outs = (None, None, None) if out is None else tuple(out)
    if len(outs) != 3:
        raise ValueError(
            f"out has {len(outs)} elements; it should have three: for dx, dweight and dbias"
        )
    for name, array, shape in zip(("out[0]", "out[1]", "out[2]"), outs, shapes, strict=True):
        check_out(name, array, shape, x.dtype)
    given = [array for array in outs if array is not None]
    if any(np.may_share_memory(a, b) for i, a in enumerate(given) for b in given[:i]):
        raise ValueError(
            "out holds arrays that overlap; dx, dweight and dbias need memory of their own"
        )
    dy = contiguous(dy)
    dx = work_array(outs[0], x.shape, x.dtype, (dy, x, weight))
    count = threads.effective(num_threads)
    if "tiles" in (conv.way, conv.dx_way):
        dweight, dbias = conv.backward_tiles(dy, x, dx, count)
    elif conv.way == "columns":
        dweight, dbias = conv.backward_columns(dy, x, dx, count)
    else:
        dweight, dbias = conv.backward_direct(dy, x, dx, count)
    return deliver(dx, outs[0]), deliver(dweight, outs[1]), deliver(dbias, outs[2])


class _Convolution:
    """The checked settings of one convolution, and its ways: tiles, direct, matrix product."""

    def __init__(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> None:
        check_array("x", x, 4)
        check_array("weight", weight, 4, x.dtype)
        if not isinstance(groups, (int, np.integer)) or groups < 1:
            raise ValueError(f"groups must be an integer of at least 1, got {groups!r}")
        out_channels, channels, *kernel_size = weight.shape
        if 0 in weight.shape or x.shape[1] != channels * groups or out_channels % groups != 0:
            raise ValueError(
                f"weight must have the shape (O, {x.shape[1]} / groups, KH, KW), with O a multiple "
                f"of groups, for x of {x.shape[1]} channels, got {weight.shape} and groups {groups}"
            )
        if bias is not None:
            check_array("bias", bias, 1, x.dtype)
            check_shape("bias", bias, (out_channels,))
        self.window = window_of(tuple(kernel_size), stride, padding, dilation)
        self.size = conv2d_output_size(x.shape[2:], *self.window)
        self.out_shape = (out_channels, *self.size)
        check_elements("the result", (len(x), *self.out_shape))
        self.x_shape, self.weight, self.bias, self.groups = x.shape, weight, bias, int(groups)
        self.way = self._best_way(out_channels)
        self.dx_way = self._best_way(x.shape[1])

    def _best_way(self, channels: int) -> str:
        """Return how to compute so many channels of y, or of dx: see docs/design.md.

        "tiles"    16 samples side by side, as in a program; float32
        "units"    16 (of float64, 8) units side by side, a unit being one group of one sample
        "channels" 16 (8) channels of a unit side by side
        "rows"     the same of a fully connected layer, whose samples are pixels of one image
        "columns"  im2col and a matrix product
        """
        batch, in_channels, *image = self.x_shape
        floats = self.weight.dtype == np.float32
        if self.groups == 1 and self.size == (1, 1) and not any(self.window[2]):
            if batch < 4:
                return "columns"
            return "tiles" if floats else "rows"
        lanes = LANES if floats else LANES // 2
        of_units = _filled_lanes(batch * self.groups, lanes)
        of_channels = _filled_lanes(channels // self.groups, lanes)
        tile = LANES * (in_channels * prod(image) + len(self.weight) * prod(self.size))
        fits = floats and self.groups == 1 and tile <= strips.STRIP_FLOATS
        if of_units > of_channels or (fits and of_units == of_channels and batch >= LANES):
            return "tiles" if fits else "units"
        return "channels"

    # Tiles

    def forward_tiles(self, x: Array, y: Array, num_threads: int) -> None:
        bias = np.zeros(len(self.weight), np.float32) if self.bias is None else self.bias
        params = np.concatenate((self.weight.ravel(), bias))
        self._program().forward(rows(x), params, rows(y), num_threads)

    def backward_tiles(
        self, dy: Array, x: Array, dx: Array, num_threads: int
    ) -> tuple[Array, Array]:
        """Write dx, return dweight and dbias."""
        size, outputs = self.weight.size, len(self.weight)
        params = np.concatenate((self.weight.ravel(), np.zeros(outputs, np.float32)))
        grads = np.zeros(size + outputs, np.float32)
        self._program().backward(rows(x), rows(dy), params, grads, rows(dx), num_threads)
        return grads[:size].reshape(self.weight.shape), grads[size:]

    def _program(self) -> Program:
        kernel_size, *steps = self.window
        settings = (0, self.weight.size, len(self.weight), kernel_size, *steps, self.groups)
        return single_op_program(self.x_shape[1:], Conv2d, *settings)

    # Direct

    def forward_direct(self, x: Array, y: Array, num_threads: int) -> None:
        plan = self._plan("y", self.way, num_threads)
        bias = None if self.bias is None else contiguous(self.bias)
        _direct.convolve(plan, contiguous(x), contiguous(self.weight), bias, y, num_threads)

    def backward_direct(
        self, dy: Array, x: Array, dx: Array, num_threads: int
    ) -> tuple[Array, Array]:
        """Write dx, return dweight and dbias."""
        plan = self._plan("dx", self.dx_way, num_threads)
        _direct.convolve(plan, dy, contiguous(self.weight), None, dx, num_threads)
        dweight = np.empty(self.weight.shape, x.dtype)
        dbias = np.empty(len(self.weight), x.dtype)
        plan = self._plan("dweight", self.way, num_threads)
        _direct.weight_gradient(plan, contiguous(x), dy, dweight, dbias, num_threads)
        return dweight, dbias

    def _plan(self, purpose: str, way: str, num_threads: int) -> _direct.Strips:
        batch, channels, *image = self.x_shape
        dtype, outputs = self.weight.dtype.char, len(self.weight)
        if way == "rows":
            shapes = (channels * prod(image), batch, 1), (outputs, batch, 1), window_of(1, 1, 0, 1)
            return strips.plan(dtype, purpose, 1, 1, *shapes, num_threads, "rows")
        in_shape = channels // self.groups, *image
        out_shape = outputs // self.groups, *self.size
        shapes = in_shape, out_shape, self.window
        return strips.plan(dtype, purpose, batch * self.groups, self.groups, *shapes, num_threads)

    # Columns

    def forward_columns(self, x: Array, y: Array, num_threads: int) -> None:
        group_weights = self.weight.reshape(self.groups, len(self.weight) // self.groups, -1)
        for n, window, strip in self._strips():
            columns = self._columns(x[n], window, strip, num_threads)
            values = np.matmul(group_weights, columns).reshape(len(self.weight), -1, self.size[1])
            y[n, :, strip] = values if self.bias is None else values + self.bias[:, None, None]

    def backward_columns(
        self, dy: Array, x: Array, dx: Array, num_threads: int
    ) -> tuple[Array, Array]:
        """Write dx, return dweight and dbias."""
        group_weights = self.weight.reshape(self.groups, len(self.weight) // self.groups, -1)
        dweight = np.zeros_like(group_weights)
        dx[...] = 0
        for n, window, strip in self._strips():
            columns = self._columns(x[n], window, strip, num_threads)
            group_dy = dy[n, :, strip].reshape(self.groups, -1, columns.shape[-1])
            dweight += np.matmul(group_dy, columns.transpose(0, 2, 1))
            np.matmul(group_weights.transpose(0, 2, 1), group_dy, out=columns)
            size = strip.stop - strip.start, self.size[1]
            fold(columns.reshape(1, -1, prod(size)), window, size, dx[n, None], num_threads)
        return dweight.reshape(self.weight.shape), dy.sum(axis=(0, 2, 3))

    def _strips(self) -> Iterator[tuple[int, Window, slice]]:
        """Yield samples, and strips of their output rows with the window that begins there."""
        kernel_size, stride, (top, left), dilation = self.window
        height, row = self.x_shape[1] * prod(kernel_size), self.size[1]
        step = max(1, COLUMN_ELEMENTS // (height * row))
        for n in range(self.x_shape[0]):
            for first in range(0, self.size[0], step):
                window = kernel_size, stride, (top - first * stride[0], left), dilation
                yield n, window, slice(first, min(first + step, self.size[0]))

    def _columns(self, x: Array, window: Window, strip: slice, num_threads: int) -> Array:
        """im2col of a strip of one sample, (groups, C / groups * KH * KW, rows * OW)."""
        height, size = len(x) * prod(window[0]), (strip.stop - strip.start, self.size[1])
        columns = np.empty((1, height, prod(size)), x.dtype)
        unfold(x[None], window, size, 0, columns, num_threads)
        return columns.reshape(self.groups, height // self.groups, -1)


def _filled_lanes(count: int, lanes: int) -> float:
    """Return the share of lanes in use, if `count` values are put `lanes` side by side."""
    return count / (-(-count // lanes) * lanes) if count else 0
