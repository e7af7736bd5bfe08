"""The team of threads in a debug build, with sleeps at selected points."""

import os
import subprocess
import sys

import pytest
from debug_builds import CHECKOUT, build_modules, needs_sources
from processes import HANGING

DRIVE = CHECKOUT / "tools/races/drive.py"

pytestmark = [
    needs_sources,
    pytest.mark.skipif(not DRIVE.exists(), reason="needs the folder tools"),
]

# A thread sleeps in the middle of a shard of the first step, while the others take all steps to the
# end. The model's vector, which it reads, has to stay as it was.
WATCH = """
import threading
import numpy as np
from lenet5c import kernels, nn, optim
from races.drive import FIRST, Sleep, Sleeps, small_net

rng = np.random.default_rng(0)
images, labels = rng.random((128 * 6, 1, 28, 28), np.float32), rng.integers(10, size=128 * 6)

def train(model):
    optimizer = optim.SGD(model, lr=0.1)
    loss = nn.CrossEntropyLoss()
    model.train_steps(images, labels, loss, optimizer, [0.1] * 6, batch_size=128)

def watch(point):
    model, seen = small_net(), set()
    table.set([(point, FIRST, 0, 1000, 300_000)])
    sleeper = table.rows[0]
    worker = threading.Thread(target=train, args=(model,))
    worker.start()
    while worker.is_alive():
        asleep = sleeper.state == Sleep.ASLEEP
        now = model.vector.tobytes()
        if asleep and sleeper.state == Sleep.ASLEEP:
            seen.add(now)
    worker.join()
    return seen, model.vector.tobytes()

kernels.set_num_threads(1)
table, model = Sleeps(), small_net()
before = model.vector.tobytes()
train(model)
after = model.vector.tobytes()
kernels.set_num_threads(3)
for point in ("forward", "backward"):
    seen, result = watch(point)
    print(seen == {before}, result == after)
"""


@pytest.fixture(scope="module")
def debug_build(tmp_path_factory):
    """Build a copy of the package with sleeps in threads."""
    return build_modules(tmp_path_factory.mktemp("sleeps"), "LENET5C_SLEEPS", "_program")


def run(build, *arguments):
    """Run Python with the build and the tools; return what it prints."""
    paths = f"{build}{os.pathsep}{CHECKOUT / 'tools'}"
    variables = os.environ | {"PYTHONPATH": paths}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=HANGING)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nobody_writes_parameters_that_a_latecomer_reads(debug_build):
    assert run(debug_build, "-c", WATCH).split() == ["True"] * 4


def test_a_thread_asleep_anywhere_changes_no_bit(debug_build):
    """The other threads continue, unless the sleeping one holds a slice."""
    assert "runs in" in run(debug_build, DRIVE, "sleeps", "--threads", 3, "--seeds", 20)
