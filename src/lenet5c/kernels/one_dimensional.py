"""Convolution along one axis on plain NumPy arrays: `conv2d` of images with one row."""

from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike

from lenet5c.kernels import convolution, transposed
from lenet5c.kernels.algorithms import Shape
from lenet5c.kernels.arrays import Array
from lenet5c.kernels.convolution import GRADIENTS, Gradients

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
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Cross-correlate sequences with filters, like `torch.nn.functional.conv1d`.

    Parameters
    ----------
    x : array_like (N, C, W), or (C, W) for one sample
    weight : array_like (O, C / groups, K)
    bias : array_like (O,), optional
    stride, dilation : int
    padding : int, (left, right), "same" or "valid"
    groups : int
    data_format : "NCW" or "NWC"
        With "NWC", x is (N, W, C), weight (K, C / groups, O) and the result (N, OW, O).
    out, num_threads
        As in `conv2d`, like the other parameters.

    Returns
    -------
    ndarray (N, O, OW)
        N is omitted for one sample.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> kernels.conv1d(np.arange(5.0).reshape(1, 1, 5), np.array([[[1.0, -1]]]))
    array([[[-1., -1., -1., -1.]]])
    """
    settings = stride, padding, dilation, groups, data_format
    return convolution.convolve(1, x, weight, bias, settings, out, num_threads)


def conv1d_backward(
    dy: ArrayLike,
    x: ArrayLike | Shape,
    weight: ArrayLike | Shape,
    stride: int = 1,
    padding: Padding = 0,
    dilation: int = 1,
    groups: int = 1,
    data_format: str = "NCW",
    *,
    need: Iterable[str] = GRADIENTS,
    out: Gradients | None = None,
    num_threads: int | None = None,
) -> tuple[Any, Any, Any]:
    """Gradients of `conv1d` with respect to its input, weight and bias.

    Parameters
    ----------
    dy : array_like (N, O, OW)
        Gradient of the result.
    x, weight, stride, padding, dilation, groups, data_format
        As passed to `conv1d`; x or weight may be a shape, as in `conv2d_backward`.
    need, out, num_threads
        As in `conv2d_backward`.

    Returns
    -------
    dx : ndarray (N, C, W), or None if not needed
    dweight : ndarray (O, C / groups, K), or None
    dbias : ndarray (O,), or None
    """
    settings = stride, padding, dilation, groups, data_format
    return convolution.convolve_backward(1, dy, x, weight, settings, need, out, num_threads)


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
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Apply a 1-D transposed convolution, like `torch.nn.functional.conv_transpose1d`.

    Parameters
    ----------
    x : array_like (N, C, W), or (C, W) for one sample
    weight : array_like (C, O / groups, K)
    bias : array_like (O,), optional
    stride, output_padding, groups, dilation : int
    padding : int, (left, right), "same" or "valid"
    data_format : "NCW" or "NWC"
        With "NWC", x is (N, W, C), weight (K, O / groups, C) and the result (N, OW, O).
    out, num_threads
        As in `conv_transpose2d`, like the other parameters.

    Returns
    -------
    ndarray (N, O, OW)
        N is omitted for one sample.
    """
    settings = stride, padding, output_padding, groups, dilation, data_format
    return transposed.transpose(1, x, weight, bias, settings, out, num_threads)


def conv_transpose1d_backward(
    dy: ArrayLike,
    x: ArrayLike | Shape,
    weight: ArrayLike | Shape,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
    data_format: str = "NCW",
    *,
    need: Iterable[str] = GRADIENTS,
    out: Gradients | None = None,
    num_threads: int | None = None,
) -> tuple[Any, Any, Any]:
    """Gradients of `conv_transpose1d` with respect to its input, weight and bias.

    Parameters
    ----------
    dy : array_like (N, O, OW)
        Gradient of the result.
    x, weight, stride, padding, output_padding, groups, dilation, data_format
        As passed to `conv_transpose1d`; x or weight may be a shape, as in `conv2d_backward`.
    need, out, num_threads
        As in `conv2d_backward`.

    Returns
    -------
    dx : ndarray (N, C, W), or None if not needed
    dweight : ndarray (C, O / groups, K), or None
    dbias : ndarray (O,), or None
    """
    settings = stride, padding, output_padding, groups, dilation, data_format
    return transposed.transpose_backward(1, dy, x, weight, settings, need, out, num_threads)
