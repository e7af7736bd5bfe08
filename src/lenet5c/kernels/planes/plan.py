"""Pooling of images with one or two axes: cached plans, and calls.

Names of axes: with `data_format` "NCHW" or "NCW" each plane of an array is contiguous, and
windows of a row are computed side by side; with "NHWC" or "NWC", channels are.
"""

from functools import lru_cache
from importlib import import_module
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lenet5c.kernels import threads
from lenet5c.kernels.arrays import (
    Array,
    check_out,
    check_shape,
    contiguous,
    deliver,
    plain_arrays,
    real_arrays,
    unmasked,
    with_batch,
    work_array,
)
from lenet5c.kernels.planes._pooling import Pooling
from lenet5c.kernels.shapes import (
    FORMATS,
    check_elements,
    choice,
    per_axis,
    setting,
    window_and_size,
)
from lenet5c.kernels.simd import dispatch

PLANES = import_module(f"lenet5c.kernels.planes._planes_{dispatch.isa}").kernels
WHOLE = object()  # the kernel size of a window as large as the image
Shape = tuple[int, ...]
Padding1d = int | str | tuple[int, int]
# Of a result and its indices.
Outs = tuple[Array | None, Array | None]
# One place of one window, in the multiply-adds that `useful` counts.
PLACE_WORK = 6
INT64 = np.dtype(np.int64)


class Plan(NamedTuple):
    """The part of a call that only depends on shapes and settings."""

    y_shape: tuple[int, ...]
    pixels: int  # of an image
    pooling: Pooling
    work: int


@lru_cache(maxsize=1024)
def _plan(
    x_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    data_format: str,
    count_include_pad: bool = True,
    divisor: int = 0,
) -> Plan:
    check_elements("x", x_shape)
    axes = len(x_shape) - 2
    channels = 1 if data_format[1] == "C" else axes + 1
    image = x_shape[2:] if channels == 1 else x_shape[1:-1]
    kernel_size = image if kernel_size is WHOLE else kernel_size
    settings = kernel_size, kernel_size if stride is None else stride, padding
    window, size = window_and_size(image, *settings, dilation, ceil_mode=ceil_mode, pooling=True)
    y_shape = (*x_shape[:2], *size) if channels == 1 else (x_shape[0], *size, x_shape[-1])
    check_elements("the result", y_shape)
    counted = [(0, length) for length in image]
    if count_include_pad:
        # All of the padding; windows go beyond it if the size is rounded up, and then only.
        padded = [2**40] * axes
        if ceil_mode and padding != "same":
            _, padded = window_and_size(image, 1, 1, padding)
        counted = [(-p, n - p) for p, n in zip(window[2], padded, strict=True)]
    images, lanes = x_shape[0], x_shape[channels]
    if channels == 1:
        images, lanes = images * lanes, 1
    if axes == 1:
        image, size, counted = (1, *image), (1, *size), [(0, 1), *counted]
        window = tuple((least, *each) for least, each in zip((1, 1, 0, 1), window, strict=True))
    pooling = Pooling(PLANES, dtype.char, (images, *image, lanes), size, window, counted, divisor)
    return Plan(y_shape, prod(image), pooling, PLACE_WORK * prod(y_shape) * prod(window[0]))


def plan(
    x_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    data_format: Any,
    count_include_pad: Any = True,
    divisor_override: Any = None,
) -> Plan:
    """Return the plan of a pooling."""
    divisor = 0
    if divisor_override is not None:
        (divisor,) = per_axis(
            "divisor_override", setting("divisor_override", divisor_override), 1, 1
        )
    return _plan(
        x_shape,
        dtype,
        kernel_size if kernel_size is WHOLE else setting("kernel_size", kernel_size),
        setting("stride", stride),
        setting("padding", padding),
        setting("dilation", dilation),
        bool(ceil_mode),
        choice("data_format", data_format, FORMATS[len(x_shape) - 2]),
        bool(count_include_pad),
        divisor,
    )


def maximum(
    axes: int,
    x: Any,
    settings: tuple[Any, ...],
    return_indices: bool,
    out: Any,
    num_threads: int | None,
) -> Any:
    """Return the largest value of each window, and optionally its index in the image."""
    dtype, is_plain, x = real_arrays(x=x)
    x, single = with_batch("x", x, axes + 2)
    p = plan(x.shape, dtype, *settings)
    count = threads.useful(p.work, num_threads)
    if not is_plain:
        (x,) = plain_arrays(dtype, x=x)
    if not return_indices:
        y = _memory("out", out, p.y_shape, dtype, single, x)
        p.pooling.maximum(x, y, None, count)
        return deliver(y, out, single)
    out, out_indices = _two(out)
    given = out is not None and out_indices is not None
    if given and np.may_share_memory(out, out_indices):
        raise ValueError(
            "out must hold arrays that do not overlap, got a result and indices sharing memory"
        )
    y = _memory("out[0]", out, p.y_shape, dtype, single, x)
    indices = _memory("out[1]", out_indices, p.y_shape, INT64, single, x, y)
    p.pooling.maximum(x, y, indices, count)
    return deliver(y, out, single), deliver(indices, out_indices, single)


def maximum_backward(
    axes: int,
    dy: Any,
    x: Any,
    indices: Any,
    settings: tuple[Any, ...],
    out: Any,
    num_threads: int | None,
) -> Array:
    """Return the gradient of `maximum`, from the indices if there are any, else from x."""
    if indices is None:
        dtype, is_plain, dy, x = real_arrays(dy=dy, x=x)
        x, single = with_batch("x", x, axes + 2)
        shape = x.shape
    else:
        dtype, is_plain, dy = real_arrays(dy=dy)
        shape, single = _shape_with_batch("x", x, axes + 2)
        x = None
    p = plan(shape, dtype, *settings)
    dy = _gradient(dy, p, single)
    if indices is not None:
        indices = _indices(indices, p, single)
    if not is_plain:
        dy, x = plain_arrays(dtype, dy=dy, x=x)
    dx = _memory("out", out, shape, dtype, single, dy, x, indices)
    inputs = dy, x, indices
    count = threads.useful(p.work, num_threads)
    if not p.pooling.maximum_backward(*inputs, dx, count):
        wrong = indices[(indices < 0) | (indices >= p.pixels)]
        raise ValueError(
            f"indices must be at least 0 and less than {p.pixels}, the pixels of an image, got "
            f"{wrong[0]}; pass those of the forward call"
        )
    return deliver(dx, out, single)


def mean(axes: int, x: Any, settings: tuple[Any, ...], out: Any, num_threads: int | None) -> Array:
    """Return the mean of each window."""
    dtype, is_plain, x = real_arrays(x=x)
    x, single = with_batch("x", x, axes + 2)
    p = plan(x.shape, dtype, *settings)
    if not is_plain:
        (x,) = plain_arrays(dtype, x=x)
    y = _memory("out", out, p.y_shape, dtype, single, x)
    p.pooling.mean(x, y, threads.useful(p.work, num_threads))
    return deliver(y, out, single)


def mean_backward(
    axes: int, dy: Any, x_shape: Any, settings: tuple[Any, ...], out: Any, num_threads: int | None
) -> Array:
    """Return the gradient of `mean`."""
    dtype, is_plain, dy = real_arrays(dy=dy)
    shape, single = _shape_with_batch("x_shape", x_shape, axes + 2)
    p = plan(shape, dtype, *settings)
    dy = _gradient(dy, p, single)
    if not is_plain:
        (dy,) = plain_arrays(dtype, dy=dy)
    dx = _memory("out", out, shape, dtype, single, dy)
    p.pooling.mean_backward(dy, dx, threads.useful(p.work, num_threads))
    return deliver(dx, out, single)


def _memory(
    name: str, out: Any, shape: tuple[int, ...], dtype: Any, single: bool, *inputs: Any
) -> Array:
    """Return the array for a result: `out`, if possible."""
    if out is None:
        return np.empty(shape, dtype)
    check_out(name, out, shape[1:] if single else shape, dtype)
    return work_array(out, shape, dtype, inputs)


def _two(out: Any) -> tuple[Any, Any]:
    if out is None:
        return None, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(
            "out must be a tuple of two with return_indices, an array or None for the result and "
            f"for the indices, got {type(out).__name__}"
        )
    return out


def _shape_with_batch(name: str, x: Any, ndim: int) -> tuple[tuple[int, ...], bool]:
    """Return the shape of x, an array or a shape, with a batch axis, and whether it had none."""
    shape = getattr(x, "shape", x)
    if type(shape) is not tuple or any(type(length) is not int for length in shape):
        shape = setting(name, shape)
    single = type(shape) is tuple and len(shape) == ndim - 1
    shape = (1, *shape) if single else shape
    if type(shape) is not tuple or len(shape) != ndim or min(shape[1:]) < 1 or shape[0] < 0:
        raise ValueError(
            f"{name} must be the shape of the input, {ndim} numbers, or {ndim - 1} for one sample, "
            f"got {x!r}"
        )
    check_elements(name, shape)
    return shape, single


def _gradient(dy: Any, p: Plan, single: bool) -> Array:
    check_shape("dy", dy, p.y_shape[1:] if single else p.y_shape)
    gradient: Array = dy[None] if single else dy
    return gradient


def _indices(indices: Any, p: Plan, single: bool) -> Array:
    array = unmasked("indices", indices)
    if array.dtype.kind not in "iu":
        raise TypeError(f"indices must be integers, got {array.dtype}")
    check_shape("indices", array, p.y_shape[1:] if single else p.y_shape)
    return contiguous(array[None] if single else array, INT64)
