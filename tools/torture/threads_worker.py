"""An attempt of the part `threads`, in a separate process, which may be perturbed.

    python threads_worker.py KIND SEED SECONDS

Prints the number of compared results; the exit code is 1 if one of them differs from that with one
thread.
"""

import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from races.drive import direct, passes, run_at_once, small_net, train

from lenet5c import kernels

WAIT = 300  # seconds after which a child hangs


class Attempt:
    """Rounds of one kind until the time is over."""

    def __init__(self, seed, seconds):
        self.rng = np.random.default_rng(seed)
        self.end = time.monotonic() + seconds
        self.compared, self.failures = 0, []
        kernels.set_num_threads(1)
        self.batch_size = int(self.rng.choice([16, 64, 128, 150]))
        self.images = self.rng.random((150, 1, 28, 28), np.float32)
        self.shared = small_net()
        self.jobs = {
            "train": lambda threads: train(threads, self.batch_size, 4),
            "distorted": lambda threads: train(threads, self.batch_size, 2, distorted=True),
            "passes": passes,
            "direct": direct,
            "forward": self.forward,
        }
        self.expected = {name: job(1) for name, job in self.jobs.items()}

    def forward(self, threads):
        return self.shared.forward(self.images).tobytes()

    def check(self, name, result):
        self.compared += 1
        if result != self.expected[name]:
            self.failures.append(f"{name}: other bits than with one thread")

    def draw(self, count):
        """Return (name, job, threads) of some jobs."""
        names = self.rng.choice(list(self.jobs), count)
        return [(name, self.jobs[name], int(self.rng.integers(1, 9))) for name in names]

    def rounds(self):
        yield
        while time.monotonic() < self.end and not self.failures:
            yield

    def alone(self):
        """Consecutive calls, with 1 to 8 threads."""
        for _ in self.rounds():
            for name, job, threads in self.draw(3):
                self.check(name, job(threads))

    def callers(self):
        """Concurrent calls from Python threads, while another one changes the number of threads."""
        done = threading.Event()

        def change():
            while not done.wait(0.002):
                kernels.set_num_threads(1 + time.monotonic_ns() // 1000 % 8)

        changer = threading.Thread(target=change)
        changer.start()
        try:
            for _ in self.rounds():
                drawn = self.draw(int(self.rng.integers(2, 7)))
                results = run_at_once([lambda job=job, n=n: job(n) for _, job, n in drawn])
                for (name, _, _), result in zip(drawn, results, strict=True):
                    self.check(name, result)
        finally:
            done.set()
            changer.join()

    def signals(self):
        """Handle SIGALRM in Python every millisecond or two."""
        handled = 0

        def handle(*_):
            nonlocal handled
            handled += 1
            if handled % 16 == 0:
                kernels.set_num_threads(1 + handled // 16 % 8)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, float(self.rng.uniform(0.0005, 0.003)))
        try:
            self.alone()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def forks(self):
        """Forks while other Python threads are in parallel regions; children compute as well."""
        done = threading.Event()

        def work():
            while not done.is_set():
                self.check("direct", direct(2))
                self.check("forward", self.forward(None))

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        try:
            for _ in self.rounds():
                self.check("direct", direct(3))
                drawn = self.draw(2)
                child = os.fork()
                if child == 0:
                    same = all(job(n) == self.expected[name] for name, job, n in drawn)
                    os._exit(0 if same else 1)
                self.wait_for(child)
        finally:
            done.set()
            for worker in workers:
                worker.join()

    def wait_for(self, child):
        end = time.monotonic() + WAIT
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                self.failures.append("a forked child hung")
                return
            time.sleep(0.005)
        self.compared += 2
        if code := os.waitstatus_to_exitcode(ended[1]):
            self.failures.append(f"a forked child ended with {code}")


def main():
    # From Python 3.12 on: that a child of a process with threads may hang. That it does not is
    # tested here.
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
    kind, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    attempt = Attempt(seed, seconds)
    getattr(attempt, kind)()
    print(attempt.compared, *attempt.failures[:3])
    return int(bool(attempt.failures))


if __name__ == "__main__":
    sys.exit(main())
