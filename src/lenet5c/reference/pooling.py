"""Pooling: the largest value or the mean of each window of each channel.

Padding is minus infinity for a maximum and zero for a sum, so that it has no effect on either. The
stride is the kernel size by default, so that windows do not overlap. With `ceil_mode` the number of
windows is rounded up, but a window must begin in the image or in the padding before it.

Shapes: x (N, C, H, W), y (N, C, OH, OW); with the data format "NHWC", the channels are last.
"""

from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.reference._arrays import Array, Padding, Size, float64
from lenet5c.reference.windows import border, pair


def max_pool2d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    data_format: str = "NCHW",
) -> Any:
    """Take the largest value of each window; a NaN counts as the largest.

    ::

        y[n, c, oh, ow] = max over kh, kw of x[n, c, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW]

    Parameters
    ----------
    x : array_like (N, C, H, W)
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        Default: `kernel_size`.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
    dilation : int or (int, int)
    ceil_mode, return_indices : bool
    data_format : "NCHW" or "NHWC"

    Returns
    -------
    y : ndarray of float64 (N, C, OH, OW)
    indices : ndarray of int64 (N, C, OH, OW), if `return_indices`
        h W + w of each maximum, the first in row-major order.

    References
    ----------
    `torch.nn.functional.max_pool2d`.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.max_pool2d([[[[1, 2, 0, 0], [3, 0, 0, 9]]]], kernel_size=2)
    array([[[[3., 9.]]]])
    """
    x = _channels_first(np.asarray(x, np.float64), data_format)
    rows, columns = _places(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    indices = np.zeros(y.shape, np.int64)
    for oh, ow in np.ndindex(y.shape[2:]):
        window = x[:, :, rows[oh]][:, :, :, columns[ow]]
        y[:, :, oh, ow] = window.max(axis=(2, 3))
        first = window.reshape(*x.shape[:2], len(rows[oh]) * len(columns[ow])).argmax(axis=2)
        kh, kw = np.divmod(first, len(columns[ow]))
        indices[:, :, oh, ow] = np.array(rows[oh])[kh] * x.shape[3] + np.array(columns[ow])[kw]
    y = _channels_back(y, data_format)
    return (y, _channels_back(indices, data_format)) if return_indices else y


def max_pool2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    indices: ArrayLike | None = None,
    data_format: str = "NCHW",
) -> Array:
    """Gradient of `max_pool2d`, passed to the first maximum of each window in row-major order.

    ::

        dx[n, c, position of the maximum of window (oh, ow)] += dy[n, c, oh, ow]

    Parameters
    ----------
    dy : array_like (N, C, OH, OW)
    x, kernel_size, stride, padding, dilation, ceil_mode, data_format
        As given to `max_pool2d`.
    indices : array_like of int (N, C, OH, OW), optional
        Positions to use instead of the maxima of x.

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
    if indices is None:
        settings = kernel_size, stride, padding, dilation, ceil_mode
        _, indices = max_pool2d(x, *settings, True, data_format)
    dy, x = _channels_first(dy, data_format), _channels_first(x, data_format)
    places = _channels_first(np.asarray(indices), data_format)
    dx = np.zeros(x.shape)
    for n, c, oh, ow in np.ndindex(dy.shape):
        h, w = np.unravel_index(places[n, c, oh, ow], x.shape[2:])
        dx[n, c, h, w] += dy[n, c, oh, ow]
    return _channels_back(dx, data_format)


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
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    data_format: str = "NCHW",
) -> Array:
    """Take the mean of each window.

    ::

        y[n, c, oh, ow] = sum over kh, kw of x[n, c, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW] / count

    where count is the number of elements of the window in the image and its padding, or, without
    `count_include_pad`, in the image only; or `divisor_override`.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, data_format
        As of `max_pool2d`.
    count_include_pad : bool
    divisor_override : int, optional

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
    x = _channels_first(np.asarray(x, np.float64), data_format)
    settings = x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode
    rows, columns = _places(*settings)
    count = _counts(*settings, count_include_pad, divisor_override)
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for oh, ow in np.ndindex(y.shape[2:]):
        window = x[:, :, rows[oh]][:, :, :, columns[ow]]
        y[:, :, oh, ow] = window.sum(axis=(2, 3)) / count[oh, ow]
    return _channels_back(y, data_format)


def avg_pool2d_backward(
    dy: ArrayLike,
    x_shape: tuple[int, ...],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    data_format: str = "NCHW",
) -> Array:
    """Gradient of `avg_pool2d`, divided evenly among the pixels of each window.

    ::

        dx[n, c, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW] += dy[n, c, oh, ow] / count

    Parameters
    ----------
    dy : array_like (N, C, OH, OW)
    x_shape : (int, int, int, int)
        N, C, H and W of the input; the gradient does not depend on its values.
    kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override, \
data_format
        As given to `avg_pool2d`.

    Returns
    -------
    ndarray of float64 (N, C, H, W)
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode, count_include_pad
    return _avg_pool2d_backward(dy, x_shape, settings, divisor_override, data_format, 1)


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
    settings = kernel_size, stride, padding, 1, False, count_include_pad
    return _avg_pool2d_backward(d2y, x_shape, settings, None, "NCHW", 2)


def _avg_pool2d_backward(
    dy: ArrayLike,
    x_shape: tuple[int, ...],
    settings: tuple[Any, ...],
    divisor: int | None,
    data_format: str,
    power: int,
) -> Array:
    dy = _channels_first(np.asarray(dy, np.float64), data_format)
    dx = _channels_first(np.zeros(x_shape), data_format)
    rows, columns = _places(dx.shape[2:], *settings[:-1])
    settings = *settings, divisor
    count = _counts(dx.shape[2:], *settings)
    for oh, ow in np.ndindex(dy.shape[2:]):
        share = dy[:, :, oh, ow] / count[oh, ow] ** power
        for h in rows[oh]:
            for w in columns[ow]:
                dx[:, :, h, w] += share
    return _channels_back(dx, data_format)


def global_max_pool2d(x: ArrayLike, return_indices: bool = False, data_format: str = "NCHW") -> Any:
    """Take the largest value of each channel, (N, C, 1, 1): one window as large as the image."""
    size = _image(np.shape(x), data_format)
    return max_pool2d(x, size, return_indices=return_indices, data_format=data_format)


def global_max_pool2d_backward(
    dy: ArrayLike, x: ArrayLike, indices: ArrayLike | None = None, data_format: str = "NCHW"
) -> Array:
    """Gradient of `global_max_pool2d`."""
    size = _image(np.shape(x), data_format)
    return max_pool2d_backward(dy, x, size, indices=indices, data_format=data_format)


def global_avg_pool2d(x: ArrayLike, data_format: str = "NCHW") -> Array:
    """Take the mean of each channel, (N, C, 1, 1): one window as large as the image."""
    return avg_pool2d(x, _image(np.shape(x), data_format), data_format=data_format)


def global_avg_pool2d_backward(
    dy: ArrayLike, x_shape: tuple[int, ...], data_format: str = "NCHW"
) -> Array:
    """Gradient of `global_avg_pool2d`."""
    return avg_pool2d_backward(dy, x_shape, _image(x_shape, data_format), data_format=data_format)


def global_max_pool2d_backward_second(d2y: ArrayLike, x: ArrayLike) -> Array:
    """Second derivatives of `global_max_pool2d`."""
    return max_pool2d_backward_second(d2y, x, _image(np.shape(x), "NCHW"))


def global_avg_pool2d_backward_second(d2y: ArrayLike, x_shape: tuple[int, ...]) -> Array:
    """Second derivatives of `global_avg_pool2d`."""
    return avg_pool2d_backward_second(d2y, x_shape, _image(x_shape, "NCHW"))


def _places(
    size: Size,
    kernel_size: Size,
    stride: Size | None,
    padding: Padding,
    dilation: Size,
    ceil_mode: bool,
    bounds: list[tuple[int, int]] | None = None,
) -> list[list[list[int]]]:
    """List the positions of each window along each axis, or only those within bounds."""
    stride = kernel_size if stride is None else stride
    pads = border(size, kernel_size, stride, padding, dilation)
    axes = zip(*map(pair, (size, kernel_size, stride, dilation)), pads, strict=True)
    places = []
    for axis, (length, k, s, d, (before, after)) in enumerate(axes):
        least, most = (0, length) if bounds is None else bounds[axis]
        steps = (before + length + after - (d * (k - 1) + 1)) / s
        count = (ceil(steps) if ceil_mode else floor(steps)) + 1
        if ceil_mode and (count - 1) * s >= before + length:
            count -= 1
        windows = [[o * s + i * d - before for i in range(k)] for o in range(count)]
        places.append([[at for at in window if least <= at < most] for window in windows])
    return places


def _counts(
    size: Size,
    kernel_size: Size,
    stride: Size | None,
    padding: Padding,
    dilation: Size,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> NDArray[np.int64]:
    """Return the divisor of each window, (OH, OW)."""
    settings = size, kernel_size, stride, padding, dilation, ceil_mode
    bounds = None
    if count_include_pad:
        pads = border(
            size, kernel_size, kernel_size if stride is None else stride, padding, dilation
        )
        lengths = zip(pads, pair(size), strict=True)
        bounds = [(-before, length + after) for (before, after), length in lengths]
    rows, columns = _places(*settings, bounds)
    counts = np.outer([len(each) for each in rows], [len(each) for each in columns])
    return counts if divisor is None else np.full_like(counts, divisor)


def _image(shape: tuple[int, ...], data_format: str) -> tuple[int, int]:
    height, width = shape[2:] if data_format == "NCHW" else shape[1:3]
    return height, width


def _channels_first(x: NDArray[Any], data_format: str) -> NDArray[Any]:
    return np.moveaxis(x, -1, 1) if data_format == "NHWC" else x


def _channels_back(x: NDArray[Any], data_format: str) -> NDArray[Any]:
    """Return an array of `_channels_first` in its data format, as a copy."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if data_format == "NHWC" else x
