"""Convolution and pooling in optimized NumPy: im2col, BLAS, and loops over positions in the window.

x (N, C, H, W), weight (O, C / groups, K, K), columns (N, C K K, OH OW); windows are square, k
pixels wide, at a stride s.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def im2col(x, k, s, padding):
    """Return a copy of the windows, or a view of x where they are one pixel."""
    windows = sliding_window_view(padded(x, padding, 0), (k, k), axis=(2, 3))[:, :, ::s, ::s]
    n, channels, oh, ow = windows.shape[:4]
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, channels * k * k, oh * ow)


def col2im(columns, shape, k, s, padding):
    """Add columns back onto x of this shape."""
    n, channels, height, width = shape
    x = np.zeros((n, channels, height + 2 * padding, width + 2 * padding), columns.dtype)
    oh, ow = (x.shape[2] - k) // s + 1, (x.shape[3] - k) // s + 1
    columns = columns.reshape(n, channels, k * k, oh, ow)
    for place, view in enumerate(places(x, k, s)):
        view += columns[:, :, place]
    return unpadded(x, padding)


def conv2d(x, weight, bias, s, padding, groups):
    columns = im2col(x, weight.shape[-1], s, padding)
    y = np.matmul(grouped_weight(weight, groups), grouped(columns, groups))
    size = (np.array(x.shape[2:]) + 2 * padding - weight.shape[-1]) // s + 1
    y = y.reshape(len(x), len(weight), *size)
    y += bias[:, None, None]
    return y


def conv2d_backward(dy, x, weight, s, padding, groups):
    """dx, dweight, dbias."""
    k = weight.shape[-1]
    columns = grouped(im2col(x, k, s, padding), groups)
    dy_rows = grouped(dy.reshape(*dy.shape[:2], -1), groups)
    dweight = np.matmul(dy_rows, columns.swapaxes(2, 3)).sum(axis=0).reshape(weight.shape)
    dcolumns = np.matmul(grouped_weight(weight, groups).swapaxes(1, 2), dy_rows)
    return col2im(dcolumns, x.shape, k, s, padding), dweight, dy.sum(axis=(0, 2, 3))


def conv_transpose2d(x, weight, bias, shape, s, padding, groups):
    """Return images of this shape; weight (C, O / groups, K, K)."""
    rows = grouped(x.reshape(*x.shape[:2], -1), groups)
    columns = np.matmul(grouped_weight(weight, groups).swapaxes(1, 2), rows)
    y = col2im(columns, shape, weight.shape[-1], s, padding)
    y += bias[:, None, None]
    return y


def conv_transpose2d_backward(dy, x, weight, s, padding, groups):
    """dx, dweight, dbias."""
    columns = grouped(im2col(dy, weight.shape[-1], s, padding), groups)
    dx = np.matmul(grouped_weight(weight, groups), columns).reshape(x.shape)
    rows = grouped(x.reshape(*x.shape[:2], -1), groups)
    dweight = np.matmul(rows, columns.swapaxes(2, 3)).sum(axis=0).reshape(weight.shape)
    return dx, dweight, dy.sum(axis=(0, 2, 3))


def max_pool2d(x, k, s, padding):
    first, *others = places(padded(x, padding, -np.inf), k, s)
    y = first.copy()
    for view in others:
        np.maximum(y, view, out=y)
    return y


def max_pool2d_backward(dy, x, y, k, s, padding):
    """Return dx: the gradient goes to the first maximum of each window; y is the forward result."""
    x = padded(x, padding, -np.inf)
    dx = np.zeros_like(x)
    free = np.ones(y.shape, bool)
    for value, gradient in zip(places(x, k, s), places(dx, k, s), strict=True):
        first = (value == y) & free
        gradient += dy * first
        free ^= first
    return unpadded(dx, padding)


def avg_pool2d(x, k, s, padding):
    first, *others = places(padded(x, padding, 0), k, s)
    y = first.copy()
    for view in others:
        y += view
    y /= np.float32(k * k)
    return y


def avg_pool2d_backward(dy, shape, k, s, padding):
    n, channels, height, width = shape
    dx = np.zeros((n, channels, height + 2 * padding, width + 2 * padding), dy.dtype)
    share = dy / np.float32(k * k)
    for view in places(dx, k, s):
        view += share
    return unpadded(dx, padding)


def places(x, k, s):
    """Yield a view (N, C, OH, OW) of each position in all windows."""
    oh, ow = (x.shape[2] - k) // s + 1, (x.shape[3] - k) // s + 1
    return [
        x[:, :, i : i + s * oh : s, j : j + s * ow : s][:, :, :oh, :ow]
        for i in range(k)
        for j in range(k)
    ]


def padded(x, padding, value):
    border = (padding, padding)
    return np.pad(x, ((0, 0), (0, 0), border, border), constant_values=value) if padding else x


def unpadded(x, padding):
    return np.ascontiguousarray(x[:, :, padding:-padding, padding:-padding]) if padding else x


def grouped(columns, groups):
    """(N, groups, rows / groups, columns)."""
    return columns.reshape(len(columns), groups, -1, columns.shape[-1])


def grouped_weight(weight, groups):
    """Return the weight as (groups, O / groups, C / groups K K)."""
    return weight.reshape(groups, len(weight) // groups, -1)
