"""Pooling along one axis of plain NumPy arrays; see `pooling.py` for images."""

from typing import Any, Literal, overload

from numpy.typing import ArrayLike

from lenet5c.kernels.arrays import Array
from lenet5c.kernels.planes import plan
from lenet5c.kernels.planes.plan import Outs, Padding1d, Shape


@overload
def max_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = ...,
    padding: Padding1d = ...,
    dilation: int = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
    data_format: str = ...,
    *,
    out: Array | None = ...,
    num_threads: int | None = ...,
) -> Array: ...
@overload
def max_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = ...,
    padding: Padding1d = ...,
    dilation: int = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: Literal[True],
    data_format: str = ...,
    out: Outs | None = ...,
    num_threads: int | None = ...,
) -> tuple[Array, Array]: ...
@overload
def max_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None,
    padding: Padding1d,
    dilation: int,
    ceil_mode: bool,
    return_indices: Literal[True],
    data_format: str = ...,
    *,
    out: Outs | None = ...,
    num_threads: int | None = ...,
) -> tuple[Array, Array]: ...
def max_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = None,
    padding: Padding1d = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    data_format: str = "NCW",
    *,
    out: Any = None,
    num_threads: int | None = None,
) -> Any:
    """Return the largest value of each window of a signal, like `max_pool2d` for images.

    Parameters
    ----------
    x : array_like (N, C, W), or (C, W) for one sample
    kernel_size : int
    stride : int, optional
        Default: `kernel_size`.
    padding : int, (before, after), "same" or "valid"
    dilation : int
    ceil_mode, return_indices, out, num_threads
        As in `max_pool2d`, which also lists the errors.
    data_format : "NCW" or "NWC"
        With "NWC", x is (N, W, C) and the result (N, OW, C).

    Returns
    -------
    y : ndarray (N, C, OW)
    indices : ndarray of int64 (N, C, OW), if `return_indices`

    Examples
    --------
    >>> from lenet5c import kernels
    >>> kernels.max_pool1d([[[1.0, 2.0, 0.0, 9.0]]], 2)
    array([[[2., 9.]]])
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode, data_format
    return plan.maximum(1, x, settings, return_indices, out, num_threads)


def max_pool1d_backward(
    dy: ArrayLike,
    x: ArrayLike | Shape,
    kernel_size: int,
    stride: int | None = None,
    padding: Padding1d = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    indices: ArrayLike | None = None,
    data_format: str = "NCW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `max_pool1d`, like `max_pool2d_backward`.

    Parameters
    ----------
    dy : array_like (N, C, OW)
    x, kernel_size, stride, padding, dilation, ceil_mode, data_format
        As passed to `max_pool1d`. With `indices`, x may be its shape as a tuple.
    indices : array_like of int64 (N, C, OW), optional
    out : ndarray (N, C, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, W)
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode, data_format
    return plan.maximum_backward(1, dy, x, indices, settings, out, num_threads)


def avg_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = None,
    padding: Padding1d = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    data_format: str = "NCW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Return the mean of each window of a signal, like `avg_pool2d` for images.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, data_format
        As in `max_pool1d`.
    ceil_mode, count_include_pad, divisor_override, out, num_threads
        As in `avg_pool2d`.

    Returns
    -------
    ndarray (N, C, OW)

    Examples
    --------
    >>> from lenet5c import kernels
    >>> kernels.avg_pool1d([[[1.0, 2.0, 0.0, 9.0]]], 2)
    array([[[1.5, 4.5]]])
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode, data_format
    return plan.mean(1, x, (*settings, count_include_pad, divisor_override), out, num_threads)


def avg_pool1d_backward(
    dy: ArrayLike,
    x_shape: ArrayLike | Shape,
    kernel_size: int,
    stride: int | None = None,
    padding: Padding1d = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    data_format: str = "NCW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `avg_pool1d`.

    Parameters
    ----------
    dy : array_like (N, C, OW)
    x_shape : (N, C, W), or an array of that shape
    kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override, \
data_format
        As passed to `avg_pool1d`.
    out : ndarray (N, C, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, W)
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode, data_format
    settings = (*settings, count_include_pad, divisor_override)
    return plan.mean_backward(1, dy, x_shape, settings, out, num_threads)
