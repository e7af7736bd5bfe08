"""Pooling along one axis, computed as that of an image with one row.

Shapes: x (N, C, W), y (N, C, OW); with the data format "NWC", the channels are last.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.reference import pooling
from lenet5c.reference._arrays import Array

Padding = int | tuple[int, int] | str
FORMATS = {"NCW": "NCHW", "NWC": "NHWC"}


def max_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = None,
    padding: Padding = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    data_format: str = "NCW",
) -> Array | tuple[Array, NDArray[np.int64]]:
    """Take the largest value of each window, like `max_pool2d`.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.max_pool1d([[[1, 2, 0, 9]]], kernel_size=2)
    array([[[2., 9.]]])
    """
    settings = _in_a_row(kernel_size, stride, padding, dilation, ceil_mode)
    settings = *settings, True, FORMATS[data_format]
    y, indices = pooling.max_pool2d(_row(x, data_format), *settings)
    y, indices = _signal(y, data_format), _signal(indices, data_format)
    return (y, indices) if return_indices else y


def max_pool1d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = None,
    padding: Padding = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    indices: ArrayLike | None = None,
    data_format: str = "NCW",
) -> Array:
    """Gradient of `max_pool1d`."""
    settings = _in_a_row(kernel_size, stride, padding, dilation, ceil_mode)
    dy, x = _row(dy, data_format), _row(x, data_format)
    indices = None if indices is None else _row(indices, data_format)
    settings = *settings, indices, FORMATS[data_format]
    dx = pooling.max_pool2d_backward(dy, x, *settings)
    return _signal(dx, data_format)


def avg_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = None,
    padding: Padding = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    data_format: str = "NCW",
) -> Array:
    """Take the mean of each window, like `avg_pool2d`.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.avg_pool1d([[[1, 2, 0, 9]]], kernel_size=2)
    array([[[1.5, 4.5]]])
    """
    settings = _in_a_row(kernel_size, stride, padding, dilation, ceil_mode)
    settings = *settings, count_include_pad, divisor_override, FORMATS[data_format]
    y = pooling.avg_pool2d(_row(x, data_format), *settings)
    return _signal(y, data_format)


def avg_pool1d_backward(
    dy: ArrayLike,
    x_shape: tuple[int, ...],
    kernel_size: int,
    stride: int | None = None,
    padding: Padding = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    data_format: str = "NCW",
) -> Array:
    """Gradient of `avg_pool1d`."""
    settings = _in_a_row(kernel_size, stride, padding, dilation, ceil_mode)
    settings = *settings, count_include_pad, divisor_override, FORMATS[data_format]
    shape = _row(np.empty(x_shape), data_format).shape
    dx = pooling.avg_pool2d_backward(_row(dy, data_format), shape, *settings)
    return _signal(dx, data_format)


def _in_a_row(
    kernel_size: int, stride: int | None, padding: Padding, dilation: int, ceil_mode: bool
) -> tuple[Any, ...]:
    """Return the settings of a window with one row."""
    stride = kernel_size if stride is None else stride
    pads: Any = padding
    if not isinstance(padding, str):
        pads = ((0, 0), padding if isinstance(padding, tuple) else (padding, padding))
    return (1, kernel_size), (1, stride), pads, (1, dilation), ceil_mode


def _row(x: ArrayLike, data_format: str) -> NDArray[Any]:
    return np.expand_dims(np.asarray(x), 2 if data_format == "NCW" else 1)


def _signal(y: NDArray[Any], data_format: str) -> NDArray[Any]:
    return y[:, :, 0] if data_format == "NCW" else y[:, 0]
