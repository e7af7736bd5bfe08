"""Convolution on plain NumPy arrays, float32 and float64; see algorithms.py for the algorithms."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.kernels.algorithms import Convolution, Shape
from lenet5c.kernels.arrays import (
    Array,
    check_out,
    check_shape,
    deliver,
    plain_arrays,
    real_arrays,
    work_array,
)
from lenet5c.kernels.shapes import FORMATS, Padding, Pair, choice, setting, window_and_size

Gradients = tuple[Array | None, Array | None, Array | None]

GRADIENTS = ("dx", "dweight", "dbias")
ALL = (True, True, True)


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    data_format: str = "NCHW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Cross-correlate images with filters, like `torch.nn.functional.conv2d`.

    Parameters
    ----------
    x : array_like (N, C, H, W), or (C, H, W) for one sample
        Computed in float32 or float64; see `lenet5c.kernels.arrays`.
    weight : array_like (O, C / groups, KH, KW)
    bias : array_like (O,), optional
    stride, dilation : int or (int, int)
        Vertical and horizontal values, in pixels.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Zeros around the image. With "same", the output size is the size of the image divided by the
        stride, rounded up; an odd pixel is added at the bottom or on the right.
    groups : int
        Number of groups into which input and output channels are divided; output channels are
        connected only to the input channels of their group.
    data_format : "NCHW" or "NHWC"
        With "NHWC", x is (N, H, W, C), weight (KH, KW, C / groups, O) and the result (N, OH, OW,
        O).
    out : ndarray (N, O, OH, OW), optional
        Array for the result; may overlap an input. N is omitted for one sample.
    num_threads : int, optional
        Number of threads; does not affect the result.

    Returns
    -------
    ndarray (N, O, OH, OW)
        N is omitted for one sample.

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
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> kernels.conv2d(x, np.ones((1, 1, 2, 2), np.float32))[0, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    settings = stride, padding, dilation, groups, data_format
    return convolve(2, x, weight, bias, settings, out, num_threads)


def conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike | Shape,
    weight: ArrayLike | Shape,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    data_format: str = "NCHW",
    *,
    need: Iterable[str] = GRADIENTS,
    out: Gradients | None = None,
    num_threads: int | None = None,
) -> tuple[Any, Any, Any]:
    """Gradients of `conv2d` with respect to its input, weight and bias.

    Parameters
    ----------
    dy : array_like (N, O, OH, OW)
        Gradient of the result.
    x, weight, stride, padding, dilation, groups, data_format
        As passed to `conv2d`. If dweight is not needed, x may be its shape as a tuple; if dx is not
        needed, the same holds for weight.
    need : iterable of {"dx", "dweight", "dbias"}
        Gradients to compute; all by default.
    out : tuple of three ndarrays, any of them None, optional
        Arrays for dx, dweight and dbias.
    num_threads : int, optional
        Number of threads; does not affect the result.

    Returns
    -------
    dx : ndarray (N, C, H, W), or None if not needed
    dweight : ndarray (O, C / groups, KH, KW), or None
    dbias : ndarray (O,), or None

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> dy, weight = np.ones((1, 1, 2, 2)), np.array([[[[1.0, 2], [3, 4]]]])
    >>> dx, _, _ = kernels.conv2d_backward(dy, (1, 1, 3, 3), weight, need=["dx"])
    >>> dx[0, 0]
    array([[ 1.,  3.,  2.],
           [ 4., 10.,  6.],
           [ 3.,  7.,  4.]])
    """
    settings = stride, padding, dilation, groups, data_format
    return convolve_backward(2, dy, x, weight, settings, need, out, num_threads)


def convolve(
    axes: int,
    x: Any,
    weight: Any,
    bias: Any,
    settings: tuple[Any, ...],
    out: Array | None,
    num_threads: int | None,
) -> Array:
    """Compute `conv2d`, or `conv1d` along one axis."""
    dtype, is_plain, x, weight, bias = real_arrays(x=x, weight=weight, bias=bias)
    bias_shape = None if bias is None else bias.shape
    conv = plan(
        axes, x.shape, get_shape("weight", weight), bias_shape, dtype, *_key(axes, settings)
    )
    check_out("out", out, conv.y_shape, conv.dtype)
    if not is_plain:
        x, weight, bias = plain_arrays(dtype, x=x, weight=weight, bias=bias)
    y = work_array(out, conv.y_shape, conv.dtype, (x, weight, bias))
    conv.result(x, weight, bias, y, num_threads)
    return deliver(y, out)


def convolve_backward(
    axes: int,
    dy: Any,
    x: Any,
    weight: Any,
    settings: tuple[Any, ...],
    need: Iterable[str],
    out: Any,
    num_threads: int | None,
) -> Gradients:
    """Compute `conv2d_backward`, or `conv1d_backward` along one axis."""
    needs = needed(need)
    dtype, is_plain, dy, x, weight, x_shape, weight_shape = gradient_arrays(dy, x, weight, needs)
    conv = plan(axes, x_shape, weight_shape, None, dtype, *_key(axes, settings))
    if dy.shape != conv.y_shape:
        check_shape("dy", dy, conv.y_shape)
    outs = None
    if out is not None:
        outs = check_outs(out, needs, (x_shape, weight_shape, (conv.out_channels,)), dtype)
    if not is_plain:
        dy, x, weight = plain_arrays(dtype, dy=dy, x=x, weight=weight)
    if outs is None:
        dx = np.empty(x_shape, dtype) if needs[0] else None
        return dx, *conv.gradients(dy, x, weight, dx, needs, num_threads)
    dx = work_array(outs[0], x_shape, conv.dtype, (dy, x, weight)) if needs[0] else None
    dweight, dbias = conv.gradients(dy, x, weight, dx, needs, num_threads)
    return deliver_some((dx, dweight, dbias), outs)


def _key(axes: int, settings: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the settings as arguments of `plan`."""
    stride, padding, dilation, groups, data_format = settings
    ints = type(stride) is type(padding) is type(dilation) is type(groups) is int
    if ints and type(data_format) is str and data_format in FORMATS[axes]:
        return settings  # takes a third of the time of the checks
    return (
        setting("stride", stride),
        setting("padding", padding),
        setting("dilation", dilation),
        setting("groups", groups),
        choice("data_format", data_format, FORMATS[axes]),
    )


@lru_cache(maxsize=1024)
def plan(
    axes: int,
    x_shape: Shape,
    weight_shape: Shape,
    bias_shape: Shape | None,
    dtype: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    data_format: Any,
) -> Convolution:
    """Return the convolution of arrays of these shapes, after checking shapes and settings."""
    channels, *image = get_image_shape(axes, x_shape, data_format)
    check_groups(groups)
    form = weight_form(axes, data_format, "O", "C / groups")
    filters, of_group, *kernel_size = get_filter_shape(axes, weight_shape, data_format, form)
    if of_group * groups != channels or filters % groups != 0:
        raise ValueError(
            f"weight must have the shape {form}, with the {channels} channels C of x and O a "
            f"multiple of groups, got {weight_shape} and groups {groups}"
        )
    if bias_shape not in (None, (filters,)):
        raise ValueError(f"bias must have the shape ({filters},), got {bias_shape}")
    window, size = window_and_size(image, tuple(kernel_size), stride, padding, dilation)
    is_last = data_format == FORMATS[axes][1]
    return Convolution(x_shape, weight_shape, dtype, window, size, groups, is_last)


# Shared with the transposed convolution


def get_image_shape(axes: int, shape: Shape, data_format: str) -> Shape:
    """Return (C, H, W) of x, in any data format, with or without a batch axis."""
    if len(shape) not in (axes + 1, axes + 2):
        raise ValueError(
            f"x must have the {axes + 2} dimensions {data_format}, or {axes + 1} for one sample, "
            f"got the shape {shape}"
        )
    sample = shape[-axes - 1 :]
    if 0 in sample:
        raise ValueError(
            f"x must not be empty except in the batch dimension, the first, got the shape {shape}"
        )
    return (sample[-1], *sample[:-1]) if data_format == FORMATS[axes][1] else sample


def get_filter_shape(axes: int, shape: Shape, data_format: str, form: str) -> Shape:
    """Return (O, C / groups, KH, KW) of a weight in any data format."""
    if len(shape) != axes + 2 or 0 in shape:
        raise ValueError(f"weight must have the shape {form}, got {shape}")
    return (*shape[:-3:-1], *shape[:-2]) if data_format == FORMATS[axes][1] else shape


def weight_form(axes: int, data_format: str, outer: str, inner: str) -> str:
    """Return the axes of a weight as text."""
    kernel_size = "KH, KW" if axes == 2 else "K"
    if data_format == FORMATS[axes][1]:
        return f"({kernel_size}, {inner}, {outer})"
    return f"({outer}, {inner}, {kernel_size})"


def check_groups(groups: Any) -> None:
    """Check the number of groups."""
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be an integer of at least 1, got {groups!r}")


def get_shape(name: str, array: Any) -> Shape:
    """Return the shape of a required array."""
    if array is None:
        raise TypeError(f"{name} must be an array of real numbers, got None")
    return array.shape


def needed(need: Iterable[str]) -> tuple[bool, bool, bool]:
    """Return which of dx, dweight and dbias are to be computed."""
    if need is GRADIENTS:
        return ALL
    try:
        return _needed(need if isinstance(need, (tuple, str)) else tuple(need))
    except TypeError:  # not hashable, or not iterable
        return _needed(str(need))


@lru_cache(maxsize=64)
def _needed(names: tuple[str, ...] | str) -> tuple[bool, bool, bool]:
    if not isinstance(names, tuple) or not names or not set(names) <= set(GRADIENTS):
        raise ValueError(
            f'need must have one or more of "dx", "dweight" and "dbias", got {names!r}'
        )
    return "dx" in names, "dweight" in names, "dbias" in names


def gradient_arrays(dy: Any, x: Any, weight: Any, needs: tuple[bool, bool, bool]) -> Any:
    """Return `real_arrays` of dy, x and weight, and the shapes of x and weight.

    An array is None if a shape was given.
    """
    if type(x) is type(weight) is np.ndarray:
        return *real_arrays(dy=dy, x=x, weight=weight), x.shape, weight.shape
    x_shape, x = _shape_or_array("x", x, needs[1], "dweight")
    weight_shape, weight = _shape_or_array("weight", weight, needs[0], "dx")
    read = real_arrays(dy=dy, x=x, weight=weight)
    x_shape = get_shape("x", read[-2]) if x_shape is None else x_shape
    weight_shape = get_shape("weight", read[-1]) if weight_shape is None else weight_shape
    return *read, x_shape, weight_shape


def _shape_or_array(name: str, value: Any, needs: bool, gradient: str) -> tuple[Any, Any]:
    """Return an argument as (shape, None) if it is a shape, else as (None, value)."""
    if not isinstance(value, tuple) or not all(isinstance(n, (int, np.integer)) for n in value):
        return None, value
    if needs:
        raise TypeError(f"{name} must be an array for {gradient}, got the shape {value}")
    if value and (value[0] < 0 or min(value[1:], default=1) < 1):
        raise ValueError(
            f"{name} must be a shape with sizes of at least 1 (the batch at least 0), got {value}"
        )
    return setting(name, value), None


def check_outs(
    out: Any, needs: tuple[bool, ...], shapes: tuple[Shape, ...], dtype: Any
) -> Gradients:
    """Return the output arrays of three gradients, after checking them."""
    if not isinstance(out, (tuple, list)) or len(out) != 3:
        given = len(out) if isinstance(out, (tuple, list)) else type(out).__name__
        raise ValueError(f"out must have three elements, for dx, dweight and dbias, got {given}")
    outs = tuple(out)
    names = ("out[0]", "out[1]", "out[2]")
    for name, array, needs_it, gradient, shape in zip(
        names, outs, needs, GRADIENTS, shapes, strict=True
    ):
        if array is not None and not needs_it:
            raise ValueError(f"{name} must be None, as need has no {gradient}, got an array")
        check_out(name, array, shape, dtype)
    given = [array for array in outs if array is not None]
    if any(np.may_share_memory(a, b) for i, a in enumerate(given) for b in given[:i]):
        raise ValueError(
            "out must hold arrays that do not overlap, got dx, dweight or dbias sharing memory"
        )
    return outs


def deliver_some(gradients: Gradients, outs: Gradients) -> Gradients:
    """Return the computed gradients, in the given outputs."""
    dx, dweight, dbias = (
        None if gradient is None else deliver(gradient, out)
        for gradient, out in zip(gradients, outs, strict=True)
    )
    return dx, dweight, dbias
