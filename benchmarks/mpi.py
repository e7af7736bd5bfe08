"""Compare training on several MPI processes with one process with the same number of threads.

    python benchmarks/mpi.py [--batch-sizes 64 256 1024] [--ranks 2] [--threads 1] [--repeats 15]
    [--images 16384] [--nodes]

One process uses ranks x threads threads; each rank uses --threads. Both train LeNet-5 with Adam on
the same images of MNIST, in turns; idle processes sleep. --nodes adds a third contender: ranks that
exchange data by MPI messages instead of shared memory, as on different machines. `mpiexec` is
searched for next to this Python, then on the path.
"""

import os
import shutil
import statistics
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from common import Table, make_parser, positive, print_header, time_cell
from workers import WorkerError, answer, measure, process, serve

import lenet5c
from lenet5c import nn, optim
from lenet5c.datasets import Preparation, mnist
from lenet5c.training.parallel import open_ranks
from lenet5c.training.parallel.mpi import NODE_SIZE

# As `lenet5c train` does it.
WAITING = {"GOMP_SPINCOUNT": "2000"}


def work(batch_size, threads, images):
    """Be a worker, alone or with other ranks: steps on request."""
    ranks = open_ranks()
    lenet5c.set_num_threads(threads)
    prepare = Preparation.named("default")
    train = prepare.fit_dataset(mnist()[0])
    index = np.random.default_rng(0).permutation(len(train))[:images]
    samples, labels = prepare.samples(train.images, index), train.labels[index]
    model = nn.LeNet5(rng=0)
    optimizer, loss = optim.Adam(model, lr=1e-3), nn.CrossEntropyLoss()
    rates = [1e-5] * -(-images // batch_size)

    def run():
        model.train_steps(
            samples, labels, loss, optimizer, rates, batch_size=batch_size, ranks=ranks
        )

    def run_together():
        ranks.rest()  # the others sleep until then
        run()

    run()
    if ranks.first:
        serve(run_together if ranks.size > 1 else run)
        ranks.end(0)
    while True:
        run_together()


@contextmanager
def started(contenders, batch_size, images):
    """Context manager for one warmed-up worker per contender."""
    with ExitStack() as held:
        workers = {}
        for name, (ranks, threads, environment) in contenders.items():
            command = [__file__, "--worker", *map(str, (batch_size, threads, images))]
            if ranks > 1:
                command = ["-c", LAUNCH, find_mpiexec(), "-n", str(ranks), sys.executable, *command]
            child = process(*command, env=os.environ | WAITING | environment)
            workers[name] = held.enter_context(child)
            answer(workers[name])
        yield workers


# Python that becomes mpiexec.
LAUNCH = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


def find_mpiexec():
    """Return the path of mpiexec."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if not found:
        sys.exit("there is no mpiexec: pip install 'lenet5c[mpi]' mpich")
    return found


def take_turns(workers, repeats):
    """Return name -> seconds of each turn."""
    times = {name: [] for name in workers}
    names = list(workers)
    for first in range(repeats):
        first %= len(names)
        for name in names[first:] + names[:first]:
            times[name].append(measure(workers[name])[0])
    return times


def main():
    parser = make_parser(__doc__, repeats=15)
    add = parser.add_argument
    add("--batch-sizes", type=positive, nargs="+", default=[64, 256, 1024], metavar="N")
    add("--ranks", type=positive, default=2, metavar="N", help="(default: %(default)s)")
    add("--images", type=positive, default=16384, metavar="N", help="(default: %(default)s)")
    add(
        "--nodes",
        action="store_true",
        help="also ranks that communicate by messages, as between machines",
    )
    parser.set_defaults(threads=1)
    options = parser.parse_args()
    total = options.ranks * options.threads
    alone, ranks = f"1 process x {total} threads", f"{options.ranks} ranks x {options.threads}"
    contenders = {alone: (1, total, {}), ranks: (options.ranks, options.threads, {})}
    if options.nodes:
        contenders[f"{ranks}, as machines"] = (options.ranks, options.threads, {NODE_SIZE: "1"})
    print_header(
        total,
        {},
        f"{options.images:,} images a turn, {options.repeats} turns. Times: least / median.",
        "Speed: that of the ranks by that of one process, of the least / the medians.",
    )
    table = Table({"batch": 6, "": 30, "time of a step": 17, "speed": 0}, left=2)
    for batch_size in options.batch_sizes:
        steps = -(-options.images // batch_size)
        with started(contenders, batch_size, options.images) as workers:
            times = take_turns(workers, options.repeats)
        whole = times[alone]
        for name, taken in times.items():
            speeds = min(whole) / min(taken), statistics.median(whole) / statistics.median(taken)
            cell = time_cell([seconds / steps for seconds in taken])
            table.row(batch_size, name, cell, "{:.2f} / {:.2f}".format(*speeds))


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["--worker"]:
            work(*map(int, sys.argv[2:]))
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except WorkerError as error:
        sys.exit(str(error))
