"""Threads, forks and signals, with busy processes: always the same bits, and never a hang."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from torture.campaign import Campaign

WORKER = Path(__file__).parents[1] / "threads_worker.py"
TIMEOUT = 600  # seconds: an attempt takes two on a quiet machine
KINDS = ["alone", "callers", "signals", "forks"]
DISTURBANCES = ["nothing", "spinning processes", "stops", "affinity", "all of these"]
SPIN = "while True: pass"


def run(campaign: Campaign) -> None:
    """Start a worker for each attempt, and perturb it."""
    for number, rng in campaign.tries():
        kind, disturbance = str(rng.choice(KINDS)), str(rng.choice(DISTURBANCES))
        if why := missing(kind, disturbance):
            campaign.count(f"skipped: {why}")
            continue
        what = f"{kind}, beside {disturbance}"
        command = [sys.executable, str(WORKER), kind, str(rng.integers(2**31)), "1"]
        began = time.monotonic()
        worker = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        neighbors = []
        try:
            if disturbance in ("spinning processes", "all of these"):
                neighbors = [
                    subprocess.Popen([sys.executable, "-c", SPIN])
                    for _ in range(int(rng.integers(1, 4)))
                ]
            while worker.poll() is None:
                seconds = time.monotonic() - began
                if seconds > TIMEOUT:
                    campaign.fail(number, f"{what}: hung")
                    break
                if campaign.left == 0 and seconds > 8:
                    campaign.count("unfinished at the end")
                    break
                disturb(worker.pid, disturbance, rng)
            else:
                report(campaign, number, what, worker)
        finally:
            for process in neighbors:
                process.kill()
                process.wait()
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            worker.stdout.close()


def missing(kind, disturbance):
    """Return the missing requirements of the platform, if any."""
    if not hasattr(os, "fork"):
        return "no fork, no signals"
    if sys.platform == "darwin" and kind == "forks":
        return "forking without exec is not safe on macOS"
    if not hasattr(os, "sched_setaffinity") and disturbance in ("affinity", "all of these"):
        return "the affinity cannot be set"
    return ""


def disturb(pid, disturbance, rng):
    """Stop the worker for a moment, or move one of its threads to other processors."""
    time.sleep(float(rng.uniform(0.001, 0.02)))
    if disturbance in ("stops", "all of these"):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(float(rng.uniform(0, 0.01)))
        os.kill(pid, signal.SIGCONT)
    if disturbance in ("affinity", "all of these"):
        processors = sorted(os.sched_getaffinity(0))
        some = rng.choice(processors, int(rng.integers(1, len(processors) + 1)), replace=False)
        try:
            threads = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
            os.sched_setaffinity(int(rng.choice(threads)), {int(one) for one in some})
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended


def report(campaign, number, what, worker):
    """Count the worker's comparisons, or record its failure."""
    text = worker.stdout.read()
    if worker.returncode == 0:
        campaign.count("results compared", int(text))
        campaign.count(what)
    else:
        campaign.fail(number, f"{what}: exit code {worker.returncode}: {text[-500:].strip()}")
