"""im2col and col2im: the windows of an image as the columns of a matrix, and back.

With them a convolution is one matrix product a sample, which is how many libraries compute it, and
lenet5c its float64 one.
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, Size
from lenet5c.reference.windows import output_shape, pad, pair, unpad, window


def im2col(
    x: ArrayLike, kernel_size: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1
) -> Array:
    """Return the column matrix of `x`: one column a window.

    ::

        col[n, (c*KH + kh)*KW + kw, oh*OW + ow] = x[n, c, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW]

    Parameters
    ----------
    x : array_like (N, C, H, W)
    kernel_size, stride, padding, dilation : int or (int, int)

    Returns
    -------
    ndarray of float64 (N, C * KH * KW, OH * OW)

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
    N, C, H, W = x.shape
    OH, OW = output_shape((H, W), kernel_size, stride, padding, dilation)
    padded = pad(x, padding)
    col = np.zeros((N, C * KH * KW, OH * OW))
    for oh, ow in np.ndindex(OH, OW):
        x_window = padded[window(oh, ow, kernel_size, stride, dilation)]
        col[:, :, oh * OW + ow] = x_window.reshape(N, C * KH * KW)
    return col


def col2im(
    col: ArrayLike,
    output_size: Size,
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
) -> Array:
    """Add columns back onto the image they came from: the transpose of `im2col`.

    As the transpose it is also the backward pass of `im2col`.

    ::

        x[n, c, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW] += col[n, (c*KH + kh)*KW + kw, oh*OW + ow]

    Parameters
    ----------
    col : array_like (N, C * KH * KW, OH * OW)
    output_size : (int, int)
        H and W of the image.
    kernel_size, stride, padding, dilation : int or (int, int)
        As given to `im2col`.

    Returns
    -------
    ndarray of float64 (N, C, H, W)

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
    (H, W), (KH, KW), (PH, PW) = pair(output_size), pair(kernel_size), pair(padding)
    OH, OW = output_shape((H, W), kernel_size, stride, padding, dilation)
    N, C = len(col), col.shape[1] // (KH * KW)
    padded = np.zeros((N, C, H + 2 * PH, W + 2 * PW))
    for oh, ow in np.ndindex(OH, OW):
        x_window = col[:, :, oh * OW + ow].reshape(N, C, KH, KW)
        padded[window(oh, ow, kernel_size, stride, dilation)] += x_window
    return unpad(padded, padding)
