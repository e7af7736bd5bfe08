"""What several tests share: a slice of MNIST, in memory and as a folder of IDX files, and new interpreters."""

import os
import struct
import subprocess
import sys

import numpy as np
import pytest

from lenet5c.commands.cli import wait_briefly
from lenet5c.datasets import mnist

pytest.register_assert_rewrite("functional_cases", "programs", "tile_layers")
wait_briefly()  # tests share their machine with others; OpenMP is not loaded yet


@pytest.fixture(scope="session")
def mnist_slice():
    """(train, test): 2,000 and 500 images of MNIST."""
    train, test = mnist()
    return train.take(np.arange(2000)), test.take(np.arange(500))


@pytest.fixture
def idx_files(tmp_path, mnist_slice):
    """The same as a folder with four IDX files."""
    return write_idx_files(tmp_path / "data", *mnist_slice)


def write_idx_files(folder, train, test):
    folder.mkdir()
    for part, dataset in (("train", train), ("t10k", test)):
        n, _, height, width = dataset.images.shape
        images = struct.pack(">4B3I", 0, 0, 8, 3, n, height, width) + dataset.images.tobytes()
        labels = struct.pack(">4BI", 0, 0, 8, 1, n) + dataset.labels.astype(np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return folder


def run_python(code, *arguments, timeout=60, **environment):
    """A new interpreter's standard output; a variable that is None is unset."""
    variables = {
        name: value for name, value in {**os.environ, **environment}.items() if value is not None
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=timeout)


def output(code, *arguments, **options):
    done = run_python(code, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
