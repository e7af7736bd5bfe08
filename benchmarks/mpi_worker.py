"""Worker of `mpi_model.py`, as a rank or alone: steps of LeNet-5, and exchanges without steps."""

import json
import sys
import time

import numpy as np

import lenet5c
from lenet5c import nn, optim
from lenet5c.datasets import Preparation, mnist
from lenet5c.training.parallel import ALONE, launched_size
from lenet5c.training.parallel.mpi import MPIRanks

# Images of a timing, and of the least steps.
IMAGES, STEPS = 512, 1


class MeasuredRanks(MPIRanks):
    """Ranks that record the exchanged bytes, and the processor time spent waiting."""

    waited = 0.0

    def exchange(self, pieces):
        self.noted.append(pieces)
        began = time.thread_time()
        super().exchange(pieces)
        self.waited += time.thread_time() - began

    def window(self, floats):
        self.noted, began = [], time.thread_time()
        try:
            return super().window(floats)
        finally:
            self.waited += time.thread_time() - began


def measure(ranks, model, optimizer, samples, labels, batch, turns):
    """Return the seconds per step for a batch size, one value per turn."""
    steps = len(labels) // batch
    loss, rates = nn.CrossEntropyLoss(), [1e-5] * steps

    def run():
        model.train_steps(samples, labels, loss, optimizer, rates, batch_size=batch, ranks=ranks)

    run()
    measured = {"batch": batch, "steps": steps, "wall": [], "busy": []}
    together = ranks.size > 1
    if together:
        pieces = ranks.noted[: len(ranks.noted) // steps]
        measured["bytes"] = [sum(ends[-1] - ends[0] for ends in each) for each in pieces]
        measured["exchange"] = []
    for _ in range(turns):
        ranks.rest()
        ranks.gather(0)  # both are awake
        if together:
            ranks.waited = 0.0
        began, busy = time.perf_counter_ns(), time.process_time()
        run()
        wall = time.perf_counter_ns() - began
        waited = ranks.waited if together else 0.0
        measured["busy"].append((time.process_time() - busy - waited) / steps)
        measured["wall"].append(1e-9 * longest(ranks, wall) / steps)
        if together:
            ranks.gather(0)
            began = time.perf_counter_ns()
            for _ in range(steps):
                for each in pieces:
                    ranks.exchange(each)
            wall = time.perf_counter_ns() - began
            measured["exchange"].append(1e-9 * longest(ranks, wall) / steps)
    return measured


def longest(ranks, nanoseconds):
    """Return the longest time of all ranks, because ranks that begin late measure less."""
    return max(ranks.gather(nanoseconds))


def main(threads, turns, *batches):
    """Print a line of JSON for each batch size on the first rank."""
    ranks = MeasuredRanks() if launched_size() != 1 else ALONE
    lenet5c.set_num_threads(threads)
    prepare = Preparation.named("default")
    train = prepare.fit_dataset(mnist()[0])
    rng = np.random.default_rng(0)
    model = nn.LeNet5(rng=0)
    optimizer = optim.Adam(model, lr=1e-3)
    for batch in batches:
        index = rng.permutation(len(train))[: batch * max(STEPS, IMAGES // batch)]
        samples, labels = prepare.samples(train.images, index), train.labels[index]
        measured = measure(ranks, model, optimizer, samples, labels, batch, turns)
        if ranks.first:
            print(json.dumps(measured), flush=True)
    if ranks.size > 1:
        ranks.rest()
        ranks.leave(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
