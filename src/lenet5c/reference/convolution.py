"""Convolution as in neural networks: cross-correlation of an image with filters.

Shapes: x (N, C, H, W), weight (O, I, KH, KW), bias (O,), y (N, O, OH, OW). I is C / groups: with G
groups, the first O / G output channels are connected to the first C / G input channels, and so on.
The axis N may be omitted for one sample. With the data format "NHWC", x is (N, H, W, C), weight
(KH, KW, I, O) and y (N, OH, OW, O).
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
from lenet5c.reference.windows import border, output_shape, pad, unpad, window


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    data_format: str = "NCHW",
) -> Array:
    """Correlate images with filters.

    ::

        y[n, o, oh, ow] = bias[o] + sum over i, kh, kw of
            weight[o, i, kh, kw] * x[n, i, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW]

    where x is 0 outside the image, and i runs over the input channels of the group of o.

    Parameters
    ----------
    x : array_like (N, C, H, W)
    weight : array_like (O, C / groups, KH, KW)
    bias : array_like (O,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
    groups : int
    data_format : "NCHW" or "NHWC"

    Returns
    -------
    ndarray of float64 (N, O, OH, OW)

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document
    recognition, section II-A; settings as in `torch.nn.functional.conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> reference.conv2d(x, np.ones((1, 1, 2, 2)))[0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    x, weight = float64(x, weight)
    settings = stride, padding, dilation, groups
    if x.ndim == 3:
        return conv2d(x[None], weight, bias, *settings, data_format)[0]
    if data_format == "NHWC":
        return to_nhwc(conv2d(to_nchw(x), to_oihw(weight), bias, *settings))
    O, _, KH, KW = weight.shape
    OH, OW = output_shape(x.shape[2:], (KH, KW), stride, padding, dilation)
    padded = pad(x, border(x.shape[2:], (KH, KW), stride, padding, dilation))
    y = np.zeros((len(x), O, OH, OW))
    for oh, ow in np.ndindex(OH, OW):
        x_window = padded[window(oh, ow, (KH, KW), stride, dilation)]
        for o, i in _groups(weight, groups):
            y[:, o, oh, ow] = np.einsum("nihw,oihw->no", x_window[:, i], weight[o])
    if bias is not None:
        y += np.asarray(bias, np.float64)[:, None, None]
    return y


def conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    data_format: str = "NCHW",
    *,
    need: Iterable[str] = ("dx", "dweight", "dbias"),
) -> tuple[Any, Any, Any]:
    """Gradients of `conv2d`: each product in the sum passes dy to both of its factors.

    ::

        dx[n, i, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW] += weight[o, i, kh, kw] * dy[n, o, oh, ow]
        dweight[o, i, kh, kw] += x[n, i, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW] * dy[n, o, oh, ow]
        dbias[o] += dy[n, o, oh, ow]

    for all n, o, oh, ow, i, kh, kw.

    Parameters
    ----------
    dy : array_like (N, O, OH, OW)
        Gradient of the loss with respect to the output.
    x, weight, stride, padding, dilation, groups, data_format
        As given to `conv2d`.
    need : some of "dx", "dweight" and "dbias"

    Returns
    -------
    dx : ndarray of float64 (N, C, H, W), or None if not needed
    dweight : ndarray of float64 (O, C / groups, KH, KW), or None
    dbias : ndarray of float64 (O,), or None

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> x, weight = np.arange(9.0).reshape(1, 1, 3, 3), np.array([[[[1.0, 2], [3, 4]]]])
    >>> dx, dweight, dbias = reference.conv2d_backward(np.ones((1, 1, 2, 2)), x, weight)
    >>> dx[0, 0]
    array([[ 1.,  3.,  2.],
           [ 4., 10.,  6.],
           [ 3.,  7.,  4.]])
    >>> dweight[0, 0], dbias
    (array([[ 8., 12.],
           [20., 24.]]), array([4.]))
    """
    dy, x, weight = float64(dy, x, weight)
    settings = stride, padding, dilation, groups
    if x.ndim == 3:
        dx, dweight, dbias = conv2d_backward(dy[None], x[None], weight, *settings, data_format)
        return choose((dx[0], dweight, dbias), need)
    if data_format == "NHWC":
        dx, dweight, dbias = conv2d_backward(to_nchw(dy), to_nchw(x), to_oihw(weight), *settings)
        return choose((to_nhwc(dx), to_hwio(dweight), dbias), need)
    KH, KW = weight.shape[2:]
    at_sides = border(x.shape[2:], (KH, KW), stride, padding, dilation)
    padded = pad(x, at_sides)
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    for oh, ow in np.ndindex(dy.shape[2:]):
        at = window(oh, ow, (KH, KW), stride, dilation)
        x_window, dx_window = padded[at], dpadded[at]  # views: additions change dpadded
        for o, i in _groups(weight, groups):
            dx_window[:, i] += np.einsum("no,oihw->nihw", dy[:, o, oh, ow], weight[o])
            dweight[o] += np.tensordot(dy[:, o, oh, ow].T, x_window[:, i], axes=1)
    return choose((unpad(dpadded, at_sides), dweight, dy.sum(axis=(0, 2, 3))), need)


def conv2d_backward_second(
    d2y: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """Second derivatives of `conv2d`, the diagonal alone.

    ::

        d2x += weight^2 * d2y,  d2weight += x^2 * d2y,  d2bias += d2y

    indexed as in `conv2d_backward`, which is called with both factors squared.

    Parameters
    ----------
    d2y : array_like (N, O, OH, OW)
        Second derivative of the loss with respect to each element of the output.
    x, weight, stride, padding, dilation, groups
        As given to `conv2d`.

    Returns
    -------
    d2x, d2weight, d2bias : ndarray of float64
        Of the shapes of x, weight and bias.

    References
    ----------
    LeCun et al. (1998), eq. 25 and 27.
    """
    x, weight = float64(x, weight)
    return conv2d_backward(d2y, x**2, weight**2, stride, padding, dilation, groups)


def _groups(weight: Array, groups: int) -> list[tuple[slice, slice]]:
    """Return the output channels and the input channels of each group, as slices."""
    O, I = len(weight) // groups, weight.shape[1]
    return [(slice(g * O, (g + 1) * O), slice(g * I, (g + 1) * I)) for g in range(groups)]
