"""Pooling: one number for each window of each channel, its largest value or its mean.

Windows are cut at the border of the image: padding never wins a maximum (it is minus infinity
there) and adds nothing to a sum (it is zero there). The stride is the kernel size unless given, so
that windows do not overlap.

Shapes: x (N, C, H, W), y (N, C, OH, OW).
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, Size, float64
from lenet5c.reference.windows import Index, output_shape, pair


def max_pool2d(
    x: ArrayLike, kernel_size: Size, stride: Size | None = None, padding: Size = 0
) -> Array:
    """Take the largest value of each window; a NaN counts as the largest.

    ::

        y[n, c, oh, ow] = max over kh, kw of x[n, c, oh*SH + kh - PH, ow*SW + kw - PW]

    Parameters
    ----------
    x : array_like (N, C, H, W)
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        `kernel_size` if not given.
    padding : int or (int, int)

    Returns
    -------
    ndarray of float64 (N, C, OH, OW)

    References
    ----------
    `torch.nn.functional.max_pool2d`.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.max_pool2d([[[[1, 2, 0, 0], [3, 0, 0, 9]]]], kernel_size=2)
    array([[[[3., 9.]]]])
    """
    x = np.asarray(x, np.float64)
    stride = kernel_size if stride is None else stride
    OH, OW = output_shape(x.shape[2:], kernel_size, stride, padding)
    y = np.zeros((*x.shape[:2], OH, OW))
    for oh, ow in np.ndindex(OH, OW):
        y[:, :, oh, ow] = x[_window(oh, ow, x, kernel_size, stride, padding)].max(axis=(2, 3))
    return y


def max_pool2d_backward(
    dy: ArrayLike, x: ArrayLike, kernel_size: Size, stride: Size | None = None, padding: Size = 0
) -> Array:
    """Gradient of `max_pool2d`: all of it goes to the first maximum, in row-major order.

    ::

        dx[n, c, position of the maximum of window (oh, ow)] += dy[n, c, oh, ow]

    Parameters
    ----------
    dy : array_like (N, C, OH, OW)
    x, kernel_size, stride, padding
        As given to `max_pool2d`.

    Returns
    -------
    ndarray of float64 (N, C, H, W)

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.max_pool2d_backward([[[[5, 7]]]], [[[[1, 2, 0, 0], [3, 0, 0, 9]]]], kernel_size=2)
    array([[[[0., 0., 0., 0.],
             [5., 0., 0., 7.]]]])
    """
    dy, x = float64(dy, x)
    stride = kernel_size if stride is None else stride
    dx = np.zeros_like(x)
    for oh, ow in np.ndindex(dy.shape[2:]):
        at = _window(oh, ow, x, kernel_size, stride, padding)
        x_window, dx_window = x[at], dx[at]  # views: what is added goes into dx
        for n, c in np.ndindex(x.shape[:2]):
            h, w = np.unravel_index(x_window[n, c].argmax(), x_window.shape[2:])
            dx_window[n, c, h, w] += dy[n, c, oh, ow]
    return dx


def max_pool2d_backward_second(
    d2y: ArrayLike, x: ArrayLike, kernel_size: Size, stride: Size | None = None, padding: Size = 0
) -> Array:
    """Second derivatives of `max_pool2d`: the maximum has the factor 1, whose square is 1.

    Parameters
    ----------
    d2y : array_like (N, C, OH, OW)
    x, kernel_size, stride, padding
        As given to `max_pool2d`.

    Returns
    -------
    ndarray of float64 (N, C, H, W)
    """
    return max_pool2d_backward(d2y, x, kernel_size, stride, padding)


def avg_pool2d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    count_include_pad: bool = True,
) -> Array:
    """Take the mean of each window.

    ::

        y[n, c, oh, ow] = sum over kh, kw of x[n, c, oh*SH + kh - PH, ow*SW + kw - PW] / count

    where count is KH KW, or without `count_include_pad` the number of elements of the window that
    lie in the image.

    Parameters
    ----------
    x : array_like (N, C, H, W)
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        `kernel_size` if not given.
    padding : int or (int, int)
    count_include_pad : bool

    Returns
    -------
    ndarray of float64 (N, C, OH, OW)

    References
    ----------
    `torch.nn.functional.avg_pool2d`.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.avg_pool2d([[[[1, 2, 0, 0], [3, 0, 0, 9]]]], kernel_size=2)
    array([[[[1.5 , 2.25]]]])
    """
    x = np.asarray(x, np.float64)
    stride = kernel_size if stride is None else stride
    OH, OW = output_shape(x.shape[2:], kernel_size, stride, padding)
    y = np.zeros((*x.shape[:2], OH, OW))
    for oh, ow in np.ndindex(OH, OW):
        x_window = x[_window(oh, ow, x, kernel_size, stride, padding)]
        count = _count(x_window, kernel_size, count_include_pad)
        y[:, :, oh, ow] = x_window.sum(axis=(2, 3)) / count
    return y


def avg_pool2d_backward(
    dy: ArrayLike,
    x_shape: tuple[int, ...],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    count_include_pad: bool = True,
) -> Array:
    """Gradient of `avg_pool2d`: each window shares its own out evenly.

    ::

        dx[n, c, oh*SH + kh - PH, ow*SW + kw - PW] += dy[n, c, oh, ow] / count

    Parameters
    ----------
    dy : array_like (N, C, OH, OW)
    x_shape : (int, int, int, int)
        N, C, H and W of the input; the gradient does not depend on its values.
    kernel_size, stride, padding, count_include_pad
        As given to `avg_pool2d`.

    Returns
    -------
    ndarray of float64 (N, C, H, W)
    """
    return _avg_pool2d_backward(dy, x_shape, kernel_size, stride, padding, count_include_pad, 1)


def avg_pool2d_backward_second(
    d2y: ArrayLike,
    x_shape: tuple[int, ...],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    count_include_pad: bool = True,
) -> Array:
    """Second derivatives of `avg_pool2d`, whose inputs have the factor 1 / count.

    ::

        d2x[n, c, oh*SH + kh - PH, ow*SW + kw - PW] += d2y[n, c, oh, ow] / count^2

    Parameters
    ----------
    d2y : array_like (N, C, OH, OW)
    x_shape, kernel_size, stride, padding, count_include_pad
        As given to `avg_pool2d_backward`.

    Returns
    -------
    ndarray of float64 (N, C, H, W)
    """
    return _avg_pool2d_backward(d2y, x_shape, kernel_size, stride, padding, count_include_pad, 2)


def _avg_pool2d_backward(
    dy: ArrayLike,
    x_shape: tuple[int, ...],
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    count_include_pad: bool,
    power: int,
) -> Array:
    dy = np.asarray(dy, np.float64)
    stride = kernel_size if stride is None else stride
    dx = np.zeros(x_shape)
    for oh, ow in np.ndindex(dy.shape[2:]):
        dx_window = dx[_window(oh, ow, dx, kernel_size, stride, padding)]  # a view
        count = _count(dx_window, kernel_size, count_include_pad)
        dx_window += dy[:, :, oh, ow, None, None] / count**power
    return dx


def _window(oh: int, ow: int, x: Array, kernel_size: Size, stride: Size, padding: Size) -> Index:
    """Index the elements of the window (oh, ow) that lie in the image."""
    (H, W), (KH, KW), (SH, SW), (PH, PW) = x.shape[2:], *map(pair, (kernel_size, stride, padding))
    top, left = oh * SH - PH, ow * SW - PW
    rows = slice(max(top, 0), min(top + KH, H))
    columns = slice(max(left, 0), min(left + KW, W))
    return slice(None), slice(None), rows, columns


def _count(x_window: Array, kernel_size: Size, count_include_pad: bool) -> int:
    """Count the elements of a window, with or without those of the border."""
    rows, columns = pair(kernel_size) if count_include_pad else pair(x_window.shape[2:])
    return rows * columns
