"""Pooling on plain NumPy arrays.

Planes know nothing of each other, so float32 runs on tiles of 16 planes, whatever samples they are
of; float64 runs as im2col and a reduction, some planes at a time.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.kernels import threads
from lenet5c.kernels.arrays import (
    Array,
    check_array,
    check_out,
    check_shape,
    contiguous,
    deliver,
    work_array,
)
from lenet5c.kernels.columns import Pair, Real, fold, unfold, window_of
from lenet5c.kernels.engine._program import Program
from lenet5c.kernels.engine.ops import AvgPool2d, MaxPool2d
from lenet5c.kernels.engine.samples import Samples
from lenet5c.kernels.engine.single import single_op_program
from lenet5c.kernels.shapes import pool2d_output_size

# Windows as columns take no more than this at a time, unless one plane does: 4 MiB of float64.
COLUMN_ELEMENTS = 2**19


def max_pool2d(
    x: NDArray[Real],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    *,
    out: NDArray[Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[Real]:
    """Return the largest value of each window; the border is minus infinity, not-a-number wins.

    Parameters
    ----------
    x : ndarray (N, C, H, W), float32 or float64
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        As `kernel_size` if not given.
    padding : int or (int, int)
        At most half of `kernel_size`.
    out, num_threads
        As in `conv2d`.

    Returns
    -------
    ndarray (N, C, OH, OW)

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.
    """
    return _Pooling("max_pool2d", x, "x", kernel_size, stride, padding).forward(x, out, num_threads)


def max_pool2d_backward(
    dy: NDArray[Real],
    x: NDArray[Real],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    *,
    out: NDArray[Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[Real]:
    """Gradient of `max_pool2d`: of each window, the first maximum in row-major order receives it.

    Parameters
    ----------
    dy : ndarray (N, C, OH, OW)
    x, kernel_size, stride, padding
        As given to `max_pool2d`.
    out : ndarray (N, C, H, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, H, W)
    """
    return _Pooling("max_pool2d", x, "x", kernel_size, stride, padding).backward(
        dy, x, out, num_threads
    )


def avg_pool2d(
    x: NDArray[Real],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    count_include_pad: bool = True,
    *,
    out: NDArray[Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[Real]:
    """Return the mean of each window; padding is zeros, which the divisor counts or not.

    Parameters
    ----------
    x, kernel_size, stride, padding, out, num_threads
        As of `max_pool2d`, and so are the result and the errors.
    count_include_pad : bool
        Divide a window at the border by its whole size, not by its part within the image.

    Returns
    -------
    ndarray (N, C, OH, OW)
    """
    pooling = _Pooling("avg_pool2d", x, "x", kernel_size, stride, padding, count_include_pad)
    return pooling.forward(x, out, num_threads)


def avg_pool2d_backward(
    dy: NDArray[Real],
    x_shape: tuple[int, ...] | NDArray[Any],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    count_include_pad: bool = True,
    *,
    out: NDArray[Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[Real]:
    """Gradient of `avg_pool2d`: each window's is shared out evenly.

    Parameters
    ----------
    dy : ndarray (N, C, OH, OW)
    x_shape : (N, C, H, W), or an array of that shape
        The shape of the gradient.
    kernel_size, stride, padding, count_include_pad
        As given to `avg_pool2d`.
    out : ndarray (N, C, H, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, H, W)
    """
    shape = getattr(x_shape, "shape", x_shape)
    check_array("dy", dy, 4)
    # A stand-in of the right shape that takes no memory: the gradient of a mean does not depend on
    # the input.
    try:
        x = np.broadcast_to(np.zeros((), dy.dtype), shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"x_shape must be the shape (N, C, H, W) of the input, got {x_shape!r}"
        ) from None
    pooling = _Pooling("avg_pool2d", x, "x_shape", kernel_size, stride, padding, count_include_pad)
    return pooling.backward(dy, x, out, num_threads)


class _Pooling:
    """The checked settings of one pooling, and its two ways: tiles, or im2col and a reduction."""

    def __init__(
        self,
        kind: str,
        x: Array,
        name: str,
        kernel_size: Pair,
        stride: Pair | None,
        padding: Pair,
        count_include_pad: bool = False,
    ) -> None:
        check_array(name, x, 4)
        self.kind, self.count_include_pad = kind, bool(count_include_pad)
        self.window = window_of(kernel_size, kernel_size if stride is None else stride, padding, 1)
        self.op: tuple[Any, ...] = (MaxPool2d, *self.window[:3])
        if kind == "avg_pool2d":
            self.op = (AvgPool2d, *self.window[:3], self.count_include_pad)
        self.image = x.shape[2:]
        self.size = pool2d_output_size(self.image, *self.window[:3])
        self.x_shape, self.out_shape = x.shape, (x.shape[1], *self.size)
        self.on_tiles = x.dtype == np.float32

    def program(self) -> Program:
        return single_op_program((1, *self.image), *self.op)

    def forward(self, x: Array, out: Array | None, num_threads: int | None) -> Array:
        shape = (len(x), *self.out_shape)
        check_out("out", out, shape, x.dtype)
        work = work_array(out, shape, x.dtype, (x,))
        count = threads.effective(num_threads)
        if self.on_tiles:
            self.program().forward(_planes(x), _no_params(), _planes(work), count)
        else:
            for at in self._parts():
                work[at] = self._forward_part(x[at], count)
        return deliver(work, out)

    def backward(self, dy: Array, x: Array, out: Array | None, num_threads: int | None) -> Array:
        check_array("dy", dy, 4, x.dtype)
        check_shape("dy", dy, (len(x), *self.out_shape))
        check_out("out", out, x.shape, x.dtype)
        work = work_array(out, x.shape, x.dtype, (dy, x))
        count = threads.effective(num_threads)
        if self.on_tiles:
            # The gradient of a mean does not depend on the input: one plane of it will do for all.
            planes: Any = _planes(x)
            if self.kind == "avg_pool2d":
                planes = Samples(_planes(x[:1, :1]), np.zeros(len(x) * x.shape[1], np.int64))
            self.program().backward(
                planes, _planes(dy), _no_params(), _no_params(), _planes(work), count
            )
        else:
            work[...] = 0
            for at in self._parts():
                self._backward_part(dy[at], x[at], work[at], count)
        return deliver(work, out)

    def _parts(self) -> Iterator[tuple[int, slice]]:
        """Yield indices of some planes of one sample at a time: their windows take memory."""
        step = max(1, COLUMN_ELEMENTS // (prod(self.window[0]) * prod(self.size)))
        for n in range(self.x_shape[0]):
            for first in range(0, self.x_shape[1], step):
                yield n, slice(first, first + step)

    def _forward_part(self, x: Array, num_threads: int) -> Array:
        if self.kind == "max_pool2d":
            return self._columns(x, -np.inf, num_threads).max(axis=1).reshape(-1, *self.size)
        sums = self._columns(x, 0, num_threads).sum(axis=1)
        return (sums / self._divisor(x.dtype)).reshape(-1, *self.size)

    def _backward_part(self, dy: Array, x: Array, dx: Array, num_threads: int) -> None:
        dy = dy.reshape(len(dy), 1, -1)
        if self.kind == "max_pool2d":
            columns = self._columns(x, -np.inf, num_threads)
            first = self._first_maximum(columns)
            columns = np.zeros_like(columns)
            np.put_along_axis(columns, first, dy, axis=1)
        else:
            columns = np.repeat(dy / self._divisor(x.dtype), prod(self.window[0]), axis=1)
        fold(columns.reshape(1, -1, prod(self.size)), self.window, self.size, dx[None], num_threads)

    def _first_maximum(self, columns: Array) -> Array:
        """Argmax of each window: the first maximum, never in the border, even beside -inf."""
        inside = self._columns(np.ones((1, *self.image), columns.dtype), 0, 1)[0] > 0
        largest = columns.max(axis=1, keepdims=True)
        is_largest = (columns == largest) | np.isnan(columns)
        return np.argmax(is_largest & inside, axis=1)[:, None]

    def _divisor(self, dtype: np.dtype[Any]) -> Any:
        if self.count_include_pad:
            return dtype.type(prod(self.window[0]))
        return self._columns(np.ones((1, *self.image), dtype), 0, 1)[0].sum(axis=0)

    def _columns(self, x: Array, fill: float, num_threads: int) -> Array:
        """Return the windows of each plane, (C, KH * KW, OH * OW)."""
        columns = np.empty((1, len(x) * prod(self.window[0]), prod(self.size)), x.dtype)
        unfold(x[None], self.window, self.size, fill, columns, num_threads)
        return columns.reshape(len(x), prod(self.window[0]), -1)


def _planes(array: Array) -> Array:
    """Return (N, C, H, W) as (N C, H W)."""
    n, channels, height, width = array.shape
    return contiguous(array).reshape(n * channels, height * width)


def _no_params() -> Array:
    return np.zeros(0, np.float32)
