"""Arrays at the door: checks, the form that the compiled code takes, outputs."""

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def contiguous(array: Any, dtype: Any = None) -> Array:
    """Return the array if it is C-contiguous, aligned and of this dtype, else a copy."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned and (dtype is None or array.dtype == dtype):
        return array  # np.require finds that out too, in ten times the time
    return np.require(array, dtype, ("C", "A"))


def flat(array: Array) -> Array:
    """Return all elements in order, without a copy where the array is contiguous."""
    return contiguous(array).reshape(-1)


def rows(array: Array) -> Array:
    """Return (N, ...) as contiguous (N, size), without a copy where it is contiguous."""
    return contiguous(array).reshape(len(array), prod(array.shape[1:]))


def check_array(name: str, array: Any, ndim: int, dtype: Any = None) -> None:
    """Refuse what is no array of float32 or float64, of `ndim` dimensions, or not of `dtype`."""
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{name} must be a NumPy array of float32 or float64, got a {type(array).__name__}"
        )
    if array.dtype not in (np.float32, np.float64) or not array.dtype.isnative:
        raise TypeError(f"{name} must have the dtype float32 or float64, got {array.dtype}")
    if dtype is not None and array.dtype != dtype:
        raise TypeError(
            f"{name} must have the dtype {dtype} of the other arguments, got {array.dtype}; "
            "convert one of them"
        )
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got the shape {array.shape}")
    if 0 in array.shape[1:]:
        raise ValueError(
            f"{name} must not be empty but for the batch, its first dimension, got the shape "
            f"{array.shape}"
        )


def check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape."""
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {array.shape}")


def check_out(name: str, out: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse an output, unless None, of another shape or dtype, or read-only."""
    if out is None:
        return
    check_array(name, out, len(shape), dtype)
    check_shape(name, out, shape)
    if not out.flags.writeable:
        raise ValueError(f"{name} must be writeable, got a read-only array")


def work_array(
    out: Array | None, shape: tuple[int, ...], dtype: Any, inputs: Iterable[Array | None]
) -> Array:
    """Return `out` if results can be written straight into it, else a new array."""
    if out is None or not (out.flags.c_contiguous and out.flags.aligned):
        return np.empty(shape, dtype)
    overlaps = any(array is not None and np.may_share_memory(out, array) for array in inputs)
    return np.empty(shape, dtype) if overlaps else out


def deliver(work: Array, out: Array | None) -> Array:
    """Return the result, in `out` if there is one."""
    if out is not None and out is not work:
        out[...] = work
    return work if out is None else out
