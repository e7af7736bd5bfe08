"""The functions on plain arrays against PyTorch's, forward and backward, on one shape after the other.

    python benchmarks/functional.py [--batch 1 32] [--threads 1] [--only conv ...] [--seconds 0.5]

Arrays and tensors are made beforehand, and backward is PyTorch's backward operator alone (its max pooling is given the
indices that its forward pass stored). Both take turns; the figures are the best times, in milliseconds.
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from common import interleaved, machine, print_table

from lenet5c import kernels

aten = torch.ops.aten

# name: channels, image, then output channels, kernel, stride, padding, groups of a convolution; window of a pooling
CONVOLUTIONS = {
    "LeNet conv1": (1, 32, 6, 5, 1, 0, 1),
    "LeNet conv2": (6, 14, 16, 5, 1, 0, 1),
    "3x3 64-64 56": (64, 56, 64, 3, 1, 1, 1),
    "3x3 128-128 28": (128, 28, 128, 3, 1, 1, 1),
    "7x7/2 3-64 224": (3, 224, 64, 7, 2, 3, 1),
    "1x1 64-256 56": (64, 56, 256, 1, 1, 0, 1),
    "depthwise 64 56": (64, 56, 64, 3, 1, 1, 64),
}
POOLINGS = {"6x28x28": (6, 28, 2), "16x10x10": (16, 10, 2), "64x112x112": (64, 112, 2)}


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def convolution(batch, channels, image, outputs, kernel, stride, padding, groups):
    """name -> (ours, PyTorch's)"""
    x, weight = normal(batch, channels, image, image), normal(outputs, channels // groups, kernel, kernel)
    bias = normal(outputs)
    options = {"stride": stride, "padding": padding, "groups": groups}
    dy = kernels.conv2d(x, weight, bias, **options)
    tx, tweight, tbias, tdy = map(torch.from_numpy, (x, weight, bias, dy))
    settings = [outputs], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, [True] * 3
    return {
        "forward": (
            lambda: kernels.conv2d(x, weight, bias, **options),
            lambda: F.conv2d(tx, tweight, tbias, **options),
        ),
        "backward": (
            lambda: kernels.conv2d_backward(dy, x, weight, **options),
            lambda: aten.convolution_backward(tdy, tx, tweight, *settings),
        ),
    }


def pooling(batch, channels, image, size):
    x = normal(batch, channels, image, image)
    dy = kernels.max_pool2d(x, size)
    tx, tdy = map(torch.from_numpy, (x, dy))
    indices = F.max_pool2d(tx, size, return_indices=True)[1]
    window = [size] * 2, [size] * 2, [0, 0]
    return {
        "max": (lambda: kernels.max_pool2d(x, size), lambda: F.max_pool2d(tx, size)),
        "max backward": (
            lambda: kernels.max_pool2d_backward(dy, x, size),
            lambda: aten.max_pool2d_with_indices_backward(tdy, tx, *window, [1, 1], False, indices),
        ),
        "avg": (lambda: kernels.avg_pool2d(x, size), lambda: F.avg_pool2d(tx, size)),
        "avg backward": (
            lambda: kernels.avg_pool2d_backward(dy, x.shape, size),
            lambda: aten.avg_pool2d_backward(tdy, tx, *window, False, True, None),
        ),
    }


def best(ours, theirs, seconds):
    """The best time of each, in turns for about so many seconds, at least five times."""
    contenders = {"ours": ours, "theirs": theirs}
    interleaved(contenders, 1)
    began = time.perf_counter()
    interleaved(contenders, 1)
    repeats = max(5, round(seconds / (time.perf_counter() - began)))
    return [min(times) for times in interleaved(contenders, repeats).values()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32], metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="shapes whose name has one of these")
    parser.add_argument("--seconds", type=float, default=0.5)
    options = parser.parse_args()
    kernels.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    print(f"{machine()}, PyTorch {torch.__version__}; {options.threads} threads\n")
    rows = [("shape", "batch", "", "lenet5c ms", "PyTorch ms", "ratio")]
    shapes = [(name, convolution, shape) for name, shape in CONVOLUTIONS.items()]
    shapes += [(f"pool {name}", pooling, shape) for name, shape in POOLINGS.items()]
    for name, make, shape in shapes:
        if any(word in name for word in options.only):
            for batch in options.batch:
                for what, (ours, theirs) in make(batch, *shape).items():
                    a, b = best(ours, theirs, options.seconds)
                    rows.append((name, str(batch), what, f"{1e3 * a:.3f}", f"{1e3 * b:.3f}", f"{b / a:.2f}"))
    print_table(rows)


if __name__ == "__main__":
    main()
