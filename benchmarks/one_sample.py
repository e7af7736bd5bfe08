"""Break down the time of one image through LeNet-5, and compare two convolution algorithms.

    python benchmarks/one_sample.py [--repeats 3000] [--images 1] [--pooling max]

Uses one thread and plain arrays. Prints the minimum over all repeats of ten calls each, in
microseconds. The time of a part is the difference between LeNet-5 truncated after it and before it.
Convolution uses the two algorithms with 16 channels side by side: a program of one op, and strips.
For several images, in tiles of 16, only the breakdown per tile is printed, and a repeat is one
call.
"""

import argparse
import copy
import time

import numpy as np
from lenet5c.kernels.engine._program import Program

import lenet5c
from lenet5c import nn
from lenet5c.kernels.direct import _direct, strips
from lenet5c.kernels.engine import lowering, ops
from lenet5c.kernels.simd import dispatch

CONVOLUTIONS = {"first": (1, 32, 6), "second": (6, 14, 16)}  # channels, side, filters of 5 x 5
KERNEL = (5, 5)
CALLS = 10


def least(call, repeats, calls=CALLS):
    """Return the minimum time of a call in microseconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - began) / calls)
    return min(times) * 1e6


def aligned(shape):
    """Return an array aligned to a cache line; copies to others may be much slower."""
    memory = np.empty(np.prod(shape) + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + np.prod(shape)].reshape(shape)


def parts(model):
    """Return the parts, each with its last layer."""
    ends = {"pool1": "first convolution, its pooling and ReLU", "pool2": "the second, likewise"}
    names = list(model.layers)
    return [
        (what, {name: model.layers[name] for name in names[: names.index(end) + 1]})
        for end, what in {**ends, "fc3": "fully connected layers"}.items()
    ]


def measure_tiles(repeats, images, pooling):
    """Yield parts of a tile with their microseconds, then the whole."""
    lenet5c.set_num_threads(1)
    x = np.random.default_rng(0).standard_normal((images, 1, 32, 32)).astype(np.float32)
    tiles, runs = -(-images // 16), {}
    for what, layers in parts(nn.LeNet5(pooling=pooling, rng=0)):
        outputs = nn.Sequential(copy.deepcopy(layers)).compile(x.shape[1:])
        out = aligned((images, *outputs.output_shape))
        runs[what] = lambda outputs=outputs, out=out: outputs(x, out)
    times = dict.fromkeys(runs, np.inf)
    for _ in range(repeats):  # in turns: a machine's speed wanders
        for what, run in runs.items():
            times[what] = min(times[what], least(run, 1, 1) / tiles)
    before = 0
    for what, whole in times.items():
        yield what, whole - before
        before = whole
    yield "all", before


def measure_budget(repeats, pooling):
    """Yield parts of a prediction with their microseconds, then the total."""
    lenet5c.set_num_threads(1)
    x = np.random.default_rng(0).standard_normal((1, 1, 32, 32)).astype(np.float32)
    model = nn.LeNet5(pooling=pooling, rng=0)
    one, other = np.ones((2, 1, 1), np.float32)  # an output over its input takes a copy
    empty = nn.Sequential(nn.ReLU()).compile((1,))
    before = least(lambda: empty(one, other), repeats)
    yield "call: arguments, buffers, the lock", before
    yield "a new array for the result", least(lambda: empty(one), repeats) - before
    for what, layers in parts(model):
        outputs = nn.Sequential(copy.deepcopy(layers)).compile(x.shape[1:])
        out = aligned((1, *outputs.output_shape))
        whole = least(lambda outputs=outputs, out=out: outputs(x, out), repeats)
        yield what, whole - before
        before = whole
    outputs, weight = model.compile(), model.params["conv2.weight"][0, 0, 0]

    def change(call):
        weight[0] += 1
        call()

    changing = least(lambda: change(lambda: outputs(x)), repeats)
    yield (
        "packing, if a filter was changed",
        changing
        - least(lambda: change(lambda: None), repeats)
        - least(lambda: outputs(x), repeats),
    )
    yield "an answer of model.compile()", least(lambda: outputs(x), repeats)
    yield "an answer of model.forward", least(lambda: model.forward(x), repeats)


def calls(channels, side, filters):
    """Return forward and backward calls of each algorithm."""
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
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--pooling", choices=["avg", "max"], default="max")
    options = parser.parse_args()
    budget = measure_budget(options.repeats, options.pooling)
    if options.images > 1:
        budget = measure_tiles(options.repeats, options.images, options.pooling)
    for what, microseconds in budget:
        print(f"{what:40}{microseconds:8.2f}")
    if options.images > 1:
        return
    print(f"\n{'convolution':14}{'':10}{'in a program':>14}{'in strips':>12}")
    for name, settings in CONVOLUTIONS.items():
        for direction, ways in calls(*settings).items():
            program, in_strips = (least(way, options.repeats) for way in ways)
            print(f"{name:14}{direction:10}{program:14.1f}{in_strips:12.1f}")


if __name__ == "__main__":
    main()
