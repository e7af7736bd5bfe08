"""Compare all multithreaded functions with the bits of one thread, in the builds of `builds.py`.

    python tools/races/drive.py [PART ...] [--seeds N]

In a build with LENET5C_SLEEPS=1, threads of the team sleep at selected points.
"""

import argparse
import ctypes
import re
import sys
import threading
import time
from itertools import product
from pathlib import Path

import numpy as np

import lenet5c
from lenet5c import kernels, nn, optim
from lenet5c.datasets import Distortion
from lenet5c.kernels.engine import _program
from lenet5c.kernels.simd import _cpu

THREADS = range(1, 9)
FIRST = -1  # as a thread: whichever comes first
SHORT, LONG = 3_000, 20_000_000  # microseconds of a sleep
# While a thread sleeps here, the others wait: it holds a slice, or opens the next batch of shards.
HOLDING = {
    "after a claim",
    "before choosing",
    "after copying",
    "after a slice",
    "before finishing",
    "while opening",
    "before beginning",
}


class Sleep(ctypes.Structure):
    """A row of the table of `sleeps.h`."""

    _fields_ = [
        ("point", ctypes.c_char * 24),
        *[(name, ctypes.c_int64) for name in ("thread", "number", "batches", "microseconds")],
        ("state", ctypes.c_int64),
    ]

    ASLEEP, AWAKE, LEFT_BEHIND = 1, 2, 3  # the last: awake as the team went on without it


class Sleeps:
    """The table of sleeps in a debug build."""

    ROWS = 256

    def __init__(self):
        library = ctypes.CDLL(_program.__file__)
        self.rows = (Sleep * self.ROWS).in_dll(library, "lenet5c_sleeps")

    def set(self, sleeps):
        """Fill the table with (point, thread, number, batches, microseconds)."""
        ctypes.memset(self.rows, 0, ctypes.sizeof(self.rows))
        for i, (point, *rest) in enumerate(sleeps):
            self.rows[i] = Sleep(point.encode(), *rest, 0)

    def slept(self):
        """Return (point, whether the team went on) of each sleep that took place."""
        rows = [row for row in self.rows if row.state]
        return [(row.point.decode(), row.state == Sleep.LEFT_BEHIND) for row in rows]


def points(*names):
    """Return the names of all points in these sources of the engine."""
    engine = Path(lenet5c.__file__).parent / "kernels/engine"
    found = []
    for name in names:
        found += re.findall(r'sleep_at\(b"(.+)"\)', (engine / name).read_text())
    return found


def team_points():
    return points("job.pxi", "team.pxi")


def small_net(seed=0, normalized=False):
    """Return a net with several slices, worth eight threads at a batch of 128.

    A normalized one runs in stages.
    """
    rng = np.random.default_rng(seed)
    layers = [
        nn.Conv2d(1, 4, 5, rng=rng),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 5, rng=rng),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 150, rng=rng),
        nn.BatchNorm1d(150),
        nn.Tanh(),
        nn.Dropout(0.3, rng=rng),
        nn.Linear(150, 10, rng=rng),
    ]
    apart = (nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout)
    return nn.Sequential([each for each in layers if normalized or not isinstance(each, apart)])


def train(
    threads,
    batch_size=64,
    steps=6,
    kind="SGD",
    distorted=False,
    wrong=None,
    seed=0,
    normalized=False,
):
    """Return the bits of a run of steps; sample number `wrong` has a loss that is not finite."""
    rng = np.random.default_rng(seed)
    samples = batch_size * steps - 5
    labels = rng.integers(10, size=samples)
    images = rng.integers(256, size=(samples, 1, 28, 28), dtype=np.uint8)
    if distorted:
        distortion = Distortion(translation=2, rotation=10, elastic=30).for_epoch(seed, 1)
        offset = np.zeros((1, 28, 28), np.float32)
        batch = nn.Samples(images, scale=1 / 255, offset=offset, distortion=distortion)
    else:
        batch = images.astype(np.float32) / 255
        if wrong is not None:
            batch[wrong] = np.nan
    kernels.set_num_threads(threads)
    model = small_net(seed, normalized)
    settings = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer = getattr(optim, kind)(model, lr=1e-3, **settings)
    losses, taken, correct = model.train_steps(
        batch,
        labels,
        nn.CrossEntropyLoss(),
        optimizer,
        np.linspace(1e-3, 1e-2, steps),
        batch_size=batch_size,
    )
    vectors = b"".join(
        value.tobytes()
        for value in optimizer.state_dict().values()
        if isinstance(value, np.ndarray)
    )
    arrays = model.vector.tobytes() + model.grad_vector.tobytes() + losses.tobytes()
    arrays += b"".join(array.tobytes() for array in model.buffers.values())
    return arrays, vectors, taken, correct


class Drive:
    """The parts and their results."""

    def __init__(self, seeds, threads):
        self.seeds, self.threads = seeds, threads
        self.runs = 0
        self.failures = []
        self.expected = {}

    def check(self, what, got, expected):
        self.runs += 1
        if got != expected:
            self.failures.append(what)
            print(f"FAILED {what}: other bits than with one thread", flush=True)

    def check_train(self, threads, table=None, sleeps=(), **settings):
        key = repr(sorted(settings.items()))
        if key not in self.expected:
            self.expected[key] = train(1, **settings)
        if table:
            table.set(sleeps)
        what = f"{settings}, {threads} threads, asleep: {sleeps}"
        self.check(what, train(threads, **settings), self.expected[key])
        slept = table.slept() if table else []
        if table:
            table.set([])
        return slept

    def steps(self):
        """Many steps, of one or several batches of shards, of floats and of distorted bytes."""
        for threads in THREADS:
            for kind in ("SGD", "Adam"):
                self.check_train(threads, batch_size=128, kind=kind)
            self.check_train(threads, batch_size=120, distorted=True)
            self.check_train(threads, batch_size=1100, steps=3)
            self.check_train(threads, batch_size=128, wrong=300)
            self.check_train(threads, batch_size=120, normalized=True, distorted=True)
            self.check_train(threads, batch_size=1100, steps=3, normalized=True)
            self.check_train(threads, batch_size=128, wrong=300, normalized=True)

    def passes(self):
        """Forward, backward, a single step and second derivatives of one batch."""
        for threads in THREADS:
            for normalized in (False, True):
                expected = passes(1, normalized)
                self.check(f"passes, {threads} threads", passes(threads, normalized), expected)

    def direct(self):
        """Convolution and pooling without tiles, forward and backward; im2col and back."""
        for threads in THREADS:
            self.check(f"direct, {threads} threads", direct(threads), direct(1))

    def callers(self):
        """All of these, called concurrently from Python threads."""
        jobs = [
            *[lambda seed=seed: train(3, seed=seed) for seed in range(3)],
            *[lambda: passes(2), lambda: direct(2), lambda: direct(3)],
        ]
        shared, images = small_net(), np.random.default_rng(0).random((300, 1, 28, 28), np.float32)
        jobs += [lambda: shared.forward(images).tobytes()] * 3
        kernels.set_num_threads(2)
        expected = [job() for job in jobs]
        for _ in range(self.seeds):
            for job, got, bits in zip(jobs, run_at_once(jobs), expected, strict=True):
                self.check(f"callers, {job}", got, bits)

    def sleeps(self):
        """Let a thread sleep at each point in turn, then several threads at random points.

        Outside of a slice the others go on without the sleeper: they may take LONG for it.
        """
        table = Sleeps()
        for threads in self.threads:
            size = 64 if threads <= 4 else 128
            for point, number in product(team_points(), (1, 3)):
                sleeps = [(point, FIRST, number, 2, SHORT if point in HOLDING else LONG)]
                if point in HOLDING:
                    # Beside a latecomer, so that parameters move to another buffer.
                    sleeps.append(("backward", FIRST, number, 2, LONG))
                slept = dict(self.check_train(threads, table, sleeps, batch_size=size))
                for name, *_ in sleeps:
                    if name not in slept:
                        self.failures.append(f"nobody slept {name}, with {sleeps}")
                    elif name not in HOLDING and not slept[name]:
                        self.failures.append(f"all waited for a sleeper {name}, with {sleeps}")
            # Stages are waited for.
            for point, number in product(points("stages.pxi"), range(2, 12, 3)):
                sleeps = [(point, FIRST, number, 2, SHORT)]
                self.check_train(threads, table, sleeps, batch_size=size, normalized=True)
        # Outputs and input gradients belong to nobody but who drew the shard.
        bits = passes(1)
        sleeps = [(point, FIRST, 0, 1, 200_000) for point in ("forward", "backward", "part")]
        self.check("passes, asleep", passes(3, prepare=lambda: table.set(sleeps)), bits)
        table.set([])
        for seed in range(self.seeds):
            rng = np.random.default_rng(seed)
            threads = int(rng.integers(2, 9))
            places = rng.integers((0, 0, 1), (threads, 6, 5), (rng.integers(2, 20), 3))
            table.set(
                [(str(rng.choice(team_points())), *map(int, place), SHORT) for place in places]
            )
            settings = [
                {"batch_size": 128},
                {"batch_size": 1100, "steps": 3},
                {"batch_size": 128, "wrong": 300},
                {"batch_size": 128, "kind": "Adam"},
            ]
            self.check_train(threads, table, sleeps, **settings[seed % 4])


def passes(threads, normalized=False, prepare=lambda: None):
    """Return the bits of calls with a batch; `prepare` is called before each that trains."""
    rng = np.random.default_rng(1)
    x, labels = rng.random((200, 1, 28, 28), np.float32), rng.integers(10, size=200)
    kernels.set_num_threads(threads)
    model, loss = small_net(normalized=normalized), nn.CrossEntropyLoss()
    prepare()
    bits = [model.train_step(x, labels, loss), model.grad_vector.tobytes()]
    prepare()
    bits.append(model.forward(x, training=True).tobytes())
    prepare()
    bits.append(model.backward(rng.random((200, 10), np.float32)).tobytes())
    bits += [model.grad_vector.tobytes(), model.forward(x[:3]).tobytes()]
    prepare()
    bits.append(model.forward(x[:16]).tobytes())  # a tile that threads share
    bits.append(shared_sample(threads))
    return [*bits, model.second_derivatives(x, labels, loss).tobytes()]


def shared_sample(threads):
    """Return the bits of one sample that is large enough for threads to share it."""
    x = np.random.default_rng(3).standard_normal((1, 2, 32, 32)).astype(np.float32)
    model = nn.Sequential(
        *(nn.Conv2d(2, 40, 5, rng=0), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(40, 80, 3, rng=1)),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2880, 150, rng=2), nn.Tanh()),
        nn.Linear(150, 10, rng=3),
    )
    return model.compile((2, 32, 32), num_threads=threads)(x).tobytes()


def direct(threads):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((90, 3, 14, 14)).astype(np.float32)
    weight = rng.standard_normal((8, 3, 5, 5)).astype(np.float32)
    y = kernels.conv2d(x, weight, num_threads=threads)
    pooled = kernels.max_pool2d(y, 2, num_threads=threads)
    bits = [y.tobytes(), pooled.tobytes()]
    bits += [part.tobytes() for part in kernels.conv2d_backward(y, x, weight, num_threads=threads)]
    dy = np.ones_like(pooled)
    bits.append(kernels.max_pool2d_backward(dy, y, 2, num_threads=threads).tobytes())
    bits.append(kernels.avg_pool2d_backward(dy, y.shape, 2, num_threads=threads).tobytes())
    col = kernels.im2col(x, 3, num_threads=threads)
    return [*bits, col.tobytes(), kernels.col2im(col, (14, 14), 3, num_threads=threads).tobytes()]


def run_at_once(jobs):
    """Return the results of jobs in Python threads that begin together."""
    results, start = [None] * len(jobs), threading.Barrier(len(jobs))

    def work(i):
        start.wait(60)
        results[i] = jobs[i]()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


def main():
    names = ["steps", "passes", "direct", "callers", "sleeps"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(names))
    parser.add_argument("--seeds", type=int, default=100, help="of random sleeps (default 100)")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[2, 3, 4, 8], help="of which one sleeps"
    )
    parser.add_argument("--isas", action="store_true", help="print the instruction sets, and end")
    options = parser.parse_args()
    if options.isas:
        print(*_cpu.supported())
        return 0
    drive = Drive(options.seeds, options.threads)
    for name in options.parts or names:
        began, runs = time.monotonic(), drive.runs
        getattr(drive, name)()
        seconds = time.monotonic() - began
        print(f"{kernels.isa} {name}: {drive.runs - runs} runs in {seconds:.1f} s", flush=True)
    print("\n".join(drive.failures[:20]))
    return int(bool(drive.failures))


if __name__ == "__main__":
    sys.exit(main())
