"""Convolution, pooling, im2col and col2im on plain NumPy arrays.

Images are (N, C, H, W), float32 or float64, in any memory layout; all arrays of a call share one dtype. float32 runs
on tiles of 16 samples (`_program`). float64, and float32 batches too small to fill a tile, run sample by sample as
im2col and a matrix product: scratch memory is one sample's column matrix, never the batch's.
"""

from functools import lru_cache
from math import prod

import numpy as np

from lenet5c.kernels import _im2col, dispatch, lowering, threads
from lenet5c.kernels._program import Program
from lenet5c.kernels.shapes import check_elements, conv2d_output_size, pair, pool2d_output_size

# A tile costs the same however few of its 16 lanes are filled; below this a matrix product is quicker.
LEAST_TILE_BATCH = 4


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, out=None, num_threads=None):
    """Cross-correlate images with filters, as `torch.nn.functional.conv2d` does.

    Parameters
    ----------
    x : ndarray (N, C, H, W), float32 or float64
    weight : ndarray (O, C / groups, KH, KW), same dtype
    bias : ndarray (O,), same dtype, optional
    stride, padding, dilation : int or (int, int)
        Vertical and horizontal, in pixels; the padding is zeros.
    groups : int
        Output channels are cut into as many groups, each of which sees its share of the input channels.
    out : ndarray (N, O, OH, OW), same dtype, optional
        Receives the result; may overlap an input.
    num_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ndarray (N, O, OH, OW)

    Raises
    ------
    TypeError
        An argument is no ndarray of float32 or float64, or dtypes are mixed.
    ValueError
        A shape or a setting does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> kernels.conv2d(x, np.ones((1, 1, 2, 2), np.float32))[0, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    conv = _Convolution(x, weight, bias, stride, padding, dilation, groups)
    shape = (len(x), *conv.out_shape)
    _check_out("out", out, shape, x.dtype)
    work = _work_array(out, shape, x.dtype, (x, weight, bias))
    count = threads.effective(num_threads)
    if conv.on_tiles:
        conv.program().forward(_rows(x), conv.params(), _rows(work), count)
    else:
        for n in range(len(x)):
            conv.forward_sample(x[n], work[n], count)
    return _deliver(work, out)


def conv2d_backward(dy, x, weight, stride=1, padding=0, dilation=1, groups=1, *, out=None, num_threads=None):
    """Gradients of `conv2d` for its input, weight and bias.

    Parameters
    ----------
    dy : ndarray (N, O, OH, OW)
        Gradient of the result.
    x, weight, stride, padding, dilation, groups
        As given to `conv2d`.
    out : tuple of three ndarrays, any of them None, optional
        Receive dx, dweight and dbias.
    num_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    dx : ndarray (N, C, H, W)
    dweight : ndarray (O, C / groups, KH, KW)
    dbias : ndarray (O,)

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.
    """
    conv = _Convolution(x, weight, None, stride, padding, dilation, groups)
    _check_array("dy", dy, 4, x.dtype)
    _check_shape("dy", dy, (len(x), *conv.out_shape))
    shapes = (x.shape, weight.shape, (len(weight),))
    outs = (None, None, None) if out is None else tuple(out)
    if len(outs) != 3:
        raise ValueError(f"out has {len(outs)} elements; it should have three: for dx, dweight and dbias")
    for name, array, shape in zip(("out[0]", "out[1]", "out[2]"), outs, shapes, strict=True):
        _check_out(name, array, shape, x.dtype)
    dy = np.ascontiguousarray(dy)
    dx = _work_array(outs[0], x.shape, x.dtype, (dy, x, weight))
    count = threads.effective(num_threads)
    if conv.on_tiles:
        grads = np.zeros(weight.size + len(weight), np.float32)
        conv.program().backward(_rows(x), _rows(dy), conv.params(), grads, _rows(dx), count)
        dweight, dbias = grads[: weight.size].reshape(weight.shape), grads[weight.size :]
    else:
        dweight = np.zeros(weight.shape, x.dtype)
        dbias = dy.sum(axis=(0, 2, 3))
        for n in range(len(x)):
            conv.backward_sample(dy[n], x[n], dx[n], dweight, count)
    return tuple(_deliver(work, array) for work, array in zip((dx, dweight, dbias), outs, strict=True))


def max_pool2d(x, kernel_size, stride=None, padding=0, *, out=None, num_threads=None):
    """The largest value of each window; the border counts as minus infinity, not-a-number wins.

    Parameters
    ----------
    x : ndarray (N, C, H, W), float32 or float64
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        As `kernel_size` if not given.
    padding : int or (int, int)
        At most half of `kernel_size`.
    out, num_threads
        As in `conv2d`.

    Returns
    -------
    ndarray (N, C, OH, OW)

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.
    """
    return _Pooling("max_pool2d", x, "x", kernel_size, stride, padding).forward(x, out, num_threads)


def max_pool2d_backward(dy, x, kernel_size, stride=None, padding=0, *, out=None, num_threads=None):
    """Gradient of `max_pool2d`: of each window, the first maximum in row-major order receives it.

    Parameters
    ----------
    dy : ndarray (N, C, OH, OW)
    x, kernel_size, stride, padding
        As given to `max_pool2d`.
    out : ndarray (N, C, H, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, H, W)
    """
    return _Pooling("max_pool2d", x, "x", kernel_size, stride, padding).backward(dy, x, out, num_threads)


def avg_pool2d(x, kernel_size, stride=None, padding=0, count_include_pad=True, *, out=None, num_threads=None):
    """The mean of each window; padding is zeros, which the divisor counts unless `count_include_pad` is False.

    The other parameters, the result and the errors are those of `max_pool2d`.
    """
    pooling = _Pooling("avg_pool2d", x, "x", kernel_size, stride, padding, count_include_pad)
    return pooling.forward(x, out, num_threads)


def avg_pool2d_backward(
    dy, x_shape, kernel_size, stride=None, padding=0, count_include_pad=True, *, out=None, num_threads=None
):
    """Gradient of `avg_pool2d`: each window's is shared out evenly.

    Parameters
    ----------
    dy : ndarray (N, C, OH, OW)
    x_shape : (N, C, H, W), or an array of that shape
        What the gradient's shape should be.
    kernel_size, stride, padding, count_include_pad
        As given to `avg_pool2d`.
    out : ndarray (N, C, H, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, H, W)
    """
    shape = getattr(x_shape, "shape", x_shape)
    _check_array("dy", dy, 4)
    # A stand-in of the right shape that takes no memory: the gradient of a mean does not depend on the input.
    try:
        x = np.broadcast_to(np.zeros((), dy.dtype), shape)
    except (TypeError, ValueError):
        raise ValueError(f"x_shape is {x_shape!r}; it should be the shape (N, C, H, W) of the input") from None
    pooling = _Pooling("avg_pool2d", x, "x_shape", kernel_size, stride, padding, count_include_pad)
    return pooling.backward(dy, x, out, num_threads)


def im2col(x, kernel_size, stride=1, padding=0, dilation=1, *, out=None, num_threads=None):
    """The windows of an image as columns, as `torch.nn.functional.unfold` gives them.

    Parameters
    ----------
    x : ndarray (N, C, H, W), float32 or float64
    kernel_size, stride, padding, dilation : int or (int, int)
    out, num_threads
        As in `conv2d`.

    Returns
    -------
    ndarray (N, C * KH * KW, OH * OW)
        Element [n, (c KH + kh) KW + kw, oh OW + ow] is x[n, c, oh SH + kh DH - PH, ow SW + kw DW - PW], 0 outside.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import kernels
    >>> kernels.im2col(np.arange(6.0).reshape(1, 1, 2, 3), 2)[0]
    array([[0., 1.],
           [1., 2.],
           [3., 4.],
           [4., 5.]])
    """
    _check_array("x", x, 4)
    n, channels, *image = x.shape
    window = _window(kernel_size, stride, padding, dilation)
    size = conv2d_output_size(image, *window)
    shape = (n, channels * prod(window[0]), prod(size))
    check_elements("the column matrix", shape)
    _check_out("out", out, shape, x.dtype)
    work = _work_array(out, shape, x.dtype, (x,))
    _unfold(x, window, size, 0, work, threads.effective(num_threads))
    return _deliver(work, out)


def col2im(col, output_size, kernel_size, stride=1, padding=0, dilation=1, *, out=None, num_threads=None):
    """Add columns back onto the image they came from, as `torch.nn.functional.fold`: the transpose of `im2col`.

    Parameters
    ----------
    col : ndarray (N, C * KH * KW, OH * OW), float32 or float64
    output_size : (int, int)
        Height and width of the image.
    kernel_size, stride, padding, dilation : int or (int, int)
        As given to `im2col`.
    out : ndarray (N, C, H, W), optional
    num_threads : int, optional

    Returns
    -------
    ndarray (N, C, H, W)
        Where windows overlap, the sum.
    """
    _check_array("col", col, 3)
    image = pair(output_size, "output_size", 1)
    window = _window(kernel_size, stride, padding, dilation)
    size = conv2d_output_size(image, *window)
    taps = prod(window[0])
    if col.shape[1] % taps != 0 or col.shape[1] == 0 or col.shape[2] != prod(size):
        raise ValueError(
            f"col has the shape {col.shape}; for output_size {image} it should be (N, C * {taps}, {prod(size)})"
        )
    shape = (len(col), col.shape[1] // taps, *image)
    check_elements("the image", shape)
    _check_out("out", out, shape, col.dtype)
    work = _work_array(out, shape, col.dtype, (col,))
    _fold(col, window, size, work, threads.effective(num_threads))
    return _deliver(work, out)


class _Convolution:
    """The checked settings of one convolution, and its two ways: tiles, or a matrix product a sample."""

    def __init__(self, x, weight, bias, stride, padding, dilation, groups):
        _check_array("x", x, 4)
        _check_array("weight", weight, 4, x.dtype)
        if not isinstance(groups, (int, np.integer)) or groups < 1:
            raise ValueError(f"groups is {groups!r}; it should be an integer of at least 1")
        out_channels, channels, *kernel_size = weight.shape
        if 0 in weight.shape or x.shape[1] != channels * groups or out_channels % groups != 0:
            raise ValueError(
                f"weight has the shape {weight.shape} and groups is {groups}, but x has {x.shape[1]} channels; weight "
                f"should be (O, {x.shape[1]} / groups, KH, KW) with O a multiple of groups"
            )
        if bias is not None:
            _check_array("bias", bias, 1, x.dtype)
            _check_shape("bias", bias, (out_channels,))
        self.window = _window(tuple(kernel_size), stride, padding, dilation)
        self.size = conv2d_output_size(x.shape[2:], *self.window)
        self.out_shape = (out_channels, *self.size)
        check_elements("the result", (len(x), *self.out_shape))
        self.in_shape, self.weight, self.bias, self.groups = x.shape[1:], weight, bias, int(groups)
        self.on_tiles = x.dtype == np.float32 and len(x) >= LEAST_TILE_BATCH

    def program(self):
        return _program(self.in_shape, "conv2d", self.window, self.out_shape[0], self.groups)

    def params(self):
        bias = np.zeros(len(self.weight), np.float32) if self.bias is None else self.bias
        return np.concatenate((self.weight.ravel(), bias))

    def forward_sample(self, x, y, num_threads):
        group_weights = self.weight.reshape(self.groups, len(self.weight) // self.groups, -1)
        np.matmul(group_weights, self._columns(x, num_threads), out=y.reshape(self.groups, -1, prod(self.size)))
        if self.bias is not None:
            y += self.bias[:, None, None]

    def backward_sample(self, dy, x, dx, dweight, num_threads):
        """Writes dx, adds to dweight."""
        group_weights = self.weight.reshape(self.groups, len(self.weight) // self.groups, -1)
        group_dy = dy.reshape(self.groups, -1, prod(self.size))
        columns = self._columns(x, num_threads)
        dweight += np.matmul(group_dy, columns.transpose(0, 2, 1)).reshape(dweight.shape)
        np.matmul(group_weights.transpose(0, 2, 1), group_dy, out=columns)
        _fold(columns.reshape(1, -1, prod(self.size)), self.window, self.size, dx[None], num_threads)

    def _columns(self, x, num_threads):
        """im2col of one sample, (groups, C / groups * KH * KW, OH * OW)."""
        rows = len(x) * prod(self.window[0])
        columns = np.empty((1, rows, prod(self.size)), x.dtype)
        _unfold(x[None], self.window, self.size, 0, columns, num_threads)
        return columns.reshape(self.groups, rows // self.groups, -1)


class _Pooling:
    """The checked settings of one pooling, and its two ways: tiles, or im2col and a reduction a sample."""

    def __init__(self, kind, x, name, kernel_size, stride, padding, count_include_pad=False):
        _check_array(name, x, 4)
        self.kind, self.count_include_pad = kind, bool(count_include_pad)
        self.window = _window(kernel_size, kernel_size if stride is None else stride, padding, 1)
        self.image = x.shape[2:]
        self.size = pool2d_output_size(self.image, *self.window[:3])
        self.in_shape, self.out_shape = x.shape[1:], (x.shape[1], *self.size)
        self.on_tiles = x.dtype == np.float32 and len(x) >= LEAST_TILE_BATCH and x.shape[1] > 0

    def program(self):
        return _program(self.in_shape, self.kind, self.window, None, None, self.count_include_pad)

    def forward(self, x, out, num_threads):
        shape = (len(x), *self.out_shape)
        _check_out("out", out, shape, x.dtype)
        work = _work_array(out, shape, x.dtype, (x,))
        count = threads.effective(num_threads)
        if self.on_tiles:
            self.program().forward(_rows(x), _no_params(), _rows(work), count)
        else:
            for n in range(len(x)):
                work[n] = self._forward_sample(x[n], count)
        return _deliver(work, out)

    def backward(self, dy, x, out, num_threads):
        _check_array("dy", dy, 4, x.dtype)
        _check_shape("dy", dy, (len(x), *self.out_shape))
        _check_out("out", out, x.shape, x.dtype)
        work = _work_array(out, x.shape, x.dtype, (dy, x))
        count = threads.effective(num_threads)
        if self.on_tiles:
            self.program().backward(_rows(x), _rows(dy), _no_params(), _no_params(), _rows(work), count)
        else:
            for n in range(len(x)):
                self._backward_sample(dy[n], x[n], work[n], count)
        return _deliver(work, out)

    def _forward_sample(self, x, num_threads):
        if self.kind == "max_pool2d":
            return self._columns(x, -np.inf, num_threads).max(axis=1).reshape(self.out_shape)
        return (self._columns(x, 0, num_threads).sum(axis=1) / self._divisor(x.dtype)).reshape(self.out_shape)

    def _backward_sample(self, dy, x, dx, num_threads):
        dy = dy.reshape(len(dy), 1, -1)
        if self.kind == "max_pool2d":
            columns = self._columns(x, -np.inf, num_threads)
            first = self._first_maximum(columns)
            columns = np.zeros_like(columns)
            np.put_along_axis(columns, first, dy, axis=1)
        else:
            columns = np.repeat(dy / self._divisor(x.dtype), prod(self.window[0]), axis=1)
        _fold(columns.reshape(1, -1, prod(self.size)), self.window, self.size, dx[None], num_threads)

    def _first_maximum(self, columns):
        """Where each window has its first maximum, never in the border: that would lose an image's own -inf."""
        inside = self._columns(np.ones((1, *self.image), columns.dtype), 0, 1)[0] > 0
        largest = columns.max(axis=1, keepdims=True)
        is_largest = (columns == largest) | np.isnan(columns)
        return np.argmax(is_largest & inside, axis=1)[:, None]

    def _divisor(self, dtype):
        if self.count_include_pad:
            return dtype.type(prod(self.window[0]))
        return self._columns(np.ones((1, *self.image), dtype), 0, 1)[0].sum(axis=0)

    def _columns(self, x, fill, num_threads):
        """The windows of each plane of one sample, (C, KH * KW, OH * OW)."""
        columns = np.empty((1, len(x) * prod(self.window[0]), prod(self.size)), x.dtype)
        _unfold(x[None], self.window, self.size, fill, columns, num_threads)
        return columns.reshape(len(x), prod(self.window[0]), -1)


@lru_cache(maxsize=64)
def _program(in_shape, kind, window, out_channels, groups, count_include_pad=False):
    """A program of one op, with its weights first and its bias behind them."""
    kernel_size, stride, padding, dilation = window
    layer = {"kind": kind, "kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
    if kind == "conv2d":
        weights = out_channels * (in_shape[0] // groups) * prod(kernel_size)
        layer |= {"out_channels": out_channels, "groups": groups, "weight": 0, "bias": weights}
    else:
        layer["count_include_pad"] = count_include_pad
    return Program(lowering.lower(in_shape, [layer]), dispatch.tiles)


def _unfold(x, window, size, fill, col, num_threads):
    n, channels, height, width = x.shape
    planes = np.ascontiguousarray(x).reshape(n, channels, height * width)
    windows = col.reshape(n, channels, prod(window[0]) * prod(size))
    _im2col.im2col(planes, width, *window, size[1], fill, windows, num_threads)


def _fold(col, window, size, x, num_threads):
    n, channels, height, width = x.shape
    windows = np.ascontiguousarray(col).reshape(n, channels, prod(window[0]) * prod(size))
    _im2col.col2im(windows, width, *window, size[1], x.reshape(n, channels, height * width), num_threads)


def _no_params():
    return np.zeros(0, np.float32)


def _window(kernel_size, stride, padding, dilation):
    return (
        pair(kernel_size, "kernel_size", 1),
        pair(stride, "stride", 1),
        pair(padding, "padding", 0),
        pair(dilation, "dilation", 1),
    )


def _check_array(name, array, ndim, dtype=None):
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}; it should be a NumPy array of float32 or float64")
    if array.dtype not in (np.float32, np.float64) or not array.dtype.isnative:
        raise TypeError(f"{name} has the dtype {array.dtype}; it should be float32 or float64")
    if dtype is not None and array.dtype != dtype:
        raise TypeError(f"{name} has the dtype {array.dtype}, but another argument has {dtype}; convert one of them")
    if array.ndim != ndim:
        raise ValueError(f"{name} has the shape {array.shape}; it should have {ndim} dimensions")


def _check_shape(name, array, shape):
    if array.shape != shape:
        raise ValueError(f"{name} has the shape {array.shape}; it should be {shape}")


def _check_out(name, out, shape, dtype):
    if out is None:
        return
    _check_array(name, out, len(shape), dtype)
    _check_shape(name, out, shape)
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only; it should be writeable")


def _work_array(out, shape, dtype, inputs):
    """`out` if results can be written straight into it, else a new array."""
    usable = out is not None and out.flags.c_contiguous and out.flags.aligned
    if usable and not any(array is not None and np.may_share_memory(out, array) for array in inputs):
        return out
    return np.empty(shape, dtype)


def _deliver(work, out):
    if out is None or out is work:
        return work
    out[...] = work
    return out


def _rows(x):
    """(N, ...) as contiguous (N, size), without a copy where it is contiguous."""
    return np.ascontiguousarray(x).reshape(len(x), prod(x.shape[1:]))
