"""The cases of benchmarks/kernels.py: shapes, and the same call of lenet5c, PyTorch and NumPy."""

import functools
from dataclasses import dataclass

import numpy as np
import numpy_kernels
from common import NUMPY, OURS

from lenet5c import kernels


@dataclass(frozen=True)
class Shape:
    """A layer on square images with square windows."""

    channels: int
    size: int
    out: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def out_size(self):
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def taps(self):
        """Multiply-adds of one output element."""
        return self.channels // self.groups * self.kernel**2

    def multiply_adds(self, batch):
        return batch * self.out * self.out_size**2 * self.taps

    def column_bytes(self, batch, dtype="float32"):
        return np.dtype(dtype).itemsize * batch * self.channels * self.kernel**2 * self.out_size**2


CONVOLUTIONS = {
    "conv1": Shape(1, 32, 6, 5),
    "conv2": Shape(6, 14, 16, 5),
    "3x3-64": Shape(64, 56, 64, 3, padding=1),
    "3x3-128": Shape(128, 28, 128, 3, padding=1),
    "7x7-s2": Shape(3, 224, 64, 7, stride=2, padding=3),
    "1x1-256": Shape(64, 56, 256, 1),
    "depthwise": Shape(64, 56, 64, 3, padding=1, groups=64),
}
POOLINGS = {
    "pool1": Shape(6, 28, 6, 2, stride=2),
    "pool2": Shape(16, 10, 16, 2, stride=2),
    "pool-3x3-s2": Shape(64, 112, 64, 3, stride=2, padding=1),
}
SHAPES = CONVOLUTIONS | POOLINGS
# For the first call of a process, which is not measured.
FIRST = {"convolution": Shape(1, 16, 6, 5), "pooling": Shape(6, 28, 6, 2, stride=2)}


# A case returns the contenders of one kernel, name -> callable without arguments; `torch` is the
# module or None.


def conv2d(shape, batch, torch, dtype="float32"):
    x, weight, bias, _ = convolution_arrays(shape, batch, dtype)
    settings = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
    runs = {OURS: lambda: kernels.conv2d(x, weight, bias, **settings)}
    if torch:
        tensors = [torch.from_numpy(array) for array in (x, weight, bias)]
        runs["PyTorch"] = lambda: torch.nn.functional.conv2d(*tensors, **settings)
    runs[NUMPY] = lambda: numpy_kernels.conv2d(x, weight, bias, *settings.values())
    return runs


def conv2d_backward(shape, batch, torch, dtype="float32"):
    x, weight, _, dy = convolution_arrays(shape, batch, dtype)
    settings = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
    runs = {OURS: lambda: kernels.conv2d_backward(dy, x, weight, **settings)}
    if torch:
        tensors = [torch.from_numpy(array) for array in (dy, x, weight)]
        stride, padding = [shape.stride] * 2, [shape.padding] * 2
        runs["PyTorch"] = lambda: torch.ops.aten.convolution_backward(
            *tensors, [shape.out], stride, padding, [1, 1], False, [0, 0], shape.groups, [True] * 3
        )
    runs[NUMPY] = lambda: numpy_kernels.conv2d_backward(dy, x, weight, *settings.values())
    return runs


def conv_transpose2d(shape, batch, torch, dtype="float32"):
    """Transposed convolution from the result of the shape's convolution to its input."""
    x_like, weight, _, x = convolution_arrays(shape, batch, dtype)
    bias = np.ones(shape.channels, dtype)
    settings = transposed_settings(shape)
    runs = {OURS: lambda: kernels.conv_transpose2d(x, weight, bias, **settings)}
    if torch:
        tensors = [torch.from_numpy(array) for array in (x, weight, bias)]
        runs["PyTorch"] = lambda: torch.nn.functional.conv_transpose2d(*tensors, **settings)
    others = shape.stride, shape.padding, shape.groups
    runs[NUMPY] = lambda: numpy_kernels.conv_transpose2d(x, weight, bias, x_like.shape, *others)
    return runs


def conv_transpose2d_backward(shape, batch, torch, dtype="float32"):
    dy, weight, _, x = convolution_arrays(shape, batch, dtype)
    settings = transposed_settings(shape)
    runs = {OURS: lambda: kernels.conv_transpose2d_backward(dy, x, weight, **settings)}
    if torch:
        tensors = [torch.from_numpy(array) for array in (dy, x, weight)]
        stride, padding, more = pairs(shape.stride, shape.padding, settings["output_padding"])
        runs["PyTorch"] = lambda: torch.ops.aten.convolution_backward(
            *tensors,
            [shape.channels],
            stride,
            padding,
            [1, 1],
            True,
            more,
            shape.groups,
            [True] * 3,
        )
    others = shape.stride, shape.padding, shape.groups
    runs[NUMPY] = lambda: numpy_kernels.conv_transpose2d_backward(dy, x, weight, *others)
    return runs


def transposed_settings(shape):
    """Return the settings that lead back to the size of the image."""
    least = (shape.out_size - 1) * shape.stride - 2 * shape.padding + shape.kernel
    return {
        "stride": shape.stride,
        "padding": shape.padding,
        "groups": shape.groups,
        "output_padding": shape.size - least,
    }


def max_pool2d(shape, batch, torch, dtype="float32"):
    x, _ = pooling_arrays(shape, batch, dtype)
    window = (shape.kernel, shape.stride, shape.padding)
    runs = {OURS: lambda: kernels.max_pool2d(x, *window)}
    if torch:
        tensor = torch.from_numpy(x)
        runs["PyTorch"] = lambda: torch.nn.functional.max_pool2d(tensor, *window)
    runs[NUMPY] = lambda: numpy_kernels.max_pool2d(x, *window)
    return runs


def max_pool2d_backward(shape, batch, torch, dtype="float32"):
    x, dy = pooling_arrays(shape, batch, dtype)
    window = (shape.kernel, shape.stride, shape.padding)
    _, ours = kernels.max_pool2d(x, *window, return_indices=True)
    runs = {OURS: lambda: kernels.max_pool2d_backward(dy, x.shape, *window, indices=ours)}
    if torch:
        tensors = [torch.from_numpy(array) for array in (dy, x)]
        _, indices = torch.ops.aten.max_pool2d_with_indices(tensors[1], *pairs(*window))
        runs["PyTorch"] = lambda: torch.ops.aten.max_pool2d_with_indices_backward(
            *tensors, *pairs(*window), [1, 1], False, indices
        )
    y = numpy_kernels.max_pool2d(x, *window)
    runs[NUMPY] = lambda: numpy_kernels.max_pool2d_backward(dy, x, y, *window)
    return runs


def max_pool2d_backward_of_x(shape, batch, torch, dtype="float32"):
    """Max pooling backward without indices: the maxima are found again."""
    x, dy = pooling_arrays(shape, batch, dtype)
    window = (shape.kernel, shape.stride, shape.padding)
    runs = max_pool2d_backward(shape, batch, torch, dtype)
    return runs | {OURS: lambda: kernels.max_pool2d_backward(dy, x, *window)}


def max_pool2d_both(shape, batch, torch, dtype="float32"):
    x, dy = pooling_arrays(shape, batch, dtype)
    window = (shape.kernel, shape.stride, shape.padding)

    def ours():
        y, indices = kernels.max_pool2d(x, *window, return_indices=True)
        return y, kernels.max_pool2d_backward(dy, x.shape, *window, indices=indices)

    runs = {OURS: ours}
    if torch:
        dy_tensor, x_tensor = torch.from_numpy(dy), torch.from_numpy(x)

        def pytorch():
            y, indices = torch.ops.aten.max_pool2d_with_indices(x_tensor, *pairs(*window))
            return y, torch.ops.aten.max_pool2d_with_indices_backward(
                dy_tensor, x_tensor, *pairs(*window), [1, 1], False, indices
            )

        runs["PyTorch"] = pytorch

    def numpy():
        y = numpy_kernels.max_pool2d(x, *window)
        return y, numpy_kernels.max_pool2d_backward(dy, x, y, *window)

    return runs | {NUMPY: numpy}


def avg_pool2d(shape, batch, torch, dtype="float32"):
    x, _ = pooling_arrays(shape, batch, dtype)
    window = (shape.kernel, shape.stride, shape.padding)
    runs = {OURS: lambda: kernels.avg_pool2d(x, *window)}
    if torch:
        tensor = torch.from_numpy(x)
        runs["PyTorch"] = lambda: torch.nn.functional.avg_pool2d(tensor, *window)
    runs[NUMPY] = lambda: numpy_kernels.avg_pool2d(x, *window)
    return runs


def avg_pool2d_backward(shape, batch, torch, dtype="float32"):
    x, dy = pooling_arrays(shape, batch, dtype)
    window = (shape.kernel, shape.stride, shape.padding)
    runs = {OURS: lambda: kernels.avg_pool2d_backward(dy, x.shape, *window)}
    if torch:
        tensors = [torch.from_numpy(array) for array in (dy, x)]
        runs["PyTorch"] = lambda: torch.ops.aten.avg_pool2d_backward(
            *tensors, *pairs(*window), False, True, None
        )
    runs[NUMPY] = lambda: numpy_kernels.avg_pool2d_backward(dy, x.shape, *window)
    return runs


def im2col(shape, batch, torch, dtype="float32"):
    x = convolution_arrays(shape, batch, dtype)[0]
    window = {"stride": shape.stride, "padding": shape.padding}
    runs = {OURS: lambda: kernels.im2col(x, shape.kernel, **window)}
    if torch:
        tensor = torch.from_numpy(x)
        runs["PyTorch"] = lambda: torch.nn.functional.unfold(tensor, shape.kernel, **window)
    runs[NUMPY] = lambda: numpy_kernels.im2col(x, shape.kernel, shape.stride, shape.padding)
    return runs


def col2im(shape, batch, torch, dtype="float32"):
    rng = np.random.default_rng(0)
    columns = rng.standard_normal(
        (batch, shape.channels * shape.kernel**2, shape.out_size**2), np.float32
    ).astype(dtype)
    size = (shape.size, shape.size)
    window = {"stride": shape.stride, "padding": shape.padding}
    runs = {OURS: lambda: kernels.col2im(columns, size, shape.kernel, **window)}
    if torch:
        tensor = torch.from_numpy(columns)
        runs["PyTorch"] = lambda: torch.nn.functional.fold(tensor, size, shape.kernel, **window)
    x_shape = (batch, shape.channels, *size)
    runs[NUMPY] = lambda: numpy_kernels.col2im(
        columns, x_shape, shape.kernel, shape.stride, shape.padding
    )
    return runs


CONVOLUTION_KERNELS = (
    conv2d,
    conv2d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
    im2col,
    col2im,
)
POOLING_KERNELS = (
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_backward_of_x,
    max_pool2d_both,
    avg_pool2d,
    avg_pool2d_backward,
)
KERNELS = {case.__name__: case for case in CONVOLUTION_KERNELS + POOLING_KERNELS}
# Multiply-adds of a kernel, as multiples of the convolution's forward pass; for the others, memory
# is what counts.
PASSES = {"conv2d": 1, "conv2d_backward": 2, "conv_transpose2d": 1, "conv_transpose2d_backward": 2}


def convolution_arrays(shape, batch, dtype="float32"):
    """Return x, weight, bias, dy."""
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal(size, np.float32).astype(dtype)
        for size in (
            (batch, shape.channels, shape.size, shape.size),
            (shape.out, shape.channels // shape.groups, shape.kernel, shape.kernel),
            (shape.out,),
            (batch, shape.out, shape.out_size, shape.out_size),
        )
    ]


def pooling_arrays(shape, batch, dtype="float32"):
    """Return x, dy."""
    x, _, _, dy = convolution_arrays(shape, batch, dtype)
    return x, dy


def pairs(*numbers):
    return [[number, number] for number in numbers]


def arrays(result):
    """Return a result, one array or a tuple, as a list of NumPy arrays."""
    return [np.asarray(each) for each in (result if isinstance(result, tuple) else (result,))]


# Calls on (1, 1, 8, 8), or on a row of it.


def small_calls(dtype, torch):
    """Return the name of each function -> (its arguments, the same call of PyTorch or None)."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    x, weight, bias, dy = draw(1, 1, 8, 8), draw(1, 1, 3, 3), draw(1), draw(1, 1, 6, 6)
    pooled, col, wide = draw(1, 1, 4, 4), draw(1, 9, 36), draw(1, 1, 10, 10)
    line, taps, dline, half = draw(1, 1, 8), draw(1, 1, 3), draw(1, 1, 6), draw(1, 1, 4)
    calls = {
        "conv2d": (x, weight, bias),
        "conv2d_backward": (dy, x, weight),
        "conv_transpose2d": (x, weight, bias),
        "conv_transpose2d_backward": (wide, x, weight),
        "conv1d": (line, taps, bias),
        "conv1d_backward": (dline, line, taps),
        "max_pool2d": (x, 2),
        "max_pool2d_backward": (pooled, x, 2),
        "avg_pool2d": (x, 2),
        "avg_pool2d_backward": (pooled, x.shape, 2),
        "max_pool1d": (line, 2),
        "max_pool1d_backward": (half, line, 2),
        "avg_pool1d": (line, 2),
        "avg_pool1d_backward": (half, line.shape, 2),
        "global_max_pool2d": (x,),
        "global_avg_pool2d": (x,),
        "softmax": (x,),
        "log_softmax": (x,),
        "im2col": (x, 3),
        "col2im": (col, (8, 8), 3),
    }
    if not torch:
        return {name: (arguments, None) for name, arguments in calls.items()}
    of = functools.partial
    f, aten, t = torch.nn.functional, torch.ops.aten, torch.from_numpy
    x, weight, bias, dy, pooled, col = map(t, (x, weight, bias, dy, pooled, col))
    wide, line, taps, dline = map(t, (wide, line, taps, dline))
    one, two, none = [1, 1], [2, 2], [0, 0]
    _, indices = aten.max_pool2d_with_indices(x, two)
    back = of(aten.convolution_backward)
    peers = {
        "conv2d": of(f.conv2d, x, weight, bias),
        "conv2d_backward": of(back, dy, x, weight, [1], one, none, one, False, none, 1, [True] * 3),
        "conv_transpose2d": of(f.conv_transpose2d, x, weight, bias),
        "conv_transpose2d_backward": of(
            back, wide, x, weight, [1], one, none, one, True, none, 1, [True] * 3
        ),
        "conv1d": of(f.conv1d, line, taps, bias),
        "conv1d_backward": of(
            back, dline, line, taps, [1], [1], [0], [1], False, [0], 1, [True] * 3
        ),
        "max_pool2d": of(f.max_pool2d, x, 2),
        "max_pool2d_backward": of(
            aten.max_pool2d_with_indices_backward, pooled, x, two, two, none, one, False, indices
        ),
        "avg_pool2d": of(f.avg_pool2d, x, 2),
        "avg_pool2d_backward": of(
            aten.avg_pool2d_backward, pooled, x, two, two, none, False, True, None
        ),
        "max_pool1d": of(f.max_pool1d, line, 2),
        "avg_pool1d": of(f.avg_pool1d, line, 2),
        "global_max_pool2d": of(f.adaptive_max_pool2d, x, 1),
        "global_avg_pool2d": of(f.adaptive_avg_pool2d, x, 1),
        "softmax": of(torch.softmax, x, -1),
        "log_softmax": of(torch.log_softmax, x, -1),
        "im2col": of(f.unfold, x, 3),
        "col2im": of(f.fold, col, (8, 8), 3),
    }
    return {name: (arguments, peers.get(name)) for name, arguments in calls.items()}


# Pooling of 2 x 2 pixels as people write it in NumPy.


def pool_of_slices(name, x):
    """Return the contenders of one pooling in float64, on one thread."""
    a, b = x[:, :, ::2, ::2], x[:, :, ::2, 1::2]
    c, d = x[:, :, 1::2, ::2], x[:, :, 1::2, 1::2]
    if name == "max_pool2d":
        slices = lambda: np.maximum(np.maximum(a, b), np.maximum(c, d))  # noqa: E731
    else:
        slices = lambda: (a + b + c + d) * 0.25  # noqa: E731
    pool = getattr(kernels, name)
    return {OURS: lambda: pool(x, 2, num_threads=1), "four slices": slices}


SLICED_SHAPES = ((64, 16, 10, 10), (64, 6, 28, 28))
