"""Kernels and random nets compared with float64 references, in memory between guard pages.

An attempt is a call of a kernel or a net on arrays that end or begin at a protected page, in a
separate process, with one of the processor's instruction sets. Error bounds follow from the sizes
of the sums (rounding.py). One attempt in eight is made with AVX2 and AVX-512, which must be
bit-identical.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from lenet5c.kernels.simd import _cpu
from torture.campaign import Campaign

WORKER = Path(__file__).parents[1] / "kernel_worker.py"
PATIENCE = 300.0  # seconds, after which a case hangs; a busy machine takes long to start a process
GRACE = 8.0  # seconds for a case that the end of the time finds at work
MAX_THREADS = 3  # each with a process for each instruction set, of some 70 MB


class Worker:
    """A process that runs cases with one instruction set; started again after a crash."""

    def __init__(self, seed: int, isa: str) -> None:
        self.seed, self.isa = seed, isa
        self.process: subprocess.Popen[str] | None = None

    def run(self, number: int, left: float) -> dict[str, str] | None:
        """Return a case's name, digest and errors, including crashes.

        None if it was not done when the time, of which so much is left, was over.
        """
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin and self.process.stdout
        alarm = threading.Timer(min(PATIENCE, left + GRACE), self.process.kill)
        alarm.start()
        answers = []
        try:
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
            answers = [json.loads(self.process.stdout.readline() or "{}") for _ in range(2)]
        except OSError:
            pass
        hung = not alarm.is_alive()
        alarm.cancel()
        if len(answers) == 2 and "digest" in answers[1]:
            return answers[1]
        code = self.stop()
        if hung and left + GRACE < PATIENCE:
            return None
        name = answers[0].get("begun", "unknown") if answers else "unknown"
        wrong = f"hung for {PATIENCE:.0f} s" if hung else f"the process ended with {code}"
        return {"name": name, "digest": "", "wrong": wrong}

    def stop(self) -> int | None:
        """End the process; return its exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        with process, suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]
        return process.returncode

    def _start(self) -> subprocess.Popen[str]:
        # Threads that wait give their processor away; the cases share it.
        variables = os.environ | {"LENET5C_ISA": self.isa, "OMP_WAIT_POLICY": "passive"}
        command = [sys.executable, str(WORKER), str(self.seed)]
        return subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )


def run(campaign: Campaign) -> None:
    """Run cases until the time is over."""
    if sys.platform == "win32":
        campaign.count("skipped: no mmap of guard pages")
        next(campaign.tries())
        return
    isas, lock, tries = _cpu.supported(), threading.Lock(), campaign.tries()
    count = min(MAX_THREADS, os.cpu_count() or 1)
    threads = [
        threading.Thread(target=_work, args=(campaign, isas, lock, tries)) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _work(
    campaign: Campaign, isas: list[str], lock: threading.Lock,
    tries: Iterator[tuple[int, np.random.Generator]],
) -> None:  # fmt: skip
    """Run cases, each with the instruction set given by its number."""
    workers = {isa: Worker(campaign.seed, isa) for isa in isas}
    while True:
        with lock:
            number, _ = next(tries, (None, None))
        if number is None:
            break
        isa = isas[number % len(isas)]
        counterparts = ["avx512", "avx2"] if number % 8 == 0 and "avx512" in isas else [isa]
        results = [workers[isa].run(number, campaign.left) for isa in counterparts]
        with lock:
            if None in results:
                campaign.count("cut short by the end of the time")
                continue
            for isa, result in zip(counterparts, results, strict=True):
                campaign.count(f"{result['name']}")
                if result["wrong"]:
                    campaign.fail(number, f"{result['name']}, {isa}: {result['wrong']}")
            if len(counterparts) == 2:
                campaign.count("compared with another instruction set")
                if results[0]["digest"] != results[1]["digest"]:
                    campaign.fail(number, f"{results[0]['name']}: bits of AVX2 and AVX-512 differ")
    for worker in workers.values():
        worker.stop()
