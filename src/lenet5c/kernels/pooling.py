"""Pooling of plain NumPy arrays, float32 and float64, with channels first or last."""

from typing import Any, Literal, overload

from numpy.typing import ArrayLike

from lenet5c.kernels.arrays import Array
from lenet5c.kernels.planes import plan
from lenet5c.kernels.planes.plan import Outs, Shape
from lenet5c.kernels.shapes import Padding, Pair

WHOLE = (plan.WHOLE, None, 0, 1, False)  # kernel size, stride, padding, dilation, ceil_mode


@overload
def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = ...,
    padding: Padding = ...,
    dilation: Pair = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
    data_format: str = ...,
    *,
    out: Array | None = ...,
    num_threads: int | None = ...,
) -> Array: ...
@overload
def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = ...,
    padding: Padding = ...,
    dilation: Pair = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: Literal[True],
    data_format: str = ...,
    out: Outs | None = ...,
    num_threads: int | None = ...,
) -> tuple[Array, Array]: ...
@overload
def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair,
    ceil_mode: bool,
    return_indices: Literal[True],
    data_format: str = ...,
    *,
    out: Outs | None = ...,
    num_threads: int | None = ...,
) -> tuple[Array, Array]: ...
def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    data_format: str = "NCHW",
    *,
    out: Any = None,
    num_threads: int | None = None,
) -> Any:
    """Return the largest value of each window, or NaN if the window contains NaN.

    Parameters
    ----------
    x : array_like (N, C, H, W), or (C, H, W) for one sample
        Computed in float32 or float64; see `lenet5c.kernels.arrays`.
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        Default: `kernel_size`.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Pixels of minus infinity around the image, on each side fewer than the window covers. With
        "same", the output size is the size of the image divided by the stride, rounded up; an odd
        pixel is added at the bottom or on the right.
    dilation : int or (int, int)
        Distance between the pixels of a window.
    ceil_mode : bool
        Round the output size up: the last window may end beyond the padding if it begins within the
        image or the padding before it.
    return_indices : bool
        Also return the index of each maximum, for `max_pool2d_backward`.
    data_format : "NCHW" or "NHWC"
        With "NHWC", x is (N, H, W, C) and the result (N, OH, OW, C).
    out : ndarray (N, C, OH, OW), optional
        Array for the result; may overlap x. N is omitted for one sample. With `return_indices`, a
        tuple of two arrays, each of which may be None.
    num_threads : int, optional
        Number of threads; does not affect the result.

    Returns
    -------
    y : ndarray (N, C, OH, OW)
        N is omitted for one sample.
    indices : ndarray of int64, of the shape of y, if `return_indices`
        h W + w of the first maximum in row-major order, as in `torch.nn.functional.max_pool2d`. If
        there are several NaN, the first is used, whereas PyTorch uses the last.

    Raises
    ------
    TypeError
        An argument is not an array of real numbers, or `out` has another dtype than the result.
    ValueError
        A shape or a setting is invalid; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> x = np.array([[[[1, 2, 0, 0], [3, 0, 0, 9]]]], np.float32)
    >>> kernels.max_pool2d(x, 2)
    array([[[[3., 9.]]]], dtype=float32)
    >>> kernels.max_pool2d(x, 2, return_indices=True)[1]
    array([[[[4, 7]]]])
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode, data_format
    return plan.maximum(2, x, settings, return_indices, out, num_threads)


def max_pool2d_backward(
    dy: ArrayLike,
    x: ArrayLike | Shape,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    indices: ArrayLike | None = None,
    data_format: str = "NCHW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `max_pool2d`, passed to the first maximum of each window in row-major order.

    Parameters
    ----------
    dy : array_like (N, C, OH, OW)
    x, kernel_size, stride, padding, dilation, ceil_mode, data_format
        As passed to `max_pool2d`. With `indices`, x may be its shape as a tuple.
    indices : array_like of int64 (N, C, OH, OW), optional
        As returned by `max_pool2d`. Without them, the maxima are searched for again in x.
    out : ndarray (N, C, H, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `max_pool2d`; also if an index is outside the image.
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode, data_format
    return plan.maximum_backward(2, dy, x, indices, settings, out, num_threads)


def avg_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    data_format: str = "NCHW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Return the mean of each window; the padding is zeros.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, data_format, out, num_threads
        As in `max_pool2d`, which also lists the errors.
    count_include_pad : bool
        Include padding in the divisor. Pixels beyond the padding, with `ceil_mode`, never count.
    divisor_override : int, optional
        Divisor to use instead of the number of pixels.

    Returns
    -------
    ndarray (N, C, OH, OW)
        Pixels are summed in row-major order.
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode, data_format
    return plan.mean(2, x, (*settings, count_include_pad, divisor_override), out, num_threads)


def avg_pool2d_backward(
    dy: ArrayLike,
    x_shape: ArrayLike | Shape,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    data_format: str = "NCHW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `avg_pool2d`, divided evenly among the pixels of each window.

    Parameters
    ----------
    dy : array_like (N, C, OH, OW)
    x_shape : (N, C, H, W), or an array of that shape
        The shape of the gradient.
    kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override, \
data_format
        As passed to `avg_pool2d`.
    out : ndarray (N, C, H, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, H, W)
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode, data_format
    settings = (*settings, count_include_pad, divisor_override)
    return plan.mean_backward(2, dy, x_shape, settings, out, num_threads)


@overload
def global_max_pool2d(
    x: ArrayLike,
    return_indices: Literal[False] = ...,
    data_format: str = ...,
    *,
    out: Array | None = ...,
    num_threads: int | None = ...,
) -> Array: ...
@overload
def global_max_pool2d(
    x: ArrayLike,
    return_indices: Literal[True],
    data_format: str = ...,
    *,
    out: Outs | None = ...,
    num_threads: int | None = ...,
) -> tuple[Array, Array]: ...
def global_max_pool2d(
    x: ArrayLike,
    return_indices: bool = False,
    data_format: str = "NCHW",
    *,
    out: Any = None,
    num_threads: int | None = None,
) -> Any:
    """Return the largest value of each channel, like `max_pool2d` over the whole image.

    Parameters
    ----------
    x, return_indices, data_format, out, num_threads
        As in `max_pool2d`.

    Returns
    -------
    y : ndarray (N, C, 1, 1)
    indices : ndarray of int64 (N, C, 1, 1), if `return_indices`
    """
    settings = (*WHOLE, data_format)
    return plan.maximum(2, x, settings, return_indices, out, num_threads)


def global_max_pool2d_backward(
    dy: ArrayLike,
    x: ArrayLike | Shape,
    indices: ArrayLike | None = None,
    data_format: str = "NCHW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `global_max_pool2d`.

    Parameters
    ----------
    dy : array_like (N, C, 1, 1)
    x, indices, data_format, out, num_threads
        As in `max_pool2d_backward`.

    Returns
    -------
    ndarray (N, C, H, W)
    """
    settings = (*WHOLE, data_format)
    return plan.maximum_backward(2, dy, x, indices, settings, out, num_threads)


def global_avg_pool2d(
    x: ArrayLike,
    data_format: str = "NCHW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Return the mean of each channel, like `avg_pool2d` over the whole image.

    Parameters
    ----------
    x, data_format, out, num_threads
        As in `avg_pool2d`.

    Returns
    -------
    ndarray (N, C, 1, 1)
    """
    return plan.mean(2, x, (*WHOLE, data_format), out, num_threads)


def global_avg_pool2d_backward(
    dy: ArrayLike,
    x_shape: ArrayLike | Shape,
    data_format: str = "NCHW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `global_avg_pool2d`.

    Parameters
    ----------
    dy : array_like (N, C, 1, 1)
    x_shape, data_format, out, num_threads
        As in `avg_pool2d_backward`.

    Returns
    -------
    ndarray (N, C, H, W)
    """
    settings = (*WHOLE, data_format)
    return plan.mean_backward(2, dy, x_shape, settings, out, num_threads)
