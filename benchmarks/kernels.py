"""Compare the functions of lenet5c.kernels with PyTorch and NumPy, on shapes of LeNet-5 and others.

    python benchmarks/kernels.py [--tables shapes small slices] [--kernels conv2d …]
        [--shapes conv1 …] [--batches 1 …] [--dtypes float32 …] [--data-format NHWC]
        [--threads 2] [--repeats 5]
    python benchmarks/kernels.py --memory [...]

There are three tables: the shapes at each batch size, in float32 and float64; calls on (1, 1, 8, 8)
with one and several threads, which show the overhead of a call; and poolings in float64 compared
with the maximum or the mean of four slices, on one thread.

lenet5c and NumPy use arrays, PyTorch existing tensors, without autograd; its backward passes are
the ATen operators alone. All allocate their results. max_pool2d_backward uses the indices of the
forward pass (NumPy its result); in max_pool2d_backward_of_x lenet5c finds the maxima again.
max_pool2d_both is the forward pass, with indices, and the backward pass. The NumPy functions are in
benchmarks/numpy_kernels.py; im2col returns a view for windows of one pixel. All results are
compared before the measurements.

With --data-format NHWC, shapes have the channels last, with the kernels of
benchmarks/channels_last.py and without NumPy; tensors of PyTorch have the memory format
channels_last.

A dash means that the case was skipped, because the column matrix is larger than --limit.

With --memory, prints the growth of the resident memory of a new process during one call, without
inputs and results. A call on a small shape comes first, so that threads and code of the library are
not included.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, redirect_stdout, suppress
from functools import partial
from multiprocessing import get_context

import channels_last
import numpy as np
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
    time_cell,
)
from kernel_cases import (
    CONVOLUTION_KERNELS,
    CONVOLUTIONS,
    FIRST,
    KERNELS,
    PASSES,
    POOLINGS,
    SHAPES,
    SLICED_SHAPES,
    arrays,
    pool_of_slices,
    small_calls,
)

from lenet5c import kernels

# Of the largest value.
TOLERANCES = {"float32": 1e-4, "float64": 1e-10}
TABLES = ("shapes", "small", "slices")


def is_left_out(kernel, name, shape, batch, limit, dtype="float32"):
    """Return True if the column matrix of im2col, col2im or NumPy's convolution is too large."""
    has_columns = kernel in ("im2col", "col2im") or name == NUMPY
    return has_columns and shape.column_bytes(batch, dtype) > limit


def main():
    parser = make_parser(__doc__, repeats=5, seconds=0.02)
    add = parser.add_argument
    add(
        "--tables",
        nargs="+",
        choices=TABLES,
        default=TABLES,
        metavar="NAME",
        help=f"one or more of {', '.join(TABLES)} (default: all)",
    )
    add(
        "--dtypes",
        nargs="+",
        choices=TOLERANCES,
        default=list(TOLERANCES),
        metavar="NAME",
        help="float32, float64 (default: both)",
    )
    add(
        "--kernels",
        nargs="+",
        choices=list(dict.fromkeys((*KERNELS, *small_calls("float32", None)))),
        metavar="NAME",
        help=f"one or more of {', '.join(KERNELS)}, or of the small calls (default: all)",
    )
    add(
        "--shapes",
        nargs="+",
        choices=SHAPES,
        default=list(SHAPES),
        metavar="NAME",
        help=f"one or more of {', '.join(SHAPES)} (default: all)",
    )
    add(
        "--batches",
        nargs="+",
        type=positive,
        default=[1, 32, 128],
        metavar="N",
        help="(default: %(default)s)",
    )
    add(
        "--data-format",
        choices=("NCHW", "NHWC"),
        default="NCHW",
        help="layout of the shapes (default: %(default)s)",
    )
    add(
        "--limit",
        type=int,
        default=256,
        metavar="MB",
        help="maximum size of a column matrix (default: %(default)s)",
    )
    add(
        "--memory",
        action="store_true",
        help="measure memory instead of time; default kernels: conv2d and conv2d_backward",
    )
    options = parser.parse_args()
    is_last = options.data_format == "NHWC"
    if is_last and options.memory:
        parser.error("--memory has no --data-format NHWC")

    peers = load_peers("PyTorch")
    set_threads(options.threads, peers)
    if options.memory:
        names = [OURS, *(["PyTorch"] if "PyTorch" in peers else []), NUMPY]
        cases = chosen_cases(options.kernels or ["conv2d", "conv2d_backward"], options)
        if not cases:
            parser.error("no kernel of --kernels has a shape of --shapes")
        compare_memory(cases, names, options.limit * 2**20, options, peers)
        return
    print_header(
        options.threads,
        peers,
        f"{options.repeats} timings each, in turns, of at least {options.seconds} s. "
        f"{Comparison.NOTE}",
        f"Checked before: all results agree within {TOLERANCES['float32']:.0e} (float64: "
        f"{TOLERANCES['float64']:.0e}) of the largest value.",
        *(["Channels last: arrays NHWC, PyTorch's memory format channels_last."] * is_last),
    )
    torch = peers.get("PyTorch")
    with torch.no_grad() if torch else nullcontext():
        of_format = channels_last.CASES if is_last else KERNELS
        chosen = [each for each in options.kernels or KERNELS if each in of_format]
        cases = chosen_cases(chosen, options)
        if "shapes" in options.tables and cases:
            compare_times(cases, options, torch)
        if is_last:
            return
        if "small" in options.tables:
            compare_small_calls(options, torch)
        if "slices" in options.tables:
            compare_with_slices(options)


def chosen_cases(chosen, options):
    """Return (kernel, shape, batch) of the options."""
    return [
        (kernel, name, batch)
        for kernel in chosen
        if kernel in KERNELS
        for name in options.shapes
        if name in (CONVOLUTIONS if KERNELS[kernel] in CONVOLUTION_KERNELS else POOLINGS)
        for batch in options.batches
    ]


def compare_times(cases, options, torch):
    limit = options.limit * 2**20
    peak, is_last = Peak(options.threads), options.data_format == "NHWC"
    of_format = channels_last.CASES if is_last else KERNELS
    names = [OURS, *(["PyTorch"] if torch else []), *([] if is_last else [NUMPY])]
    keys = {"kernel": 25, "shape": 11, "batch": 5, "dtype": 7}
    table = Comparison(keys, names, left=2)
    for kernel, name, batch in cases:
        for dtype in options.dtypes:
            shape, row = SHAPES[name], [kernel, name, batch, dtype]
            if is_left_out(kernel, OURS, shape, batch, limit, dtype):
                table.row(row, {})
                continue
            runs = of_format[kernel](shape, batch, torch, dtype)
            if is_left_out(kernel, NUMPY, shape, batch, limit, dtype):
                runs.pop(NUMPY, None)
            results = {contender: arrays(run()) for contender, run in runs.items()}
            if is_last:
                results[OURS] = channels_last.channels_first(kernel, results[OURS])
            check_agreement(" ".join(map(str, row)), results, TOLERANCES[dtype])
            del results
            times = interleaved(runs | {"peak": peak}, options.repeats, options.seconds)
            flop = 2 * PASSES.get(kernel, 0) * shape.multiply_adds(batch)
            # A vector has half as many elements of float64.
            flop *= np.dtype(dtype).itemsize // 4
            table.row(row, times, peak.share(flop, min(times[OURS])) if flop else "-")
    print(f"\n{peak}\n")


def compare_small_calls(options, torch):
    several = f"{max(options.threads, 2)} threads"
    names = ["1 thread", several, *(["PyTorch"] if torch else [])]
    ratios = {f"{name} ×": 0 for name in names[1:]}
    columns = {"call on (1, 1, 8, 8)": 25, "dtype": 7, **dict.fromkeys(names, 17), **ratios}
    table = Table(columns)
    for dtype in options.dtypes:
        for name, (arguments, peer) in small_calls(dtype, torch).items():
            if options.kernels and name not in options.kernels:
                continue
            call = partial(getattr(kernels, name), *arguments)
            runs = {
                "1 thread": partial(call, num_threads=1),
                several: partial(call, num_threads=max(options.threads, 2)),
            } | ({"PyTorch": peer} if peer else {})
            results = {contender: arrays(run()) for contender, run in runs.items()}
            check_agreement(f"{name} (1, 1, 8, 8) {dtype}", results, TOLERANCES[dtype])
            times = interleaved(runs, options.repeats, options.seconds)
            least = min(times["1 thread"])
            table.row(
                name,
                dtype,
                *(time_cell(times.get(each)) for each in names),
                *(f"{min(times[e]) / least:.2f}" if e in times else "-" for e in names[1:]),
            )
    print("\nMinima are compared.\n")


def compare_with_slices(options):
    names = [OURS, "four slices"]
    table = Comparison({"pooling in float64, 1 thread": 0, "shape": 15}, names, left=2)
    for name in ("max_pool2d", "avg_pool2d"):
        for shape in SLICED_SHAPES:
            x = np.random.default_rng(0).standard_normal(shape)
            runs = pool_of_slices(name, x)
            results = {contender: arrays(run()) for contender, run in runs.items()}
            check_agreement(f"{name} {shape}", results, TOLERANCES["float64"])
            times = interleaved(runs, options.repeats, options.seconds)
            table.row([name, "x".join(map(str, shape))], times)


def compare_memory(cases, names, limit, options, peers):
    print_header(
        options.threads, peers, "Peak memory of one call, in MB, beyond its inputs and results."
    )
    table = Table(
        {"kernel": 19, "shape": 11, "batch": 5, "x itself": 0, **dict.fromkeys(names, 12)}, left=2
    )
    for kernel, name, batch in cases:
        cells = []
        for contender in names:
            if is_left_out(kernel, contender, SHAPES[name], batch, limit):
                cells.append("-")
                continue
            # A process for each: what an earlier call gave back to the allocator would hide what
            # this one takes.
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                grown = process.submit(
                    scratch, kernel, name, batch, contender, options.threads
                ).result()
            cells.append(f"{max(grown, 0) / 2**20:.1f}")
        x_bytes = 4 * batch * SHAPES[name].channels * SHAPES[name].size ** 2
        table.row(kernel, name, batch, f"{x_bytes / 2**20:.1f}", *cells)


def scratch(kernel, name, batch, contender, threads):
    """Return the growth in bytes of the peak memory during a call, without the results."""
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
    ):  # the parent has said which peers are missing
        peers = load_peers("PyTorch") if contender == "PyTorch" else load_peers()
    set_threads(threads, peers)
    torch = peers.get("PyTorch")
    with torch.no_grad() if torch else nullcontext():
        small = FIRST["convolution" if KERNELS[kernel] in CONVOLUTION_KERNELS else "pooling"]
        KERNELS[kernel](small, 64, torch)[contender]()
        run = KERNELS[kernel](SHAPES[name], batch, torch)[contender]
        reset_peak_memory()
        before = peak_memory()
        results = arrays(run())
        return peak_memory() - before - sum(array.nbytes for array in results)


def peak_memory():
    """Return the peak resident memory in bytes, on Linux since the last reset."""
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
