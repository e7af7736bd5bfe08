"""Worker processes that measure on request.

After its warm-up, a worker prints the folder of its lenet5c. Then, for each line it reads, it runs
its function and prints the wall-clock and processor time of a call, in seconds.
"""

import math
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import lenet5c

try:
    from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
except ImportError:  # Windows
    getrusage = None


class WorkerError(Exception):
    """A worker ended; the message is the last line of its standard error."""


@contextmanager
def process(*arguments, keep_errors=False, **settings):
    """Context manager for a Python process with pipes, killed on exit."""
    # In a session of its own, Ctrl-C does not reach it: its parent ends it in silence. And Linux,
    # which shares the processor out by session, gives each contender the same.
    child = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if keep_errors else None,
        text=True,
        start_new_session=os.name == "posix",
        **settings,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for pipe in filter(None, (child.stdin, child.stdout, child.stderr)):
            with suppress(OSError):
                pipe.close()


def answer(child):
    """Return the next line that a process prints."""
    if line := child.stdout.readline():
        return line.strip()
    errors = child.stderr.read().strip().splitlines() if child.stderr else []
    code = child.wait()
    name = next((Path(word).name for word in child.args[1:] if word.endswith(".py")), "a process")
    raise WorkerError(errors[-1] if errors else f"{name} ended with exit code {code}")


def measure(child):
    """Return wall-clock and processor seconds of a call in a worker."""
    with suppress(BrokenPipeError):  # answer tells why
        print(file=child.stdin, flush=True)
    wall, processor = map(float, answer(child).split())
    return wall, processor


def serve(run, calls=1, timings=1):
    """Run a worker that measures `run`: per turn, the minimum of `timings` means over `calls`."""
    print(Path(lenet5c.__file__).parent, flush=True)
    for _ in sys.stdin:
        least = [math.inf, math.inf]
        for _ in range(timings):
            busy, began = processor_seconds(), time.perf_counter()
            for _ in range(calls):
                run()
            wall, busy = time.perf_counter() - began, processor_seconds() - busy
            least = [min(least[0], wall / calls), min(least[1], busy / calls)]
        print(*least, flush=True)


def calls_to_last(run, seconds):
    run()
    calls = 1
    while seconds and timed(run, calls) < seconds:
        calls *= 2
    return calls


def timed(run, calls):
    began = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - began


def processor_seconds():
    """Return the processor seconds of this process, its threads and its finished children."""
    if getrusage is None:
        return time.process_time()
    usages = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
