"""Compare cykernels, the C surface, with the same functions of lenet5c.kernels.

    python benchmarks/c_surface.py [--batches 1 16 64 128] [--threads 1] [--repeats 15]

The two convolutions of LeNet-5, forward and backward. Calls of cykernels use one thread and
preallocated arrays and scratch, and are made through ctypes, which takes about 2 µs; calls of
lenet5c.kernels use `out` and --threads. The results are compared before the measurements.
"""

import ctypes

import numpy as np
from common import (
    OURS,
    Comparison,
    Peak,
    check_agreement,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
)
from kernel_cases import CONVOLUTIONS, PASSES, convolution_arrays

from lenet5c import kernels
from lenet5c.kernels import cykernels

KERNELS = ("conv2d", "conv2d_backward")
SHAPES = ("conv1", "conv2")
TOLERANCE = 1e-4


def function(name):
    """Return a function of cykernels, whose arguments are addresses."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    capsule = cykernels.__pyx_capi__[name]
    signature = api.PyCapsule_GetName(capsule)
    arguments = [ctypes.c_void_p] * (signature.count(b",") + 1)
    result = ctypes.c_ssize_t if name.endswith("scratch") else ctypes.c_int
    return ctypes.CFUNCTYPE(result, *arguments)(api.PyCapsule_GetPointer(capsule, signature))


def prepare(name, sizes, arrays):
    """Return a call of cykernels.NAME_f32 on these arrays, and what it needs kept in memory."""
    structure = (ctypes.c_ssize_t * len(sizes))(*sizes)
    at = ctypes.addressof(structure)
    scratch = np.empty(function(f"{name}_scratch")(at), np.uint8)
    addresses = [at, *(array.ctypes.data for array in (*arrays, scratch))]
    run = function(f"{name}_f32")
    return lambda: run(*addresses), (structure, arrays, scratch)


def make_runs(kernel, shape, batch, threads):
    """Return name -> callable, and the results that each writes to."""
    x, weight, bias, dy = convolution_arrays(shape, batch)
    sizes = [*x.shape, *weight.shape[:1], *weight.shape[2:], *[shape.stride] * 2]
    sizes += [*[shape.padding] * 2, 1, 1, shape.groups]
    settings = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
    if kernel == "conv2d":
        given, like = (x, weight, bias), (dy,)
    else:
        given, like = (dy, x, weight), (x, weight, bias)
    results = {name: [np.empty_like(array) for array in like] for name in (OURS, "cykernels")}
    out = results[OURS][0] if kernel == "conv2d" else tuple(results[OURS])
    from_numpy = getattr(kernels, kernel)
    from_c, memory = prepare(kernel, sizes, [*given, *results["cykernels"]])
    runs = {
        "cykernels": lambda: (from_c(), memory),
        OURS: lambda: from_numpy(*given, **settings, out=out, num_threads=threads),
    }
    return runs, results


def main():
    parser = make_parser(__doc__, repeats=15, seconds=0.02)
    parser.set_defaults(threads=1)
    parser.add_argument(
        "--batches",
        nargs="+",
        type=positive,
        default=[1, 16, 64, 128],
        metavar="N",
        help="(default: %(default)s)",
    )
    options = parser.parse_args()
    peers = load_peers()
    set_threads(options.threads, peers)
    print_header(
        options.threads,
        peers,
        f"{options.repeats} timings each, in turns, of at least {options.seconds} s. "
        "Times: minimum / median. ×: median divided by that of cykernels, from the same turns.",
        f"Checked before: all results agree within {TOLERANCE:.0e} of the largest value.",
    )
    peak = Peak(1)
    table = Comparison({"kernel": 15, "shape": 5, "batch": 5}, ["cykernels", OURS], left=2)
    for kernel in KERNELS:
        for name in SHAPES:
            for batch in options.batches:
                runs, results = make_runs(kernel, CONVOLUTIONS[name], batch, options.threads)
                for run in runs.values():
                    run()
                check_agreement(f"{kernel} {name} {batch}", results, TOLERANCE)
                times = interleaved(runs | {"peak": peak}, options.repeats, options.seconds)
                flop = 2 * PASSES[kernel] * CONVOLUTIONS[name].multiply_adds(batch)
                share = peak.share(flop, min(times["cykernels"]))
                table.row([kernel, name, batch], times, share)


if __name__ == "__main__":
    main()
