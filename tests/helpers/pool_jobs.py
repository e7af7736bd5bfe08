"""Job functions for other processes, which import this file."""

import os
import signal
import threading
import time
from pathlib import Path

from lenet5c import kernels
from lenet5c.errors import RunError
from lenet5c.recipes.jobs import JobStoppedError
from lenet5c.recipes.worker_pool import BLAS_THREADS


def double(context, value):
    context.on_message(f"doubles {value}")
    return 2 * value


def describe(context):
    """Return the threads that a job has, and those of BLAS in the environment."""
    blas = {name: os.environ.get(name) for name in BLAS_THREADS}
    return context.threads, kernels.get_num_threads(), blas


def fail(context, kind):
    if kind == "user":
        raise RunError("value must be other, got this one")
    if kind == "system":
        raise FileNotFoundError(2, "No such file or directory", "there")
    if kind == "result":
        return threading.Lock()  # which cannot be pickled
    raise LocalError("odd")


class LocalError(Exception):
    def __init__(self, one):
        super().__init__()
        self.one = one

    def __reduce__(self):
        raise TypeError("not to be pickled")


def die(context, folder, name="SIGKILL"):
    """End this process; at a second attempt return."""
    marker = Path(folder) / "died"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(60)
    return "alive"


def wait_for(context, file):
    """Return once a file is there."""
    while not Path(file).exists():
        if context.stopped():
            raise JobStoppedError
        time.sleep(0.01)
    return os.getpid()


def note_pid(context, folder):
    """Leave a file with the number of this process, and work until asked to stop."""
    (Path(folder) / str(os.getpid())).touch()
    while not context.stopped():
        time.sleep(0.01)
    raise JobStoppedError


def die_before_training(context, *arguments):
    """End this process as the system does for lack of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
