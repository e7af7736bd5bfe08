"""The cases of benchmarks/kernels.py with the channels last, NHWC, and weights HWIO.

PyTorch uses tensors with its memory format `channels_last`; there is no NumPy version.
"""

from common import OURS
from kernel_cases import convolution_arrays, pairs, pooling_arrays

from lenet5c import kernels

LAST = {"data_format": "NHWC"}


def conv2d(shape, batch, torch, dtype="float32"):
    x, weight, bias, _ = convolution_arrays(shape, batch, dtype)
    settings = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
    ours = last(x), filters_last(weight), bias
    runs = {OURS: lambda: kernels.conv2d(*ours, **settings, **LAST)}
    if torch:
        tensors = *tensors_last(torch, x, weight), torch.from_numpy(bias)
        runs["PyTorch"] = lambda: torch.nn.functional.conv2d(*tensors, **settings)
    return runs


def conv2d_backward(shape, batch, torch, dtype="float32"):
    x, weight, _, dy = convolution_arrays(shape, batch, dtype)
    settings = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
    ours = last(dy), last(x), filters_last(weight)
    runs = {OURS: lambda: kernels.conv2d_backward(*ours, **settings, **LAST)}
    if torch:
        tensors = tensors_last(torch, dy, x, weight)
        stride, padding = [shape.stride] * 2, [shape.padding] * 2
        runs["PyTorch"] = lambda: torch.ops.aten.convolution_backward(
            *tensors, [shape.out], stride, padding, [1, 1], False, [0, 0], shape.groups, [True] * 3
        )
    return runs


def max_pool2d(shape, batch, torch, dtype="float32"):
    x, _ = pooling_arrays(shape, batch, dtype)
    window, ours = (shape.kernel, shape.stride, shape.padding), last(x)
    runs = {OURS: lambda: kernels.max_pool2d(ours, *window, **LAST)}
    if torch:
        (tensor,) = tensors_last(torch, x)
        runs["PyTorch"] = lambda: torch.nn.functional.max_pool2d(tensor, *window)
    return runs


def max_pool2d_backward(shape, batch, torch, dtype="float32"):
    x, dy = pooling_arrays(shape, batch, dtype)
    window, ours, gradient = (shape.kernel, shape.stride, shape.padding), last(x), last(dy)
    _, places = kernels.max_pool2d(ours, *window, return_indices=True, **LAST)
    runs = {
        OURS: lambda: kernels.max_pool2d_backward(
            gradient, ours.shape, *window, indices=places, **LAST
        )
    }
    if torch:
        tensors = tensors_last(torch, dy, x)
        _, indices = torch.ops.aten.max_pool2d_with_indices(tensors[1], *pairs(*window))
        runs["PyTorch"] = lambda: torch.ops.aten.max_pool2d_with_indices_backward(
            *tensors, *pairs(*window), [1, 1], False, indices
        )
    return runs


def max_pool2d_backward_of_x(shape, batch, torch, dtype="float32"):
    x, dy = pooling_arrays(shape, batch, dtype)
    window, ours, gradient = (shape.kernel, shape.stride, shape.padding), last(x), last(dy)
    runs = max_pool2d_backward(shape, batch, torch, dtype)
    return runs | {OURS: lambda: kernels.max_pool2d_backward(gradient, ours, *window, **LAST)}


def avg_pool2d(shape, batch, torch, dtype="float32"):
    x, _ = pooling_arrays(shape, batch, dtype)
    window, ours = (shape.kernel, shape.stride, shape.padding), last(x)
    runs = {OURS: lambda: kernels.avg_pool2d(ours, *window, **LAST)}
    if torch:
        (tensor,) = tensors_last(torch, x)
        runs["PyTorch"] = lambda: torch.nn.functional.avg_pool2d(tensor, *window)
    return runs


def avg_pool2d_backward(shape, batch, torch, dtype="float32"):
    x, dy = pooling_arrays(shape, batch, dtype)
    window, gradient, size = (shape.kernel, shape.stride, shape.padding), last(dy), last(x).shape
    runs = {OURS: lambda: kernels.avg_pool2d_backward(gradient, size, *window, **LAST)}
    if torch:
        tensors = tensors_last(torch, dy, x)
        runs["PyTorch"] = lambda: torch.ops.aten.avg_pool2d_backward(
            *tensors, *pairs(*window), False, True, None
        )
    return runs


CASES = {
    case.__name__: case
    for case in (
        conv2d,
        conv2d_backward,
        max_pool2d,
        max_pool2d_backward,
        max_pool2d_backward_of_x,
        avg_pool2d,
        avg_pool2d_backward,
    )
}


def last(x):
    """Return (N, C, H, W) as (N, H, W, C)."""
    return x.transpose(0, 2, 3, 1).copy()


def filters_last(weight):
    """Return (O, I, KH, KW) as (KH, KW, I, O)."""
    return weight.transpose(2, 3, 1, 0).copy()


def tensors_last(torch, *arrays):
    return [torch.from_numpy(a).contiguous(memory_format=torch.channels_last) for a in arrays]


def channels_first(kernel, results):
    """Return the arrays of a result of lenet5c in the order of PyTorch."""
    first = [a.transpose(0, 3, 1, 2) if a.ndim == 4 else a for a in results]
    if kernel == "conv2d_backward":
        first[1] = results[1].transpose(3, 2, 0, 1)
    return first
