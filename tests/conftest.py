"""Fixtures of several rooms: a slice of MNIST, in memory and as a folder of IDX files."""

import signal

import numpy as np
import pytest
from idx_files import write_idx_files

from lenet5c.commands.cli import wait_briefly
from lenet5c.datasets import mnist
from lenet5c.nn.registry import TYPES

pytest.register_assert_rewrite("functional_cases", "programs", "tile_layers")
# Signals that are ignored, as under nohup or in the background of a shell without job control,
# would be so in the processes of tests, too; a handler is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)
wait_briefly()  # tests share their machine with others; OpenMP is not loaded yet

#: Files of the longest tests. They come first, so that no process has one to end alone.
LONGEST = (
    *("test_torture.py", "test_benchmarks.py", "test_mpi.py", "test_browser.py"),
    *("test_stubs.py", "test_canaries.py", "test_unlike_mnist.py", "test_team.py"),
)


def pytest_collection_modifyitems(items):
    """Put the longest tests first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Deal the tests in whole rows, whose fixtures are shared, and let idle processes steal."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.fixture(autouse=True)
def keep_registered_layers():
    """Remove the layer classes registered by a test or an example."""
    before = dict(TYPES)
    yield
    TYPES.clear()
    TYPES.update(before)


@pytest.fixture
def torch():
    """Return PyTorch, or skip the test if it is not installed."""
    return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def mnist_slice():
    """Return (train, test): 2,000 and 500 images of MNIST."""
    train, test = mnist()
    return train.take(np.arange(2000)), test.take(np.arange(500))


@pytest.fixture
def idx_files(tmp_path, mnist_slice):
    """Return the slice as a folder with four IDX files."""
    return write_idx_files(tmp_path / "data", *mnist_slice)
