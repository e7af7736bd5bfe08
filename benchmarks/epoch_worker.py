"""Process of contention.py that trains an epoch for each line it reads, and prints the seconds.

    python benchmarks/epoch_worker.py {command,library,pytorch} BATCH_SIZE IMAGES THREADS

command: waits at barriers as `lenet5c train` does. library: as a program that imports lenet5c and
sets nothing. How OpenMP's threads wait is read when it is loaded, so that each way needs a process
of its own.
"""

import sys
import time

from lenet5c.commands.cli import wait_briefly

WAY = sys.argv[1]
if WAY == "command":
    wait_briefly()  # before the kernels load OpenMP

import numpy as np  # noqa: E402
from train_epoch import Ours, PyTorch  # noqa: E402

import lenet5c  # noqa: E402
from lenet5c.datasets import Preparation, mnist  # noqa: E402


def main(batch_size, images, threads):
    lenet5c.set_num_threads(threads)
    train_set, _ = mnist()
    train_set = train_set.take(np.arange(min(images, len(train_set))))
    contender = Ours(train_set, batch_size)
    if WAY == "pytorch":
        import torch

        torch.set_num_threads(threads)
        prepared = Preparation.named("default")(train_set.images)
        state = contender.model.state_dict()
        contender = PyTorch(torch, state, prepared, train_set.labels.astype(np.int64), batch_size)
    contender.epoch()  # warms up
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        contender.epoch()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[2:]))
