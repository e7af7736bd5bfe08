"""Time a training epoch of LeNet-5, alone and with one busy process on each core.

    python benchmarks/contention.py [--contenders command library pytorch] [--batch-size 64]
    [--threads 2] [--repeats 5]

command: lenet5c with the settings of `lenet5c train`, where threads spin only briefly at barriers
(`lenet5c.commands.cli.wait_briefly`). library: lenet5c with the default settings of OpenMP.
pytorch: PyTorch with its defaults. Each runs in its own process; epochs alone and with busy
processes take turns. Each busy process is bound to a core, where the system supports this, and has
the same priority as this program. It uses half of the core, so with a fair scheduler an epoch takes
at least twice as long.
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
CONTENDERS = {
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
    """Context manager for one busy process on each of these cores; -1 means any core."""
    if not cores:
        yield
        return
    with process("-c", BUSY, str(cores[0])) as child:
        answer(child)
        with busy_cores(cores[1:]):
            yield


def take_turns(workers, cores, repeats):
    """Return name -> (seconds alone, seconds with busy processes), measured in turns."""
    times = {name: ([], []) for name in workers}
    names = list(workers)
    for first in range(repeats):
        first %= len(names)
        for name in names[first:] + names[:first]:
            alone, beside = times[name]
            alone.append(measure(workers[name])[0])
            with busy_cores(cores):
                beside.append(measure(workers[name])[0])
            time.sleep(0.1)
    return times


@contextmanager
def started(names, arguments):
    """Return a worker for each contender, warmed up one after another."""
    if not names:
        yield {}
        return
    with process(str(WORKER), names[0], *map(str, arguments)) as worker:
        answer(worker)
        with started(names[1:], arguments) as others:
            yield {names[0]: worker} | others


def main():
    parser = make_parser(__doc__, repeats=5)
    add = parser.add_argument
    add(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        default=["command", "library"],
        metavar="NAME",
        help=f"one or more of {', '.join(CONTENDERS)} (default: command library)",
    )
    add("--batch-size", type=positive, default=64, metavar="N", help="(default: %(default)s)")
    add(
        "--images",
        type=positive,
        default=60000,
        metavar="N",
        help="images per epoch (default: all)",
    )
    options = parser.parse_args()
    # Ended from outside, it leaves its blocks, too, and so ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    peers = load_peers(*(["PyTorch"] if "pytorch" in options.contenders else []))
    names = [
        name
        for name in dict.fromkeys(options.contenders)
        if name != "pytorch" or "PyTorch" in peers
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
    with started(names, (options.batch_size, options.images, options.threads)) as workers:
        times = take_turns(workers, cores, options.repeats)
    table = Table({"": 23, "alone": 17, "beside": 17, "×": 5})
    for name, (alone, beside) in times.items():
        ratio = statistics.median(beside) / statistics.median(alone)
        table.row(CONTENDERS[name], time_cell(alone), time_cell(beside), f"{ratio:.2f}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except WorkerError as error:
        sys.exit(str(error))
