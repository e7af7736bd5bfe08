"""Nets and kernels in a debug build with canaries after the memory of ops and strips."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from debug_builds import CHECKOUT, build_modules, needs_sources

# The modules that have canaries.
MODULES = ("_program", "_strips", "_distort")

# Training and inference, by tiles and by samples, of all kinds of ops, with odd sizes: Winograd or
# not, groups, pooling that is fused or not, a connection table, rectifiers; a distortion;
# convolutions by strips, with units or channels side by side, in several threads.
NETS = """
import itertools
import numpy as np
from lenet5c import nn
from lenet5c.kernels.engine import _program
assert _program.has_canaries
rng = np.random.default_rng(0)
nets = [
    ((1, 28, 28), nn.LeNet5(padding=(2, 0), input_size=28), nn.CrossEntropyLoss()),
    ((1, 28, 28), nn.LeNet5(
        padding=(2, 0), input_size=28, activation="tanh", pooling="avg"), nn.MSELoss()),
    ((1, 32, 32), nn.LeNet5_1998(), nn.MAPLoss()),
    ((6, 13, 11), nn.Sequential(
        nn.Conv2d(6, 12, (3, 5), padding=(0, 2), groups=3), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(12, 7, (2, 3), stride=(2, 1), dilation=(1, 2)), nn.ReLU(), nn.AvgPool2d(2, 1, 1),
        nn.Flatten(), nn.Linear(7 * 4 * 3, 19), nn.Sigmoid(), nn.Linear(19, 10)),
     nn.CrossEntropyLoss()),
    ((8, 9, 12), nn.Sequential(
        nn.Conv2d(8, 14, (3, 5), groups=2), nn.ReLU(), nn.Conv2d(14, 9, (2, 5), padding=(1, 2)),
        nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(9 * 4 * 4, 10)), nn.CrossEntropyLoss()),
    ((3, 12, 12), nn.Sequential(
        nn.Conv2d(3, 10, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(10, 34, 3, padding=1),
        nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(34, 16, 3, padding=1, groups=2), nn.Tanh(),
        nn.Flatten(), nn.Linear(16 * 3 * 3, 10)), nn.CrossEntropyLoss()),
    ((33, 7, 7), nn.Sequential(
        nn.Conv2d(33, 17, 3), nn.MaxPool2d((5, 5)), nn.Flatten(), nn.Linear(17, 10, bias=False)),
     nn.CrossEntropyLoss()),
    ((1, 28, 28), nn.LeNet5(
        padding=2, input_size=28, batch_norm=True, dropout=0.5), nn.CrossEntropyLoss()),
    ((3, 9, 7), nn.Sequential(
        nn.BatchNorm2d(3), nn.Dropout(0.1), nn.Conv2d(3, 17, 2), nn.BatchNorm2d(17),
        nn.MaxPool2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(17 * 4 * 3, 10), nn.BatchNorm1d(10)),
     nn.MSELoss()),
    ((3, 11, 9), nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Residual(nn.ReLU(), nn.Conv2d(6, 6, 1)),
        nn.Residual(
            nn.Conv2d(6, 18, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(18, 18, 1),
            shortcut=nn.Conv2d(6, 18, 1, stride=2)),
        nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(18, 10)),
     nn.CrossEntropyLoss()),
    ((7, 12, 10), nn.Sequential(
        nn.Conv2d(7, 28, 3, stride=(3, 2), groups=7), nn.Conv2d(28, 28, 3, groups=28), nn.ReLU(),
        nn.Conv2d(28, 14, 1, groups=2), nn.Conv2d(14, 5, (2, 1), dilation=(1, 2)),
        nn.GlobalMaxPool2d(), nn.Flatten(), nn.Linear(5, 10)), nn.CrossEntropyLoss()),
    ((4, 8, 8), nn.Sequential(
        nn.Residual(
            nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(0.2),
            shortcut=nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))),
        nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(4, 10)), nn.CrossEntropyLoss()),
]
for shape, net, loss in nets:
    normalized = any(name.endswith("running_var") for name in net.buffers)
    for batch in (2 if normalized else 1, 3, 17, 150):
        x = rng.standard_normal((batch, *shape)).astype(np.float32)
        labels = rng.integers(10, size=batch)
        net.forward(x, training=True)
        net.backward(np.ones((batch, 10), np.float32))
        net.train_step(x, labels, loss)
large = nn.Sequential(
    nn.Conv2d(2, 40, 5), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(40, 33, 3), nn.AvgPool2d(2),
    nn.Flatten(), nn.Linear(33 * 6 * 6, 150), nn.ReLU(), nn.Linear(150, 10))
outputs = large.compile((2, 32, 32), num_threads=8)  # which share a sample
for batch in (1, 2, 5):
    outputs(rng.standard_normal((batch, 2, 32, 32)).astype(np.float32))
from lenet5c import datasets, kernels
from lenet5c.kernels.direct import _strips
from lenet5c.kernels.ops import _distort
assert _strips.has_canaries and _distort.has_canaries
mixed = datasets.Distortion.named("pictures-mixup").to_dict()
distort = datasets.Distortion.from_dict(mixed | {"elastic": 15.0})
images = rng.integers(0, 256, (30, 1, 28, 27), np.uint8)
distort(images, seed=0)
samples = nn.Samples(
    images, scale=1.0, offset=np.zeros(756, np.float32), distortion=distort.for_epoch(0))
net = nn.Sequential(nn.Flatten(), nn.Linear(756, 10))
for few in (slice(0, 3), slice(0, 30)):
    net.outputs(samples[few])
cases = [
    ((1, 40, 70, 50), 5, 3, {"padding": 1}), ((2, 34, 30, 29), 34, 3, {"groups": 17}),
    ((3, 3, 60, 61), 18, 7, {"stride": 2, "padding": 3}), ((1, 33, 24, 25), 101, 3, {}),
    ((1, 24, 90, 40), 20, 3, {"stride": (2, 3), "dilation": (1, 2)}),
]
for dtype in (np.float32, np.float64):
    for shape, channels, kernel, settings in cases:
        x = rng.standard_normal(shape).astype(dtype)
        weight = (channels, shape[1] // settings.get("groups", 1), kernel, kernel)
        weight = rng.standard_normal(weight).astype(dtype)
        for threads in (1, 3):
            y = kernels.conv2d(x, weight, **settings, num_threads=threads)
            kernels.conv2d_backward(y, x, weight, **settings, num_threads=threads)
from lenet5c.kernels.direct import _direct, strips
for dtype, layout, axis, threads in itertools.product(
    "fd", ("NCHW", "NHWC"), ("channels", "units", "pixels"), (1, 3)
):
    shapes = (3, 61, 35), (19, 61, 33), ((3, 5), (1, 1), (1, 1), (1, 1))
    x, y, weight, bias = (
        np.ones(size, dtype) for size in (3 * 6405, 3 * 38247, 19 * 45, 19))
    plans = {purpose: strips.plan(
        dtype, purpose, 3, 1, *shapes, threads, layout,
        None if (purpose, axis) == ("dweight", "pixels") else axis)
        for purpose in ("y", "dx", "dweight")}
    _direct.convolve(plans["y"], x, weight, bias, y, threads)
    _direct.convolve(plans["dx"], y, weight, None, x, threads)
    _direct.weight_gradient(plans["dweight"], x, y, weight, bias, threads)
print("ran", len(nets))
"""


@pytest.fixture(scope="module")
def debug_build(tmp_path_factory):
    """Build a copy of the package whose drivers have canaries; the tiles are unchanged."""
    return build_modules(tmp_path_factory.mktemp("canaries"), "LENET5C_CANARIES", *MODULES)


def run(folder, code):
    variables = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)


@needs_sources
def test_no_op_writes_behind_its_memory(debug_build):
    done = run(debug_build, NETS)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ran 12\n"


@pytest.mark.slow
def test_the_tests_of_programs_in_a_debug_build(debug_build):
    """All nets of the tests: exact and smooth ones, in tiles and by samples, many steps."""
    tests = [str(path) for path in Path(__file__).parent.glob("test_program*.py")]
    arguments = ["-q", "-c", str(CHECKOUT / "pyproject.toml"), *tests]
    code = f"import sys, pytest; sys.exit(pytest.main({arguments!r}))"
    done = run(debug_build, code)
    assert done.returncode == 0, done.stdout
