"""Shared by all benchmarks: options, other engines, checks, timing in turns, FMA peak, tables."""

import argparse
import os
import platform
import statistics
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
from workers import calls_to_last, timed

import lenet5c
from lenet5c import kernels
from lenet5c.commands.cli import prepare_streams
from lenet5c.kernels.simd import _peak, dispatch

OURS = "lenet5c"
NUMPY = "NumPy im2col"
# What a peer needs, by its name here: packages on PyPI and the module of each, its own first.
PEERS = {
    "PyTorch": {"torch": "torch"},
    "ONNX Runtime": {"onnxruntime": "onnxruntime", "onnx": "onnx"},
    "OpenVINO": {"openvino": "openvino", "onnx": "onnx"},
    "LiteRT": {"ai-edge-litert": "ai_edge_litert", "flatbuffers": "flatbuffers"},
    "IREE": {
        "iree-base-runtime": "iree.runtime",
        "iree-base-compiler": "iree.compiler",
        "onnx": "onnx",
    },
    "JAX": {"jax": "jax"},
    "threadpoolctl": {"threadpoolctl": "threadpoolctl"},
}
THREADS_SET_BY = {
    OURS: "set_num_threads",
    "PyTorch": "torch.set_num_threads",
    "ONNX Runtime": "intra_op_num_threads, with inter_op_num_threads = 1",
    "OpenVINO": "INFERENCE_NUM_THREADS, with one stream",
    "LiteRT": "num_threads",
    "IREE": "task_topology_max_group_count (one: local-sync)",
    "JAX": "NPROC",
    "threadpoolctl": "threadpoolctl for NumPy's BLAS",
}
ENVIRONMENT = (
    "LENET5C_ISA",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "OMP_PROC_BIND",
)
# Idle threads of one contender's pool spin for some milliseconds after its turn; the next one
# should not feel them.
REST = 0.05


def make_parser(doc, repeats=None, seconds=None):
    """Return a parser with the options of all benchmarks; its help is the file's docstring.

    Options without a default here are left out.
    """
    prepare_streams()
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--threads",
        type=positive,
        default=lenet5c.get_num_threads(),
        metavar="N",
        help="(default: %(default)s)",
    )
    if repeats is not None:
        add(
            "--repeats",
            type=positive,
            default=repeats,
            metavar="N",
            help="turns of each contender (default: %(default)s)",
        )
    if seconds is not None:
        add(
            "--seconds",
            type=float,
            default=seconds,
            metavar="S",
            help="minimum seconds per timing (default: %(default)s)",
        )
    return parser


def add_choices(parser, nets, engines):
    """Add the options that choose of these nets, LeNet-5 unless they say otherwise, and engines."""
    add = parser.add_argument
    add("--nets", nargs="+", choices=nets, default=["lenet5"], metavar="NET", help=", ".join(nets))
    add(
        "--engines",
        nargs="*",
        choices=engines,
        default=list(engines),
        metavar="NAME",
        help=f"one or more of {', '.join(engines)} (default: all)",
    )


def positive(text):
    """Return an argparse type: an integer of at least 1."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not an integer of at least 1")
    return value


def load_peers(*names):
    """Return the installed engines: name -> module."""
    found = {}
    for name in (*names, "threadpoolctl"):
        try:
            found[name], *_ = [import_module(module) for module in PEERS[name].values()]
        except ImportError:
            print(f"{name} is not installed and left out: pip install {' '.join(PEERS[name])}")
    return found


def set_threads(threads, peers):
    """Set the number of threads of all engines except those that set it per session."""
    lenet5c.set_num_threads(threads)
    if "PyTorch" in peers:
        peers["PyTorch"].set_num_threads(threads)
    if "threadpoolctl" in peers:
        peers["threadpoolctl"].threadpool_limits(threads, "blas")


def print_header(threads, peers, *notes):
    """Print the machine, the thread settings, the environment and additional lines."""
    print(f"{machine(peers)}; {threads} thread{'s' if threads > 1 else ''}")
    ways = ", ".join(way for name, way in THREADS_SET_BY.items() if name == OURS or name in peers)
    blas = "" if "threadpoolctl" in peers else "; NumPy's BLAS keeps its own default"
    print(f"Threads are set by {ways}{blas}.")
    if given := [f"{name}={os.environ[name]}" for name in ENVIRONMENT if name in os.environ]:
        print(f"In the environment: {', '.join(given)}.")
    print(*notes, "", sep="\n", flush=True)


def machine(peers):
    """Return one line: processor, cores, system, versions."""
    others = "".join(
        f", {name} {version(next(iter(PEERS[name])))}" for name in peers if name != "threadpoolctl"
    )
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}; "
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"lenet5c {lenet5c.__version__} ({kernels.isa}){others}"
    )


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def check_agreement(what, results, tolerance):
    """End the program unless each contender's arrays agree with the first's.

    `results` maps names to lists of arrays. The error of an array is its largest difference,
    divided by the largest magnitude of the first contender's. Returns the largest error.
    """
    (_, expected), *others = results.items()
    worst = 0.0
    for name, arrays in others:
        for array, right in zip(arrays, expected, strict=True):
            array, right = np.asarray(array), np.asarray(right)
            if array.shape != right.shape:
                sys.exit(f"{what}: {name} gives the shape {array.shape}, lenet5c {right.shape}")
            error = float(np.abs(array - right).max() / max(np.abs(right).max(), 1e-30))
            if not error <= tolerance:
                sys.exit(
                    f"{what}: {name} and lenet5c differ by {error:.1e}; "
                    f"the tolerance is {tolerance:.0e}"
                )
            worst = max(worst, error)
    return worst


def interleaved(contenders, repeats, seconds=0.0):
    """Time callables in turns; return name -> list of seconds per call.

    Each is called once to warm up, and then as often a turn as it takes to last `seconds`. Each
    round begins with another contender, and each turn after a rest.
    """
    calls = {name: calls_to_last(run, seconds) for name, run in contenders.items()}
    times = {name: [] for name in contenders}
    names = list(contenders)
    for first in range(repeats):
        first %= len(names)
        for name in names[first:] + names[:first]:
            time.sleep(REST)
            if calls[name] > 1:
                contenders[name]()
            times[name].append(timed(contenders[name], calls[name]) / calls[name])
    return times


class Peak:
    """A contender that only does multiply-adds in registers.

    `best` is the largest number of operations a second so far.
    """

    def __init__(self, threads, rounds=100_000_000):
        self.threads, self.rounds = threads, rounds
        self.best = 0.0
        for _ in range(5):
            self()

    def __call__(self):
        began = time.perf_counter()
        operations = _peak.burst(dispatch.tiles, self.rounds, self.threads)
        self.best = max(self.best, operations / (time.perf_counter() - began))

    def share(self, flop, seconds):
        return f"{100 * flop / seconds / self.best:.0f} %"

    def __str__(self):
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"FMA peak measured on {threads}: {self.best / 1e9:.0f} GFLOP/s."


class Table:
    """Table printed row by row.

    Columns are heading -> width; the first `left` are aligned to the left.
    """

    def __init__(self, columns, left=1):
        self.widths = [max(width, len(heading)) for heading, width in columns.items()]
        self.left = left
        self.row(*columns)

    def row(self, *cells):
        pairs = enumerate(zip(map(str, cells), self.widths, strict=True))
        aligned = (
            cell.ljust(width) if i < self.left else cell.rjust(width) for i, (cell, width) in pairs
        )
        print("  ".join(aligned).rstrip(), flush=True)


class Comparison:
    """A table of contenders: minimum and median of each, and its median by that of the first."""

    NOTE = (
        "Times: minimum / median. ×: median divided by lenet5c's median, from the same turns. "
        "Of FMA peak: lenet5c at its minimum."
    )

    def __init__(self, keys, contenders, left=1):
        self.contenders = contenders
        times = dict.fromkeys(contenders, 17)
        ratios = {f"{name} ×": 0 for name in contenders[1:]}
        self.table = Table({**keys, **times, **ratios, "of FMA peak": 0}, left)

    def row(self, keys, times, share="-"):
        """Print a row; `times` maps contenders to lists of seconds, a missing one is a dash."""
        ours = statistics.median(times[self.contenders[0]]) if times else None
        cells = [time_cell(times.get(name)) for name in self.contenders]
        others = (times.get(name) for name in self.contenders[1:])
        ratios = [f"{statistics.median(other) / ours:.2f}" if other else "-" for other in others]
        self.table.row(*keys, *cells, *ratios, share)


class Ranking:
    """A table with a line for each contender: times, and its median by that of the first."""

    NOTE = (
        "Times: minimum / median. ×: median divided by lenet5c's median, from the same turns. "
        "Of FMA peak: the arithmetic of the definition, at the minimum."
    )

    def __init__(self, keys):
        self.table = Table(
            {**keys, "engine": 24, "time": 17, "×": 6, "of FMA peak": 0}, len(keys) + 1
        )

    def rows(self, keys, times, labels, peak, flop):
        """Print a row of each contender but `peak`; `labels` maps some to longer names."""
        ours = statistics.median(times[OURS])
        for name, taken in times.items():
            if name != "peak":
                ratio = f"{statistics.median(taken) / ours:.2f}"
                share = peak.share(flop, min(taken))
                self.table.row(*keys, labels.get(name, name), time_cell(taken), ratio, share)


def time_cell(times):
    """Return 'minimum / median unit' of a list of seconds."""
    if not times:
        return "-"
    least, middle = min(times), statistics.median(times)
    factor, unit = next(
        (f, u) for f, u in ((1, "s"), (1e3, "ms"), (1e6, "µs")) if least * f >= 1 or u == "µs"
    )
    return f"{digits(least * factor)} / {digits(middle * factor)} {unit}"


def digits(value):
    """Format with three significant digits, without an exponent."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
