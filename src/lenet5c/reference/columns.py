"""im2col and col2im: the windows of an image as columns or rows of a matrix, and back.

They turn a convolution into a single matrix product, which is how many libraries compute it.
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, Padding, Size
from lenet5c.reference.windows import border, output_shape, pad, pair, unpad, window


def im2col(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    *,
    layout: str = "columns",
    data_format: str = "NCHW",
) -> Array:
    """Return the column matrix of `x`: one column, or one row, per window.

    ::

        col[n, (c*KH + kh)*KW + kw, oh*OW + ow] = x[n, c, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW]

    In rows, all samples are in one matrix: (n*OH + oh)*OW + ow comes first. With the channels last,
    they are the last part of a window, too: (kh*KW + kw)*C + c.

    Parameters
    ----------
    x : array_like (N, C, H, W), or (N, H, W, C) with "NHWC"; or one sample, without N
    kernel_size, stride, dilation : int or (int, int)
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
    layout : "columns" or "rows"
    data_format : "NCHW" or "NHWC"

    Returns
    -------
    ndarray of float64 (N, C * KH * KW, OH * OW), or (N * OH * OW, C * KH * KW) of rows
        Columns of one sample have no N.

    References
    ----------
    Chellapilla, Puri and Simard (2006), High performance convolutional neural networks for document
    processing; `torch.nn.functional.unfold`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> x, weight = np.arange(24.0).reshape(1, 2, 3, 4), np.arange(24.0).reshape(3, 2, 2, 2)
    >>> col = reference.im2col(x, kernel_size=2)
    >>> col.shape
    (1, 8, 6)
    >>> y = weight.reshape(3, 8) @ col[0]  # a convolution as a matrix product
    >>> bool((y.reshape(3, 2, 3) == reference.conv2d(x, weight)[0]).all())
    True
    """
    x, (KH, KW) = np.asarray(x, np.float64), pair(kernel_size)
    if x.ndim == 3:
        settings = kernel_size, stride, padding, dilation
        col = im2col(x[None], *settings, layout=layout, data_format=data_format)
        return col[0] if layout == "columns" else col
    if data_format == "NHWC":
        x = np.moveaxis(x, 3, 1)
    N, C, H, W = x.shape
    OH, OW = output_shape((H, W), kernel_size, stride, padding, dilation)
    padded = pad(x, border((H, W), kernel_size, stride, padding, dilation))
    windows = np.zeros((N, OH, OW, C, KH, KW))
    for oh, ow in np.ndindex(OH, OW):
        windows[:, oh, ow] = padded[window(oh, ow, kernel_size, stride, dilation)]
    if data_format == "NHWC":
        windows = np.moveaxis(windows, 3, 5)
    if layout == "rows":
        return windows.reshape(N * OH * OW, C * KH * KW)
    return windows.reshape(N, OH * OW, C * KH * KW).transpose(0, 2, 1).copy()


def col2im(
    col: ArrayLike,
    output_size: Size,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    *,
    layout: str = "columns",
    data_format: str = "NCHW",
) -> Array:
    """Add columns back to the image they came from: the transpose of `im2col`.

    Being the transpose, it is also the backward pass of `im2col`.

    ::

        x[n, c, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW] += col[n, (c*KH + kh)*KW + kw, oh*OW + ow]

    Parameters
    ----------
    col : array_like
        Of the shape that `im2col` returns.
    output_size : (int, int)
        H and W of the image.
    kernel_size, stride, padding, dilation, layout, data_format
        As given to `im2col`.

    Returns
    -------
    ndarray of float64 (N, C, H, W), or (N, H, W, C) with "NHWC"
        Without N for columns without it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> x = np.ones((1, 1, 3, 3))
    >>> reference.col2im(reference.im2col(x, 2), (3, 3), 2)[0, 0]  # windows that see each pixel
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    col = np.asarray(col, np.float64)
    if layout == "columns" and col.ndim == 2:
        settings = output_size, kernel_size, stride, padding, dilation
        return col2im(col[None], *settings, data_format=data_format)[0]
    (H, W), (KH, KW) = pair(output_size), pair(kernel_size)
    OH, OW = output_shape((H, W), kernel_size, stride, padding, dilation)
    if layout == "columns":
        col = col.transpose(0, 2, 1).reshape(-1, col.shape[1])
    N, C = len(col) // (OH * OW), col.shape[1] // (KH * KW)
    if data_format == "NHWC":
        windows = np.moveaxis(col.reshape(N, OH, OW, KH, KW, C), 5, 3)
    else:
        windows = col.reshape(N, OH, OW, C, KH, KW)
    at_sides = border((H, W), kernel_size, stride, padding, dilation)
    dpadded = pad(np.zeros((N, C, H, W)), at_sides)
    for oh, ow in np.ndindex(OH, OW):
        dpadded[window(oh, ow, kernel_size, stride, dilation)] += windows[:, oh, ow]
    x = unpad(dpadded, at_sides)
    return np.moveaxis(x, 1, 3).copy() if data_format == "NHWC" else x
