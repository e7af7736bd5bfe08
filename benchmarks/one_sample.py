"""Convolve one sample by the two ways that have 16 channels side by side: in a program, in strips.

    python benchmarks/one_sample.py [--repeats 3000]

One thread; both take and give plain arrays. Least of all repeats in microseconds.
"""

import argparse
import time

import numpy as np
from lenet5c.kernels.engine._program import Program

from lenet5c.kernels.direct import _direct, strips
from lenet5c.kernels.engine import lowering, ops
from lenet5c.kernels.simd import dispatch

CONVOLUTIONS = {"first": (1, 32, 6), "second": (6, 14, 16)}  # channels, side, filters of 5 x 5
KERNEL = (5, 5)


def least(call, repeats):
    """Return the least time of a call in microseconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times) * 1e6


def calls(channels, side, filters):
    """Forward and backward of each way."""
    rng = np.random.default_rng(0)
    size, out = filters * channels * 25, side - 4
    shapes = (channels, side, side), (filters, out, out)
    params, x, dy = (
        rng.standard_normal(n).astype(np.float32)
        for n in (size + filters, np.prod(shapes[0]), np.prod(shapes[1]))
    )
    y, dx, grads = np.empty_like(dy), np.empty_like(x), np.empty_like(params)
    conv = ops.Conv2d(0, size, filters, KERNEL)
    program = Program(lowering.lower(shapes[0], [conv]), dispatch.tiles)
    settings = 1, 1, *shapes, (KERNEL, (1, 1), (0, 0), (1, 1)), 1
    result, data_gradient, weight_gradient = (
        strips.plan("f", purpose, *settings) for purpose in ("y", "dx", "dweight")
    )
    weight, bias, dweight, dbias = params[:size], params[size:], grads[:size], grads[size:]

    def backward_in_strips():
        _direct.convolve(data_gradient, dy, weight, None, dx, 1)
        _direct.weight_gradient(weight_gradient, x, dy, dweight, dbias, 1)

    rows = x[None], dy[None], y[None], dx[None]
    return {
        "forward": (
            lambda: program.forward(rows[0], params, rows[2], 1, by_sample=True),
            lambda: _direct.convolve(result, x, weight, bias, y, 1),
        ),
        "backward": (
            lambda: program.backward(rows[0], rows[1], params, grads, rows[3], 1, by_sample=True),
            backward_in_strips,
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3000)
    options = parser.parse_args()
    print(f"{'convolution':14}{'':10}{'in a program':>14}{'in strips':>12}")
    for name, settings in CONVOLUTIONS.items():
        for direction, ways in calls(*settings).items():
            program, in_strips = (least(way, options.repeats) for way in ways)
            print(f"{name:14}{direction:10}{program:14.1f}{in_strips:12.1f}")


if __name__ == "__main__":
    main()
