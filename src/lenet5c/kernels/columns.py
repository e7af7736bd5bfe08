"""im2col and col2im on plain NumPy arrays, and the same without checks."""

from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import lenet5c.kernels._im2col as _im2col
from lenet5c.kernels import threads
from lenet5c.kernels.arrays import Array, check_array, check_out, contiguous, deliver, work_array
from lenet5c.kernels.shapes import check_elements, conv2d_output_size, pair

# All arrays of a call have one of these dtypes.
Real = TypeVar("Real", np.float32, np.float64)
Pair = int | tuple[int, int]
# Kernel size, stride, padding and dilation, each (vertical, horizontal).
Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


def im2col(
    x: NDArray[Real],
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    *,
    out: NDArray[Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[Real]:
    """Return the windows of an image as columns, as `torch.nn.functional.unfold` gives them.

    Parameters
    ----------
    x : ndarray (N, C, H, W), float32 or float64
    kernel_size, stride, padding, dilation : int or (int, int)
    out, num_threads
        As in `conv2d`.

    Returns
    -------
    ndarray (N, C * KH * KW, OH * OW)
        Element [n, (c KH + kh) KW + kw, oh OW + ow] is
        x[n, c, oh SH + kh DH - PH, ow SW + kw DW - PW], 0 outside.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> kernels.im2col(np.arange(6.0).reshape(1, 1, 2, 3), 2)[0]
    array([[0., 1.],
           [1., 2.],
           [3., 4.],
           [4., 5.]])
    """
    check_array("x", x, 4)
    n, channels, *image = x.shape
    window = window_of(kernel_size, stride, padding, dilation)
    size = conv2d_output_size(image, *window)
    shape = (n, channels * prod(window[0]), prod(size))
    check_elements("the column matrix", shape)
    check_out("out", out, shape, x.dtype)
    work = work_array(out, shape, x.dtype, (x,))
    unfold(x, window, size, 0, work, threads.effective(num_threads))
    return deliver(work, out)


def col2im(
    col: NDArray[Real],
    output_size: Pair,
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    *,
    out: NDArray[Real] | None = None,
    num_threads: int | None = None,
) -> NDArray[Real]:
    """Add columns back onto the image they came from, as `torch.nn.functional.fold`.

    The transpose of `im2col`.

    Parameters
    ----------
    col : ndarray (N, C * KH * KW, OH * OW), float32 or float64
    output_size : (int, int)
        Height and width of the image.
    kernel_size, stride, padding, dilation : int or (int, int)
        As given to `im2col`.
    out : ndarray (N, C, H, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, H, W)
        Where windows overlap, the sum.
    """
    check_array("col", col, 3)
    image: tuple[int, int] = pair(output_size, "output_size", 1)
    window = window_of(kernel_size, stride, padding, dilation)
    size = conv2d_output_size(image, *window)
    taps = prod(window[0])
    if col.shape[1] % taps != 0 or col.shape[1] == 0 or col.shape[2] != prod(size):
        raise ValueError(
            f"col must have the shape (N, C * {taps}, {prod(size)}) for output_size {image}, got "
            f"{col.shape}"
        )
    shape = (len(col), col.shape[1] // taps, *image)
    check_elements("the image", shape)
    check_out("out", out, shape, col.dtype)
    work = work_array(out, shape, col.dtype, (col,))
    work[...] = 0
    fold(col, window, size, work, threads.effective(num_threads))
    return deliver(work, out)


def unfold(
    x: Array, window: Window, size: tuple[int, int], fill: float, col: Array, num_threads: int
) -> None:
    """im2col of checked arguments, with `fill` outside the image; `size` is (OH, OW).

    A window may also begin inside the image, with a negative padding.
    """
    n, channels, height, width = x.shape
    planes = contiguous(x).reshape(n, channels, height * width)
    windows = col.reshape(n, channels, prod(window[0]) * prod(size))
    _im2col.im2col(planes, (height, width), size, *window, fill, windows, num_threads)


def fold(col: Array, window: Window, size: tuple[int, int], x: Array, num_threads: int) -> None:
    """Add the columns onto x, which is contiguous: col2im of checked arguments."""
    n, channels, height, width = x.shape
    windows = contiguous(col).reshape(n, channels, prod(window[0]) * prod(size))
    _im2col.col2im(
        windows, (height, width), size, *window, x.reshape(n, channels, height * width), num_threads
    )


def window_of(kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    """Return the settings of a window, each checked and as a pair."""
    return (
        pair(kernel_size, "kernel_size", 1),
        pair(stride, "stride", 1),
        pair(padding, "padding", 0),
        pair(dilation, "dilation", 1),
    )
