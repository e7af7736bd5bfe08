"""What the benchmarks share: the machine's line, interleaved timing, the FMA peak, a table."""

import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

import lenet5c
from lenet5c import kernels
from lenet5c.kernels import _vector, dispatch

# Floating-point operations of LeNet-5 for one training sample: 1,131,960 multiply-adds. Forward: 416,520; backward
# twice that, without the gradient of the input image (117,600).
TRAIN_FLOP = 2 * 1_131_960


def machine():
    """One line: processor, cores, system, versions."""
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, lenet5c {lenet5c.__version__} ({kernels.isa})"
    )


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def fma_peak(threads, rounds=20_000_000):
    """Floating-point operations a second of nothing but multiply-adds in registers."""
    began = time.perf_counter()
    operations = _vector.burst(dispatch.tiles, rounds, threads)
    return operations / (time.perf_counter() - began)


def interleaved(contenders, repeats):
    """Time callables in turns, so that a noisy moment hits all alike: name -> list of seconds."""
    seconds = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def best_and_median(seconds):
    return min(seconds), statistics.median(seconds)


def print_table(rows):
    """Rows of strings; the first is the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in
                        enumerate(zip(row, widths, strict=True))))  # fmt: skip
