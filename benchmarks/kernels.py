"""Each function of lenet5c.kernels against PyTorch and NumPy, on LeNet-5's shapes and common ones.

    python benchmarks/kernels.py [--kernels conv2d …] [--shapes conv1 …] [--batches 1 …]
        [--dtype float64] [--threads 2] [--repeats 5]
    python benchmarks/kernels.py --memory [...]

lenet5c and NumPy work on arrays, PyTorch on tensors made beforehand, without autograd; its backward
passes are the ATen operators alone. All allocate their results. PyTorch's max_pool2d_backward is
given the indices that its forward pass kept, NumPy's the result of it; lenet5c's finds the maxima
again. The rows max_pool2d_both, forward with what backward needs and then backward, are the fair
ones. NumPy's functions are in benchmarks/numpy_kernels.py; its im2col is a view where windows are
one pixel. Before anything is timed, all results are compared.

A dash: left out, because the column matrix of the batch would be larger than --limit.

With --memory: how much the resident memory of a new process grows during one call, beyond inputs
and results. A call on a small shape comes first, so that the threads and code of the library do not
count.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np
import numpy_kernels
from common import (
    NUMPY,
    OURS,
    Comparison,
    Peak,
    Table,
    check_agreement,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
)

from lenet5c import kernels

TOLERANCE = 1e-4


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
    dtype: str = "float32"

    @property
    def out_size(self):
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def taps(self):
        """Multiply-adds of one output element."""
        return self.channels // self.groups * self.kernel**2

    def multiply_adds(self, batch):
        return batch * self.out * self.out_size**2 * self.taps

    def column_bytes(self, batch):
        pixels = batch * self.channels * self.kernel**2 * self.out_size**2
        return np.dtype(self.dtype).itemsize * pixels


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
SMALL = {"convolution": Shape(1, 16, 6, 5), "pooling": Shape(6, 28, 6, 2, stride=2)}


# A case returns the contenders of one kernel, name -> callable without arguments; `torch` is the
# module or None.


def conv2d(shape, batch, torch):
    x, weight, bias, _ = convolution_arrays(shape, batch)
    settings = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
    runs = {OURS: lambda: kernels.conv2d(x, weight, bias, **settings)}
    if torch:
        tensors = [torch.from_numpy(array) for array in (x, weight, bias)]
        runs["PyTorch"] = lambda: torch.nn.functional.conv2d(*tensors, **settings)
    runs[NUMPY] = lambda: numpy_kernels.conv2d(x, weight, bias, *settings.values())
    return runs


def conv2d_backward(shape, batch, torch):
    x, weight, _, dy = convolution_arrays(shape, batch)
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


def max_pool2d(shape, batch, torch):
    x, _ = pooling_arrays(shape, batch)
    window = (shape.kernel, shape.stride, shape.padding)
    runs = {OURS: lambda: kernels.max_pool2d(x, *window)}
    if torch:
        tensor = torch.from_numpy(x)
        runs["PyTorch"] = lambda: torch.nn.functional.max_pool2d(tensor, *window)
    runs[NUMPY] = lambda: numpy_kernels.max_pool2d(x, *window)
    return runs


def max_pool2d_backward(shape, batch, torch):
    x, dy = pooling_arrays(shape, batch)
    window = (shape.kernel, shape.stride, shape.padding)
    runs = {OURS: lambda: kernels.max_pool2d_backward(dy, x, *window)}
    if torch:
        tensors = [torch.from_numpy(array) for array in (dy, x)]
        _, indices = torch.ops.aten.max_pool2d_with_indices(tensors[1], *pairs(*window))
        runs["PyTorch"] = lambda: torch.ops.aten.max_pool2d_with_indices_backward(
            *tensors, *pairs(*window), [1, 1], False, indices
        )
    y = numpy_kernels.max_pool2d(x, *window)
    runs[NUMPY] = lambda: numpy_kernels.max_pool2d_backward(dy, x, y, *window)
    return runs


def max_pool2d_both(shape, batch, torch):
    x, dy = pooling_arrays(shape, batch)
    window = (shape.kernel, shape.stride, shape.padding)
    runs = {
        OURS: lambda: (kernels.max_pool2d(x, *window), kernels.max_pool2d_backward(dy, x, *window))
    }
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


def avg_pool2d(shape, batch, torch):
    x, _ = pooling_arrays(shape, batch)
    window = (shape.kernel, shape.stride, shape.padding)
    runs = {OURS: lambda: kernels.avg_pool2d(x, *window)}
    if torch:
        tensor = torch.from_numpy(x)
        runs["PyTorch"] = lambda: torch.nn.functional.avg_pool2d(tensor, *window)
    runs[NUMPY] = lambda: numpy_kernels.avg_pool2d(x, *window)
    return runs


def avg_pool2d_backward(shape, batch, torch):
    x, dy = pooling_arrays(shape, batch)
    window = (shape.kernel, shape.stride, shape.padding)
    runs = {OURS: lambda: kernels.avg_pool2d_backward(dy, x.shape, *window)}
    if torch:
        tensors = [torch.from_numpy(array) for array in (dy, x)]
        runs["PyTorch"] = lambda: torch.ops.aten.avg_pool2d_backward(
            *tensors, *pairs(*window), False, True, None
        )
    runs[NUMPY] = lambda: numpy_kernels.avg_pool2d_backward(dy, x.shape, *window)
    return runs


def im2col(shape, batch, torch):
    x = convolution_arrays(shape, batch)[0]
    window = {"stride": shape.stride, "padding": shape.padding}
    runs = {OURS: lambda: kernels.im2col(x, shape.kernel, **window)}
    if torch:
        tensor = torch.from_numpy(x)
        runs["PyTorch"] = lambda: torch.nn.functional.unfold(tensor, shape.kernel, **window)
    runs[NUMPY] = lambda: numpy_kernels.im2col(x, shape.kernel, shape.stride, shape.padding)
    return runs


def col2im(shape, batch, torch):
    rng = np.random.default_rng(0)
    columns = rng.standard_normal(
        (batch, shape.channels * shape.kernel**2, shape.out_size**2), shape.dtype
    )
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


CONVOLUTION_KERNELS = (conv2d, conv2d_backward, im2col, col2im)
POOLING_KERNELS = (
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_both,
    avg_pool2d,
    avg_pool2d_backward,
)
KERNELS = {case.__name__: case for case in CONVOLUTION_KERNELS + POOLING_KERNELS}
# Multiply-adds of a kernel, as multiples of the convolution's forward pass; for the others, memory
# is what counts.
PASSES = {"conv2d": 1, "conv2d_backward": 2}


def convolution_arrays(shape, batch):
    """x, weight, bias, dy."""
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal(size, shape.dtype)
        for size in (
            (batch, shape.channels, shape.size, shape.size),
            (shape.out, shape.channels // shape.groups, shape.kernel, shape.kernel),
            (shape.out,),
            (batch, shape.out, shape.out_size, shape.out_size),
        )
    ]


def pooling_arrays(shape, batch):
    """x, dy."""
    x, _, _, dy = convolution_arrays(shape, batch)
    return x, dy


def pairs(*numbers):
    return [[number, number] for number in numbers]


def arrays(result):
    """Return a result, one array or a tuple, as a list of NumPy arrays."""
    return [np.asarray(each) for each in (result if isinstance(result, tuple) else (result,))]


def is_left_out(kernel, name, shape, batch, limit):
    """Return whether the column matrix of im2col, col2im or NumPy's convolution is too large."""
    has_columns = kernel in ("im2col", "col2im") or name == NUMPY
    return has_columns and shape.column_bytes(batch) > limit


def main():
    parser = make_parser(__doc__, repeats=5, seconds=0.02)
    add = parser.add_argument
    add(
        "--kernels",
        nargs="+",
        choices=KERNELS,
        metavar="NAME",
        help=f"of {', '.join(KERNELS)} (default: all)",
    )
    add(
        "--shapes",
        nargs="+",
        choices=SHAPES,
        default=list(SHAPES),
        metavar="NAME",
        help=f"of {', '.join(SHAPES)} (default: all)",
    )
    add(
        "--batches",
        nargs="+",
        type=positive,
        default=[1, 32, 128],
        metavar="N",
        help="(default: %(default)s)",
    )
    add("--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)")
    add(
        "--limit",
        type=int,
        default=256,
        metavar="MB",
        help="of a column matrix (default: %(default)s)",
    )
    add(
        "--memory",
        action="store_true",
        help="instead of times; of conv2d and conv2d_backward if no kernels are named",
    )
    options = parser.parse_args()
    limit = options.limit * 2**20

    peers = load_peers("PyTorch")
    set_threads(options.threads, peers)
    chosen = options.kernels or (list(PASSES) if options.memory else list(KERNELS))
    cases = [
        (kernel, name, batch)
        for kernel in chosen
        for name in options.shapes
        if name in (CONVOLUTIONS if KERNELS[kernel] in CONVOLUTION_KERNELS else POOLINGS)
        for batch in options.batches
    ]
    if not cases:
        parser.error("no kernel of --kernels has a shape of --shapes")
    names = [OURS, *(["PyTorch"] if "PyTorch" in peers else []), NUMPY]
    (compare_memory if options.memory else compare_times)(cases, names, limit, options, peers)


def compare_times(cases, names, limit, options, peers):
    print_header(
        options.threads,
        peers,
        f"{options.repeats} timings each, in turns, of at least {options.seconds} s. "
        f"{Comparison.NOTE}",
        f"Checked before: all results agree within {TOLERANCE:.0e} of the largest value.",
    )
    torch = peers.get("PyTorch")
    peak = Peak(options.threads)
    table = Comparison({"kernel": 19, "shape": 11, "batch": 5}, names, left=2)
    with torch.no_grad() if torch else nullcontext():
        for kernel, name, batch in cases:
            shape = replace(SHAPES[name], dtype=options.dtype)
            if is_left_out(kernel, OURS, shape, batch, limit):
                table.row([kernel, name, batch], {})
                continue
            runs = KERNELS[kernel](shape, batch, torch)
            if is_left_out(kernel, NUMPY, shape, batch, limit):
                del runs[NUMPY]
            results = {contender: arrays(run()) for contender, run in runs.items()}
            check_agreement(f"{kernel} {name} {batch}", results, TOLERANCE)
            del results
            times = interleaved(runs | {"peak": peak}, options.repeats, options.seconds)
            # The peak is of float32; of float64 it is half of that.
            flop = shape.multiply_adds(batch) * np.dtype(shape.dtype).itemsize // 2
            flop *= PASSES.get(kernel, 0)
            table.row(
                [kernel, name, batch], times, peak.share(flop, min(times[OURS])) if flop else "-"
            )
    print(f"\n{peak}")


def compare_memory(cases, names, limit, options, peers):
    print_header(
        options.threads, peers, "Peak memory of one call, in MB, beyond its inputs and results."
    )
    table = Table(
        {"kernel": 19, "shape": 11, "batch": 5, "x itself": 0, **dict.fromkeys(names, 12)}, left=2
    )
    for kernel, name, batch in cases:
        cells = []
        shape = replace(SHAPES[name], dtype=options.dtype)
        for contender in names:
            if is_left_out(kernel, contender, shape, batch, limit):
                cells.append("-")
                continue
            # A process for each: what an earlier call gave back to the allocator would hide what
            # this one takes.
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                grown = process.submit(
                    scratch, kernel, shape, batch, contender, options.threads
                ).result()
            cells.append(f"{max(grown, 0) / 2**20:.1f}")
        x_bytes = np.dtype(shape.dtype).itemsize * batch * shape.channels * shape.size**2
        table.row(kernel, name, batch, f"{x_bytes / 2**20:.1f}", *cells)


def scratch(kernel, shape, batch, contender, threads):
    """By how many bytes the peak of this process grows in a call, beyond the results."""
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
    ):  # the parent has said which peers are missing
        peers = load_peers("PyTorch") if contender == "PyTorch" else load_peers()
    set_threads(threads, peers)
    torch = peers.get("PyTorch")
    with torch.no_grad() if torch else nullcontext():
        small = SMALL["convolution" if KERNELS[kernel] in CONVOLUTION_KERNELS else "pooling"]
        KERNELS[kernel](small, 64, torch)[contender]()
        run = KERNELS[kernel](shape, batch, torch)[contender]
        reset_peak_memory()
        before = peak_memory()
        results = arrays(run())
        return peak_memory() - before - sum(array.nbytes for array in results)


def peak_memory():
    """Return the most bytes that were resident in this process, on Linux since the last reset."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory():
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


if __name__ == "__main__":
    main()
