"""Worker of guard.py that measures one of its rows (see workers.py).

    python benchmarks/guard_worker.py ROW THREADS SECONDS

A turn is the minimum of several short timings, each of as many calls as fit in SECONDS. Each row
imports its own dependencies, so that a commit without one of them can run the others.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial

import numpy as np
from workers import calls_to_last, serve

import lenet5c

ONE_SHAPE = (1, 32, 32)
TIMINGS = 8
LONG = {"start", "import", "fast"}


def forward(images, threads):
    """Return a function of images to logits that packs the weights in each call."""
    from lenet5c.nn import LeNet5

    lenet5c.set_num_threads(threads)
    model = LeNet5(pooling="max", rng=0)
    x = np.random.default_rng(0).standard_normal((images, *ONE_SHAPE)).astype(np.float32)
    return partial(model.forward, x)


def kernel(name, shape, batch, threads):
    """Return a function on arrays, of the cases of kernels.py."""
    from common import OURS
    from kernel_cases import KERNELS, SHAPES

    lenet5c.set_num_threads(threads)
    return KERNELS[name](SHAPES[shape], batch, None)[OURS]


def interpreter(*arguments):
    """Run a new interpreter that imports the same lenet5c."""
    return partial(
        subprocess.run,
        [sys.executable, "-P", *arguments],
        cwd=tempfile.gettempdir(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def fast(threads):
    """Run `lenet5c train --recipe fast`, from its start to its exit."""

    def run():
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "run")
            words = ("train", "--recipe", "fast", "--out", out, "--threads", str(threads))
            interpreter("-m", "lenet5c", *words, "--quiet", "--no-report")()

    return run


ROWS = {
    "images-10000": partial(forward, 10_000),
    "images-256": partial(forward, 256),
    "images-16": partial(forward, 16),
    "image-1": lambda threads: forward(1, 1),
    "conv2d": partial(kernel, "conv2d", "conv2", 128),
    "conv2d-backward": partial(kernel, "conv2d_backward", "conv2", 128),
    "conv2d-3x3-64": partial(kernel, "conv2d", "3x3-64", 8),
    "max-pool2d": partial(kernel, "max_pool2d", "pool1", 128),
    "start": lambda threads: interpreter("-m", "lenet5c", "--version"),
    "import": lambda threads: interpreter("-c", "import lenet5c.nn, lenet5c.training"),
    "fast": fast,
}


def main(row, threads, seconds):
    run = ROWS[row](int(threads))
    calls = calls_to_last(run, float(seconds))
    serve(run, calls, 1 if row in LONG else TIMINGS)


if __name__ == "__main__":
    main(*sys.argv[1:])
