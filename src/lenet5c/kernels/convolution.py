"""Convolution on plain NumPy arrays.

float32 runs on tiles of 16 samples. float64, and float32 batches too small to fill a tile, run sample by sample as im2col
and a matrix product: scratch memory is one sample's column matrix, never the batch's.
"""

from math import prod

import numpy as np

from lenet5c.kernels import _direct, dispatch, strips, threads
from lenet5c.kernels.arrays import check_array, check_out, check_shape, contiguous, deliver, rows, work_array
from lenet5c.kernels.columns import fold, unfold, window_of
from lenet5c.kernels.shapes import check_elements, conv2d_output_size
from lenet5c.kernels.single import single_op_program


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
    check_out("out", out, shape, x.dtype)
    work = work_array(out, shape, x.dtype, (x, weight, bias))
    count = threads.effective(num_threads)
    if conv.way == "tiles":
        conv.program().forward(rows(x), conv.params(), rows(work), count)
    elif conv.way != "columns":
        conv.forward_direct(x, work, count)
    else:
        for n in range(len(x)):
            conv.forward_sample(x[n], work[n], count)
    return deliver(work, out)


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
    check_array("dy", dy, 4, x.dtype)
    check_shape("dy", dy, (len(x), *conv.out_shape))
    shapes = (x.shape, weight.shape, (len(weight),))
    outs = (None, None, None) if out is None else tuple(out)
    if len(outs) != 3:
        raise ValueError(f"out has {len(outs)} elements; it should have three: for dx, dweight and dbias")
    for name, array, shape in zip(("out[0]", "out[1]", "out[2]"), outs, shapes, strict=True):
        check_out(name, array, shape, x.dtype)
    given = [array for array in outs if array is not None]
    if any(np.may_share_memory(a, b) for i, a in enumerate(given) for b in given[:i]):
        raise ValueError("out holds arrays that overlap; dx, dweight and dbias need memory of their own")
    dy = contiguous(dy)
    dx = work_array(outs[0], x.shape, x.dtype, (dy, x, weight))
    count = threads.effective(num_threads)
    if conv.way == "tiles":
        grads = np.zeros(weight.size + len(weight), np.float32)
        conv.program().backward(rows(x), rows(dy), conv.params(), grads, rows(dx), count)
        dweight, dbias = grads[: weight.size].reshape(weight.shape), grads[weight.size :]
    elif conv.way != "columns":
        dweight, dbias = conv.backward_direct(dy, x, dx, count)
    else:
        dweight = np.zeros(weight.shape, x.dtype)
        dbias = dy.sum(axis=(0, 2, 3))
        for n in range(len(x)):
            conv.backward_sample(dy[n], x[n], dx[n], dweight, count)
    return tuple(deliver(work, array) for work, array in zip((dx, dweight, dbias), outs, strict=True))


FORCE = None


def way_of(x, weight, groups, size):
    if x.dtype == np.float64:
        return "columns"
    if FORCE:
        return FORCE
    if groups > 1 and len(weight) // groups < 8:
        return "units"
    return "direct"


def flat(array):
    return contiguous(array).reshape(-1)


class _Convolution:
    """The checked settings of one convolution, and its two ways: tiles, or a matrix product a sample."""

    def __init__(self, x, weight, bias, stride, padding, dilation, groups):
        check_array("x", x, 4)
        check_array("weight", weight, 4, x.dtype)
        if not isinstance(groups, (int, np.integer)) or groups < 1:
            raise ValueError(f"groups is {groups!r}; it should be an integer of at least 1")
        out_channels, channels, *kernel_size = weight.shape
        if 0 in weight.shape or x.shape[1] != channels * groups or out_channels % groups != 0:
            raise ValueError(
                f"weight has the shape {weight.shape} and groups is {groups}, but x has {x.shape[1]} channels; weight "
                f"should be (O, {x.shape[1]} / groups, KH, KW) with O a multiple of groups"
            )
        if bias is not None:
            check_array("bias", bias, 1, x.dtype)
            check_shape("bias", bias, (out_channels,))
        self.window = window_of(tuple(kernel_size), stride, padding, dilation)
        self.size = conv2d_output_size(x.shape[2:], *self.window)
        self.out_shape = (out_channels, *self.size)
        check_elements("the result", (len(x), *self.out_shape))
        self.in_shape, self.weight, self.bias, self.groups = x.shape[1:], weight, bias, int(groups)
        self.way = way_of(x, weight, self.groups, self.size)
        self.samples = len(x)

    def program(self):
        return single_op_program(self.in_shape, "conv2d", self.window, self.out_shape[0], self.groups)

    def params(self):
        bias = np.zeros(len(self.weight), np.float32) if self.bias is None else self.bias
        return np.concatenate((self.weight.ravel(), bias))

    def forward_direct(self, x, y, num_threads):
        plan = strips.result_plan(*self._units(), num_threads)
        filters, group = prod(self.weight.shape[1:]), self.weight.size // self.groups
        strides = group, filters, prod(self.window[0])
        bias = None if self.bias is None else contiguous(self.bias)
        _direct.convolve(
            dispatch.tiles, plan, flat(x), flat(self.weight), strides, strides[2], bias, flat(y), num_threads
        )

    def backward_direct(self, dy, x, dx, num_threads):
        """Writes dx, returns dweight and dbias."""
        filters, group, taps = prod(self.weight.shape[1:]), self.weight.size // self.groups, prod(self.window[0])
        units = self._units()
        for plan in strips.data_gradient_plans(*units, num_threads):
            _direct.convolve(
                dispatch.tiles, plan, flat(dy), flat(self.weight), (group, taps, filters), taps, None, flat(dx),
                num_threads
            )  # fmt: skip
        dweight, dbias = np.empty(self.weight.shape, np.float32), np.empty(len(self.weight), np.float32)
        plan = strips.result_plan(*units, 1)
        _direct.weight_gradient(dispatch.tiles, plan, flat(x), flat(dy), flat(dweight), dbias, num_threads)
        return dweight, dbias

    def _units(self):
        """What a plan depends on."""
        channels, *image = self.in_shape
        in_shape = channels // self.groups, *image
        out_shape = len(self.weight) // self.groups, *self.size
        return self.samples * self.groups, self.groups, self.way == "units", in_shape, out_shape, self.window

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
        fold(columns.reshape(1, -1, prod(self.size)), self.window, self.size, dx[None], num_threads)

    def _columns(self, x, num_threads):
        """im2col of one sample, (groups, C / groups * KH * KW, OH * OW)."""
        height = len(x) * prod(self.window[0])
        columns = np.empty((1, height, prod(self.size)), x.dtype)
        unfold(x[None], self.window, self.size, 0, columns, num_threads)
        return columns.reshape(self.groups, height // self.groups, -1)
