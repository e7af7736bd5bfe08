"""Softmax and its logarithm along any axis, and their gradients."""

from functools import lru_cache
from math import prod
from operator import index
from typing import Any

from numpy.typing import ArrayLike

from lenet5c.kernels import threads
from lenet5c.kernels.arrays import (
    Array,
    check_out,
    check_shape,
    deliver,
    plain_arrays,
    real_arrays,
    work_array,
)
from lenet5c.kernels.ops import _softmax
from lenet5c.kernels.simd import dispatch

# Approximate number of elementary operations per element.
ELEMENT_WORK = 20


def softmax(
    x: ArrayLike, axis: int = -1, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """Return the probabilities of logits: exp(x) divided by its sum along the axis.

    The largest logit is subtracted from all of them, so that nothing overflows. The probability of
    a logit is 0 if it is minus infinity, or less than the largest by more than 87 in float32 or 708
    in float64. If all logits along the axis are minus infinity, or one is infinity or NaN, all
    probabilities are NaN.

    Parameters
    ----------
    x : array_like
        An array of any shape; the axis must not be empty. For dtypes, see `lenet5c.kernels.arrays`.
    axis : int
    out, num_threads
        As in `conv2d`.

    Returns
    -------
    ndarray, of the shape of x

    Raises
    ------
    TypeError, ValueError
        An argument is invalid; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> kernels.softmax(np.log([[1.0, 2, 5], [4, 1, 3]]), axis=1).round(3)
    array([[0.125, 0.25 , 0.625],
           [0.5  , 0.125, 0.375]])
    """
    return _forward(False, x, axis, out, num_threads)


def softmax_backward(
    dy: ArrayLike,
    y: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `softmax`: ``y * (dy - sum of dy * y)``.

    Parameters
    ----------
    dy : array_like, of the shape of y
    y : array_like
        The output of `softmax`.
    axis, out, num_threads
        As in `softmax`, which also lists the errors.

    Returns
    -------
    ndarray, of the shape of y
    """
    return _backward(False, dy, y, axis, out, num_threads)


def log_softmax(
    x: ArrayLike, axis: int = -1, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """Return the logarithm of `softmax`, accurate even if a probability is close to 0.

    Parameters
    ----------
    x, axis, out, num_threads
        As in `softmax`, which also lists the errors.

    Returns
    -------
    ndarray, of the shape of x
    """
    return _forward(True, x, axis, out, num_threads)


def log_softmax_backward(
    dy: ArrayLike,
    y: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `log_softmax`: ``dy - exp(y) * sum of dy``.

    Parameters
    ----------
    dy : array_like, of the shape of y
    y : array_like
        The output of `log_softmax`.
    axis, out, num_threads
        As in `softmax`, which also lists the errors.

    Returns
    -------
    ndarray, of the shape of y
    """
    return _backward(True, dy, y, axis, out, num_threads)


def _forward(logarithmic: bool, x: Any, axis: int, out: Any, num_threads: int | None) -> Array:
    if out is None and num_threads is None:
        most = threads.THREAD_WORK // ELEMENT_WORK
        alone = _softmax.apply_alone(dispatch.direct, logarithmic, x, axis, most)
        if alone is not None:
            return alone
    dtype, is_plain, x = real_arrays(x=x)
    shape, work = _plan("x", x.shape, axis if type(axis) is int else _integer(axis))
    if out is not None:
        check_out("out", out, x.shape, dtype)
    if not is_plain:
        (x,) = plain_arrays(dtype, x=x)
    return _apply(logarithmic, shape, work, x, None, dtype, out, num_threads)


def _backward(
    logarithmic: bool, dy: Any, y: Any, axis: int, out: Any, num_threads: int | None
) -> Array:
    dtype, is_plain, dy, y = real_arrays(dy=dy, y=y)
    if y is None:
        raise TypeError("y must be an array of real numbers, got None")
    shape, work = _plan("y", y.shape, axis if type(axis) is int else _integer(axis))
    check_shape("dy", dy, y.shape)
    if out is not None:
        check_out("out", out, y.shape, dtype)
    if not is_plain:
        dy, y = plain_arrays(dtype, dy=dy, y=y)
    return _apply(logarithmic, shape, work, dy, y, dtype, out, num_threads)


def _apply(
    logarithmic: bool,
    shape: tuple[int, int, int],
    work: int,
    a: Any,
    b: Any,
    dtype: Any,
    out: Any,
    num_threads: int | None,
) -> Array:
    """Return the softmax of a, or, if a is dy, the gradient of the softmax b."""
    result = work_array(out, a.shape, dtype, (a, b))
    if work:
        kernels, count = dispatch.direct[dtype.char], threads.useful(work, num_threads)
        _softmax.apply(kernels, logarithmic, shape, a, b, result, count)
    return deliver(result, out)


@lru_cache(maxsize=1024)
def _plan(name: str, shape: tuple[int, ...], axis: int) -> tuple[tuple[int, int, int], int]:
    """Return (outer, K, inner) of an axis, and the work, 0 if there is nothing to do."""
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis must be an axis of {name}, of the shape {shape}, got {axis}")
    at = axis % len(shape)
    if shape[at] == 0:
        raise ValueError(f"{name} must not be empty along the axis {axis}, got the shape {shape}")
    sizes = prod(shape[:at]), shape[at], prod(shape[at + 1 :])
    return sizes, prod(sizes) * ELEMENT_WORK


def _integer(axis: Any) -> int:
    try:
        if not isinstance(axis, bool):
            return index(axis)
    except TypeError:
        pass
    raise TypeError(f"axis must be an integer, got {axis!r}")
