"""Array arguments: accepted types, the dtype of a computation, and `out`.

Functions take real numbers in any form that NumPy reads without loss: arrays, lists, and objects
with ``__array__``, ``__array_interface__``, the buffer protocol or DLPack. A call computes in one
dtype, ``np.result_type(np.float32, *dtypes)`` of its arrays:

- float32 for float32, float16, bool, and integers of 8 or 16 bits,
- float64 if any array has float64 or integers of 32 or 64 bits, such as lists of Python numbers.

Numbers are converted, never scaled. Arrays that have another dtype or byte order, are not
C-contiguous or are misaligned are copied, but only after the shapes and settings of the call have
been checked, since a copy may be far larger than the array: a broadcast array takes almost no
memory. Complex numbers, extended precision, objects, strings, times and masked arrays are rejected.
`out` must have the shape and the dtype of the result.
"""

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.kernels._arrays import are_plain
from lenet5c.kernels.shapes import check_elements

Array = NDArray[Any]
PLAIN = 0x101  # NumPy's NPY_ARRAY_C_CONTIGUOUS and NPY_ARRAY_ALIGNED


def real_arrays(**named: Any) -> tuple[Any, ...]:
    """Return the dtype to compute in, whether the arrays are plain, and each value as an array.

    Plain arrays are native, aligned and C-contiguous arrays of that dtype. Pass other arrays to
    `plain_arrays` after checking their shapes. All values but the first may be None, which is
    returned unchanged.

    Raises
    ------
    TypeError
        A value is not an array of real numbers; the message contains its name.
    """
    arrays = tuple(named.values())
    return (arrays[0].dtype, True, *arrays) if are_plain(arrays) else _read_all(named)


def plain_arrays(dtype: Any, **named: Any) -> tuple[Any, ...]:
    """Return each array as a native, aligned, C-contiguous array of this dtype; None stays None.

    Raises
    ------
    ValueError, MemoryError
        A copy would be too large; the message contains the name of the array.
    """
    return tuple(
        None if array is None else _plain(name, array, dtype) for name, array in named.items()
    )


def _plain(name: str, array: Array, dtype: Any) -> Array:
    check_elements(name, array.shape)
    try:
        return contiguous(array, dtype)
    except MemoryError:
        size = array.size * np.dtype(dtype).itemsize / 2**30
        raise MemoryError(
            f"{name} must fit in memory as a contiguous array of {dtype}, got the shape "
            f"{array.shape}, which takes {size:,.1f} GiB"
        ) from None


def _read_all(named: dict[str, Any]) -> tuple[Any, ...]:
    name, first = next(iter(named.items()))
    if first is None:
        raise TypeError(f"{name} must be an array of real numbers, got None")
    arrays = [None if value is None else _read(name, value) for name, value in named.items()]
    dtype = np.result_type(np.float32, *(array.dtype for array in arrays if array is not None))
    return dtype, False, *arrays


def _read(name: str, value: Any) -> Array:
    """Convert a value to a NumPy array, which must be of real numbers and without a mask."""
    what = f"{name} must be an array of real numbers"
    try:
        # If there are both, __array__ is the one that rejects a gradient or another device.
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            value = np.from_dlpack(value)
        array = np.asanyarray(value)
    except MemoryError:
        raise
    except Exception as error:
        remedy = "; detach it first" if getattr(value, "requires_grad", False) else ""
        raise TypeError(
            f"{what}, got a {type(value).__name__} that NumPy cannot read ({error}){remedy}"
        ) from error
    unmasked(name, array)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8 or array.dtype.char == "g":
        given = array.dtype if array.ndim else f"a {type(value).__name__}"
        raise TypeError(
            f"{what} of at most 64 bits, got {given}; convert it to float32 or float64 first"
        )
    return np.asarray(array)


def unmasked(name: str, value: Any) -> Array:
    """Return a value as an array; raise an error for a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must be an array of real numbers without a mask, got a masked array; fill it "
            f"first, for example with {name}.filled(0)"
        )
    return np.asarray(value)


def with_batch(name: str, x: Any, ndim: int) -> tuple[Any, bool]:
    """Return x with a batch axis, `ndim` axes in total, and whether it was a single sample.

    None, another number of axes and empty samples raise an error.
    """
    if x is not None and x.ndim == ndim and x.size:
        return x, False  # takes a third of the time of the checks
    if x is not None and x.ndim == ndim - 1:
        if 0 in x.shape:
            raise ValueError(f"{name} must not be empty, got the shape {x.shape}")
        return x[None], True
    check_axes(name, x, ndim, f", or {ndim - 1} for one sample")
    return x, False


def check_axes(name: str, array: Any, ndim: int, or_else: str = "") -> None:
    """Check the number of axes of an array; only the first axis may be empty."""
    if array is None or array.ndim != ndim:
        got = None if array is None else f"the shape {array.shape}"
        raise ValueError(f"{name} must have {ndim} dimensions{or_else}, got {got}")
    if 0 in array.shape[1:]:
        raise ValueError(
            f"{name} must not be empty except in the batch dimension, the first, got the shape "
            f"{array.shape}"
        )


def contiguous(array: Any, dtype: Any = None) -> Array:
    """Return the array if it is C-contiguous, aligned and of this dtype, else a copy."""
    if array.flags.num & PLAIN == PLAIN and (dtype is None or array.dtype == dtype):
        return array  # np.require would check this too, but takes ten times as long
    return np.require(array, dtype, ("C", "A"))


def flat(array: Array) -> Array:
    """Return all elements in order, without a copy where the array is contiguous."""
    return contiguous(array).reshape(-1)


def rows(array: Array) -> Array:
    """Return (N, ...) as contiguous (N, size), without a copy where it is contiguous."""
    return contiguous(array).reshape(len(array), prod(array.shape[1:]))


def check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Check the shape of an array."""
    if array is None or array.shape != shape:
        got = None if array is None else array.shape
        raise ValueError(f"{name} must have the shape {shape}, got {got}")


def check_out(name: str, out: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Check the shape, dtype and writability of an output array, unless it is None."""
    if out is None:
        return
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a NumPy array without a mask, got a {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name} must have the dtype of the result, {dtype}, got {out.dtype}")
    check_shape(name, out, shape)
    if not out.flags.writeable:
        raise ValueError(f"{name} must be writeable, got a read-only array")


def work_array(
    out: Array | None, shape: tuple[int, ...], dtype: Any, inputs: Iterable[Array | None]
) -> Array:
    """Return the memory of `out` if results can be written directly into it, else a new array.

    `shape` includes the batch axis, which `out` may lack.
    """
    if out is None or not (out.flags.c_contiguous and out.flags.aligned):
        return np.empty(shape, dtype)
    overlaps = any(array is not None and np.may_share_memory(out, array) for array in inputs)
    if overlaps:
        return np.empty(shape, dtype)
    return out if out.shape == shape else out.reshape(shape)


def deliver(work: Array, out: Array | None, single: bool = False) -> Array:
    """Return the result, in `out` if given; for a `single` sample, without a batch axis."""
    result = work[0] if single else work
    if out is None:
        return result
    if out is not work and not np.may_share_memory(out, work):
        out[...] = result
    return out
