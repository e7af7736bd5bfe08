"""Transposed convolution on plain NumPy arrays: the input gradient of a convolution."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

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
from lenet5c.kernels.convolution import (
    GRADIENTS,
    Gradients,
    check_groups,
    check_outs,
    deliver_some,
    get_filter_shape,
    get_image_shape,
    get_shape,
    gradient_arrays,
    needed,
    weight_form,
)
from lenet5c.kernels.shapes import (
    FORMATS,
    Padding,
    Pair,
    check_elements,
    choice,
    paddings,
    per_axis,
    setting,
)

WEIGHT_ALONE = (False, True, False)


def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    data_format: str = "NCHW",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Apply a transposed convolution, like `torch.nn.functional.conv_transpose2d`.

    It is the gradient of `conv2d` with respect to its input: weight is that of the convolution,
    whose output channels are the input channels here.

    Parameters
    ----------
    x : array_like (N, C, H, W), or (C, H, W) for one sample
    weight : array_like (C, O / groups, KH, KW)
    bias : array_like (O,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Rows and columns removed from the result on each side. With "same", the result is as large
        as the image times the stride, as with ONNX's SAME_UPPER.
    output_padding : int or (int, int)
        Rows added at the bottom of the result and columns added on the right; less than the stride
        or the dilation.
    groups : int
    data_format : "NCHW" or "NHWC"
        With "NHWC", x is (N, H, W, C), weight (KH, KW, O / groups, C) and the result (N, OH, OW,
        O).
    out, num_threads
        As in `conv2d`.

    Returns
    -------
    ndarray (N, O, OH, OW)
        OH is (H - 1) SH + (KH - 1) DH + 1 - top - bottom + output_padding, OW likewise. N is
        omitted for one sample.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> x, weight = np.array([[[[1.0, 2], [3, 4]]]]), np.ones((1, 1, 2, 2))
    >>> kernels.conv_transpose2d(x, weight)[0, 0]
    array([[ 1.,  3.,  2.],
           [ 4., 10.,  6.],
           [ 3.,  7.,  4.]])
    """
    settings = stride, padding, output_padding, groups, dilation, data_format
    return transpose(2, x, weight, bias, settings, out, num_threads)


def conv_transpose2d_backward(
    dy: ArrayLike,
    x: ArrayLike | Shape,
    weight: ArrayLike | Shape,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    data_format: str = "NCHW",
    *,
    need: Iterable[str] = GRADIENTS,
    out: Gradients | None = None,
    num_threads: int | None = None,
) -> tuple[Any, Any, Any]:
    """Gradients of `conv_transpose2d` with respect to its input, weight and bias.

    Parameters
    ----------
    dy : array_like (N, O, OH, OW)
        Gradient of the result.
    x, weight, stride, padding, output_padding, groups, dilation, data_format
        As passed to `conv_transpose2d`; x or weight may be a shape, as in `conv2d_backward`.
    need, out, num_threads
        As in `conv2d_backward`.

    Returns
    -------
    dx : ndarray (N, C, H, W), or None if not needed
    dweight : ndarray (C, O / groups, KH, KW), or None
    dbias : ndarray (O,), or None

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.
    """
    settings = stride, padding, output_padding, groups, dilation, data_format
    return transpose_backward(2, dy, x, weight, settings, need, out, num_threads)


def transpose(
    axes: int,
    x: Any,
    weight: Any,
    bias: Any,
    settings: tuple[Any, ...],
    out: Array | None,
    num_threads: int | None,
) -> Array:
    """Compute `conv_transpose2d`, or `conv_transpose1d` along one axis."""
    dtype, is_plain, x, weight, bias = real_arrays(x=x, weight=weight, bias=bias)
    bias_shape = None if bias is None else bias.shape
    conv = plan(
        axes, x.shape, get_shape("weight", weight), bias_shape, dtype, *_key(axes, settings)
    )
    check_out("out", out, conv.x_shape, conv.dtype)
    if not is_plain:
        x, weight, bias = plain_arrays(dtype, x=x, weight=weight, bias=bias)
    y = work_array(out, conv.x_shape, conv.dtype, (x, weight, bias))
    conv.data_gradient(x, weight, bias, y, num_threads)
    return deliver(y, out)


def transpose_backward(
    axes: int,
    dy: Any,
    x: Any,
    weight: Any,
    settings: tuple[Any, ...],
    need: Iterable[str],
    out: Any,
    num_threads: int | None,
) -> Gradients:
    """Compute `conv_transpose2d_backward`, or `conv_transpose1d_backward` along one axis."""
    needs = needed(need)
    dtype, is_plain, dy, x, weight, x_shape, weight_shape = gradient_arrays(dy, x, weight, needs)
    conv = plan(axes, x_shape, weight_shape, None, dtype, *_key(axes, settings))
    if dy.shape != conv.x_shape:
        check_shape("dy", dy, conv.x_shape)
    outs = None
    if out is not None:
        outs = check_outs(out, needs, (x_shape, weight_shape, (conv.in_channels,)), dtype)
    if not is_plain:
        dy, x, weight = plain_arrays(dtype, dy=dy, x=x, weight=weight)
    dx = dweight = dbias = None
    if needs[0]:
        dx = work_array(outs and outs[0], x_shape, dtype, (dy, x, weight))
        conv.result(dy, weight, None, dx, num_threads)
    if needs[1]:
        dweight, _ = conv.gradients(x, dy, None, None, WEIGHT_ALONE, num_threads)
    if needs[2]:
        dbias = conv.sum_channels(dy, conv.x_sums, num_threads)
    gradients = dx, dweight, dbias
    return gradients if outs is None else deliver_some(gradients, outs)


def _key(axes: int, settings: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the settings as arguments of `plan`."""
    stride, padding, output_padding, groups, dilation, data_format = settings
    ints = type(stride) is type(padding) is type(output_padding) is type(groups) is int
    if ints and type(dilation) is int and type(data_format) is str and data_format in FORMATS[axes]:
        return settings  # takes a third of the time of the checks
    return (
        setting("stride", stride),
        setting("padding", padding),
        setting("output_padding", output_padding),
        setting("groups", groups),
        setting("dilation", dilation),
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
    output_padding: Any,
    groups: Any,
    dilation: Any,
    data_format: Any,
) -> Convolution:
    """Return the convolution whose transpose this is: from its result, y, to its input, x."""
    channels, *image = get_image_shape(axes, x_shape, data_format)
    check_groups(groups)
    form = weight_form(axes, data_format, "C", "O / groups")
    of_x, of_group, *kernel_size = get_filter_shape(axes, weight_shape, data_format, form)
    if of_x != channels or channels % groups != 0:
        raise ValueError(
            f"weight must have the shape {form}, with the {channels} channels C of x a multiple of "
            f"groups, got {weight_shape} and groups {groups}"
        )
    filters = of_group * groups
    if bias_shape not in (None, (filters,)):
        raise ValueError(f"bias must have the shape ({filters},), got {bias_shape}")
    stride = per_axis("stride", stride, 1, axes)
    dilation = per_axis("dilation", dilation, 1, axes)
    extra = per_axis("output_padding", output_padding, 0, axes)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"output_padding must be less than the stride, {stride}, or the dilation, {dilation}, "
            f"got {output_padding}"
        )
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel_size, strict=True)]
    whole = [(n - 1) * s + r + e for n, s, r, e in zip(image, stride, reach, extra, strict=True)]
    if padding == "same":
        size = tuple(n * s for n, s in zip(image, stride, strict=True))
        before = tuple(max(0, w - n) // 2 for w, n in zip(whole, size, strict=True))
    else:
        pads = paddings(padding, image, reach, stride)
        size = tuple(w - sum(pad) for w, pad in zip(whole, pads, strict=True))
        before = tuple(pad[0] for pad in pads)
    if min(size) < 1:
        raise ValueError(
            f"padding must leave at least one of the {' x '.join(map(str, whole))} output pixels, "
            f"got {padding}"
        )
    batch, is_last = x_shape[: -axes - 1], data_format == FORMATS[axes][1]
    y_shape = (*batch, *size, filters) if is_last else (*batch, filters, *size)
    check_elements("the result", y_shape)
    window = tuple(kernel_size), stride, before, dilation
    return Convolution(y_shape, weight_shape, dtype, window, tuple(image), groups, is_last)
