"""Transposed convolution: each input pixel adds a filter, scaled by its value, to the output.

Shapes: x (N, C, H, W), weight (C, I, KH, KW), bias (O,), y (N, O, OH, OW). I is O / groups: with G
groups, the first C / G input channels add to the first O / G output channels, and so on. The axis N
may be omitted for one sample. With the data format "NHWC", x is (N, H, W, C), weight (KH, KW, I, C)
and y (N, OH, OW, O).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import (
    Array,
    Padding,
    Size,
    choose,
    float64,
    to_hwio,
    to_nchw,
    to_nhwc,
    to_oihw,
)
from lenet5c.reference.windows import border, pair, window


def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    data_format: str = "NCHW",
) -> Array:
    """Sum filters, each times a pixel of x: the input gradient of `conv2d`, with x for dy.

    ::

        y[n, o, h*SH + kh*DH - PH, w*SW + kw*DW - PW] += weight[c, o, kh, kw] * x[n, c, h, w]

    for all n, h, w, kh, kw, and all c and o of the same group, onto y[n, o] = bias[o]. The padding
    is cut off the sides of y, the output padding added at the bottom and on the right.

    Parameters
    ----------
    x : array_like (N, C, H, W)
    weight : array_like (C, O / groups, KH, KW)
    bias : array_like (O,), optional
    stride, output_padding, dilation : int or (int, int)
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        With "same", y is (N, O, H SH, W SW).
    groups : int
    data_format : "NCHW" or "NHWC"

    Returns
    -------
    ndarray of float64 (N, O, OH, OW)

    References
    ----------
    Zeiler, Krishnan, Taylor and Fergus (2010), Deconvolutional networks; settings as in
    `torch.nn.functional.conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> reference.conv_transpose2d([[[[1, 2], [3, 4]]]], np.ones((1, 1, 2, 2)))[0, 0]
    array([[ 1.,  3.,  2.],
           [ 4., 10.,  6.],
           [ 3.,  7.,  4.]])
    """
    x, weight = float64(x, weight)
    settings = stride, padding, output_padding, groups, dilation
    if x.ndim == 3:
        return conv_transpose2d(x[None], weight, bias, *settings, data_format)[0]
    if data_format == "NHWC":
        return to_nhwc(conv_transpose2d(to_nchw(x), to_oihw(weight), bias, *settings))
    whole, at = _whole_and_crop(x, weight, stride, padding, output_padding, groups, dilation)
    for h, w in np.ndindex(x.shape[2:]):
        window_of_y = whole[window(h, w, weight.shape[2:], stride, dilation)]  # a view
        for c, o in _groups(weight, groups):
            window_of_y[:, o] += np.einsum("nc,cohw->nohw", x[:, c, h, w], weight[c])
    y = whole[at].copy()
    if bias is not None:
        y += np.asarray(bias, np.float64)[:, None, None]
    return y


def conv_transpose2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    data_format: str = "NCHW",
    *,
    need: Iterable[str] = ("dx", "dweight", "dbias"),
) -> tuple[Any, Any, Any]:
    """Gradients of `conv_transpose2d`.

    ::

        dx[n, c, h, w] += weight[c, o, kh, kw] * dy[n, o, h*SH + kh*DH - PH, w*SW + kw*DW - PW]
        dweight[c, o, kh, kw] += x[n, c, h, w] * dy[n, o, h*SH + kh*DH - PH, w*SW + kw*DW - PW]
        dbias[o] += dy[n, o, oh, ow]

    for all n, c, o, h, w, kh, kw, oh, ow, where dy is 0 outside. So dx is `conv2d` of dy.

    Parameters
    ----------
    dy : array_like (N, O, OH, OW)
        Gradient of the loss with respect to the output.
    x, weight, stride, padding, output_padding, groups, dilation, data_format
        As given to `conv_transpose2d`.
    need : some of "dx", "dweight" and "dbias"

    Returns
    -------
    dx : ndarray of float64 (N, C, H, W), or None if not needed
    dweight : ndarray of float64 (C, O / groups, KH, KW), or None
    dbias : ndarray of float64 (O,), or None
    """
    dy, x, weight = float64(dy, x, weight)
    settings = stride, padding, output_padding, groups, dilation
    if x.ndim == 3:
        dx, dweight, dbias = conv_transpose2d_backward(
            dy[None], x[None], weight, *settings, data_format
        )
        return choose((dx[0], dweight, dbias), need)
    if data_format == "NHWC":
        dx, dweight, dbias = conv_transpose2d_backward(
            to_nchw(dy), to_nchw(x), to_oihw(weight), *settings
        )
        return choose((to_nhwc(dx), to_hwio(dweight), dbias), need)
    whole, at = _whole_and_crop(x, weight, stride, padding, output_padding, groups, dilation)
    whole[at] = dy
    dx, dweight = np.zeros_like(x), np.zeros_like(weight)
    for h, w in np.ndindex(x.shape[2:]):
        window_of_dy = whole[window(h, w, weight.shape[2:], stride, dilation)]
        for c, o in _groups(weight, groups):
            dx[:, c, h, w] = np.einsum("nohw,cohw->nc", window_of_dy[:, o], weight[c])
            dweight[c] += np.tensordot(x[:, c, h, w].T, window_of_dy[:, o], axes=1)
    return choose((dx, dweight, dy.sum(axis=(0, 2, 3))), need)


def _whole_and_crop(
    x: Array,
    weight: Array,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> tuple[Array, tuple[slice, ...]]:
    """Return zeros for y, at least as large as without padding, and the view of them that is y."""
    sizes, crop = [], [slice(None), slice(None)]
    for axis in (0, 1):
        steps, reach = pair(stride)[axis], pair(dilation)[axis] * (weight.shape[axis + 2] - 1) + 1
        length = x.shape[axis + 2]
        whole = (length - 1) * steps + reach + pair(output_padding)[axis]
        if padding == "same":
            before, size = max(0, whole - length * steps) // 2, length * steps
        else:
            before, after = border((0, 0), 1, padding=padding)[axis]
            size = whole - before - after
        sizes.append(max(whole, before + size))
        crop.append(slice(before, before + size))
    return np.zeros((len(x), weight.shape[1] * groups, *sizes)), tuple(crop)


def _groups(weight: Array, groups: int) -> list[tuple[slice, slice]]:
    """Return the input channels and the output channels of each group, as slices."""
    C, O = len(weight) // groups, weight.shape[1]
    return [(slice(g * C, (g + 1) * C), slice(g * O, (g + 1) * O)) for g in range(groups)]
