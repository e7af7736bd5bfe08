"""Convolution along one axis, computed as that of images with one row.

Shapes: x (N, C, W), weight (O, I, K), bias (O,), y (N, O, OW); otherwise as in `convolution` and
`transposed`. With the data format "NWC", x is (N, W, C), weight (K, I, O) and y (N, OW, O).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array
from lenet5c.reference.convolution import conv2d, conv2d_backward
from lenet5c.reference.transposed import conv_transpose2d, conv_transpose2d_backward

Padding = int | str | tuple[int, int]


def conv1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int = 1,
    padding: Padding = 0,
    dilation: int = 1,
    groups: int = 1,
    data_format: str = "NCW",
) -> Array:
    """Correlate sequences with filters.

    ::

        y[n, o, ow] = bias[o] + sum over i, k of weight[o, i, k] * x[n, i, ow*S + k*D - P]

    Parameters
    ----------
    x : array_like (N, C, W)
    weight : array_like (O, C / groups, K)
    bias : array_like (O,), optional
    stride, dilation, groups : int
    padding : int, (left, right), "same" or "valid"
    data_format : "NCW" or "NWC"

    Returns
    -------
    ndarray of float64 (N, O, OW)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> reference.conv1d(np.arange(5.0).reshape(1, 1, 5), [[[1, -1]]])
    array([[[-1., -1., -1., -1.]]])
    """
    settings: Any = (
        (1, stride),
        _across(padding),
        (1, dilation),
        groups,
        _get_image_format(data_format),
    )
    y = conv2d(_rows(x, data_format), _filters(weight, data_format), bias, *settings)
    return _without_rows(y, data_format)


def conv1d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    stride: int = 1,
    padding: Padding = 0,
    dilation: int = 1,
    groups: int = 1,
    data_format: str = "NCW",
    *,
    need: Iterable[str] = ("dx", "dweight", "dbias"),
) -> tuple[Any, Any, Any]:
    """Gradients of `conv1d`.

    Parameters
    ----------
    dy : array_like (N, O, OW)
        Gradient of the loss with respect to the output.
    x, weight, stride, padding, dilation, groups, data_format
        As given to `conv1d`.
    need : some of "dx", "dweight" and "dbias"

    Returns
    -------
    dx, dweight, dbias : ndarray of float64, or None if not needed
        Of the shapes of x, weight and bias.
    """
    settings: Any = (
        (1, stride),
        _across(padding),
        (1, dilation),
        groups,
        _get_image_format(data_format),
    )
    arrays = _rows(dy, data_format), _rows(x, data_format), _filters(weight, data_format)
    dx, dweight, dbias = conv2d_backward(*arrays, *settings, need=need)
    return (
        None if dx is None else _without_rows(dx, data_format),
        None if dweight is None else dweight.reshape(np.shape(weight)),
        dbias,
    )


def conv_transpose1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
    data_format: str = "NCW",
) -> Array:
    """1-D transposed convolution: the input gradient of `conv1d`, with x in place of dy.

    ::

        y[n, o, w*S + k*D - P] += weight[c, o, k] * x[n, c, w]

    Parameters
    ----------
    x : array_like (N, C, W)
    weight : array_like (C, O / groups, K)
    bias : array_like (O,), optional
    stride, output_padding, groups, dilation : int
    padding : int, (left, right), "same" or "valid"
    data_format : "NCW" or "NWC"

    Returns
    -------
    ndarray of float64 (N, O, OW)
    """
    sides, extra = _across(padding), (0, output_padding)
    settings: Any = (1, stride), sides, extra, groups, (1, dilation), _get_image_format(data_format)
    y = conv_transpose2d(_rows(x, data_format), _filters(weight, data_format), bias, *settings)
    return _without_rows(y, data_format)


def conv_transpose1d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
    data_format: str = "NCW",
    *,
    need: Iterable[str] = ("dx", "dweight", "dbias"),
) -> tuple[Any, Any, Any]:
    """Gradients of `conv_transpose1d`.

    Parameters
    ----------
    dy : array_like (N, O, OW)
        Gradient of the loss with respect to the output.
    x, weight, stride, padding, output_padding, groups, dilation, data_format
        As given to `conv_transpose1d`.
    need : some of "dx", "dweight" and "dbias"

    Returns
    -------
    dx, dweight, dbias : ndarray of float64, or None if not needed
        Of the shapes of x, weight and bias.
    """
    sides, extra = _across(padding), (0, output_padding)
    settings: Any = (1, stride), sides, extra, groups, (1, dilation), _get_image_format(data_format)
    arrays = _rows(dy, data_format), _rows(x, data_format), _filters(weight, data_format)
    dx, dweight, dbias = conv_transpose2d_backward(*arrays, *settings, need=need)
    return (
        None if dx is None else _without_rows(dx, data_format),
        None if dweight is None else dweight.reshape(np.shape(weight)),
        dbias,
    )


def _rows(x: ArrayLike, data_format: str) -> Array:
    """Return sequences as images with one row."""
    return np.expand_dims(np.asarray(x, np.float64), -2 if data_format == "NCW" else -3)


def _without_rows(x: Array, data_format: str) -> Array:
    return x.squeeze(-2 if data_format == "NCW" else -3)


def _filters(weight: ArrayLike, data_format: str) -> Array:
    return np.expand_dims(np.asarray(weight, np.float64), 2 if data_format == "NCW" else 0)


def _across(padding: Padding) -> Any:
    """Return padding on the left and on the right in the form for images."""
    if isinstance(padding, str):
        return padding
    return (0, 0), padding if isinstance(padding, tuple) else (padding, padding)


def _get_image_format(data_format: str) -> str:
    return {"NCW": "NCHW", "NWC": "NHWC"}[data_format]
