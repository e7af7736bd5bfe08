"""A training epoch of LeNet-5, alone and beside one busy process on each core.

    python benchmarks/contention.py [--contenders command library pytorch] [--batch-size 64]
    [--threads 2] [--repeats 5]

command: lenet5c as `lenet5c train` runs it, where threads wait briefly at barriers
(`lenet5c.commands.cli.wait_briefly`). library: lenet5c in a program that sets nothing, where OpenMP
decides. pytorch: PyTorch, in a program that sets nothing. Each is a process of its own, whose
epochs alone and beside others take turns; the busy processes run only during the latter, each bound
to its core where the system has such a call, with the same priority as this program. They take half
of each core: twice the time is all that a fair scheduler can give.
"""

import os
import signal
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from common import Table, load_peers, make_parser, positive, print_header, time_cell
from workers import WorkerError, answer, measure, process

WORKER = Path(__file__).with_name("epoch_worker.py")
WAYS = {
    "command": "lenet5c, as the command",
    "library": "lenet5c, as a library",
    "pytorch": "PyTorch",
}
# Ends by itself, too, should its parent be killed.
BUSY = """
import os, sys
parent, core = os.getppid(), int(sys.argv[1])
if core >= 0:
    os.sched_setaffinity(0, [core])
print(flush=True)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def busy_cores(cores):
    """One busy process on each of these cores; a core of -1 is any."""
    if not cores:
        yield
        return
    with process("-c", BUSY, str(cores[0])) as child:
        answer(child)
        with busy_cores(cores[1:]):
            yield


def take_turns(workers, cores, repeats):
    """Way -> (seconds alone, seconds beside busy processes), taking turns."""
    times = {way: ([], []) for way in workers}
    ways = list(workers)
    for first in range(repeats):
        first %= len(ways)
        for way in ways[first:] + ways[:first]:
            alone, beside = times[way]
            alone.append(measure(workers[way])[0])
            with busy_cores(cores):
                beside.append(measure(workers[way])[0])
            time.sleep(0.1)
    return times


@contextmanager
def started(ways, arguments):
    """Return a worker for each way, warmed up one after another."""
    if not ways:
        yield {}
        return
    with process(str(WORKER), ways[0], *map(str, arguments)) as worker:
        answer(worker)
        with started(ways[1:], arguments) as others:
            yield {ways[0]: worker} | others


def main():
    parser = make_parser(__doc__, repeats=5)
    add = parser.add_argument
    add(
        "--contenders",
        nargs="+",
        choices=WAYS,
        default=["command", "library"],
        metavar="NAME",
        help=f"of {', '.join(WAYS)} (default: command library)",
    )
    add("--batch-size", type=positive, default=64, metavar="N", help="(default: %(default)s)")
    add(
        "--images",
        type=positive,
        default=60000,
        metavar="N",
        help="the first N images are the epoch (default: all)",
    )
    options = parser.parse_args()
    # Ended from outside, it leaves its blocks, too, and so ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    peers = load_peers(*(["PyTorch"] if "pytorch" in options.contenders else []))
    ways = [
        way for way in dict.fromkeys(options.contenders) if way != "pytorch" or "PyTorch" in peers
    ]
    cores = (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_setaffinity")
        else [-1] * os.cpu_count()
    )
    print_header(
        options.threads,
        peers,
        f"An epoch is {options.images:,} images, batch {options.batch_size}; "
        f"{options.repeats} epochs each, alone and beside {len(cores)} busy processes in turns. "
        "Times: minimum / median. "
        "×: median beside by median alone.",
    )
    with started(ways, (options.batch_size, options.images, options.threads)) as workers:
        times = take_turns(workers, cores, options.repeats)
    table = Table({"": 23, "alone": 17, "beside": 17, "×": 5})
    for way, (alone, beside) in times.items():
        ratio = statistics.median(beside) / statistics.median(alone)
        table.row(WAYS[way], time_cell(alone), time_cell(beside), f"{ratio:.2f}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except WorkerError as error:
        sys.exit(str(error))
