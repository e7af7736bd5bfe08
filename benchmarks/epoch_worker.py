"""Worker of contention.py and guard.py that trains an epoch a turn (see workers.py).

    python benchmarks/epoch_worker.py {command,library,pytorch} BATCH_SIZE IMAGES THREADS

command: waits at barriers as `lenet5c train` does. library: as a program that imports lenet5c and
sets nothing. How OpenMP's threads wait is read when it is loaded, so that each way needs a process
of its own.
"""

import sys

from lenet5c.commands.cli import wait_briefly

WAY = sys.argv[1]
if WAY == "command":
    wait_briefly()  # before the kernels load OpenMP

import numpy as np  # noqa: E402
from train_epoch import Ours  # noqa: E402
from workers import serve  # noqa: E402

import lenet5c  # noqa: E402
from lenet5c.datasets import Preparation, mnist  # noqa: E402


def main(batch_size, images, threads):
    lenet5c.set_num_threads(threads)
    train_set, _ = mnist()
    train_set = train_set.take(np.arange(min(images, len(train_set))))
    contender = Ours(train_set, batch_size)
    if WAY == "pytorch":
        import torch
        from training_engines import PyTorch

        torch.set_num_threads(threads)
        prepared = Preparation.named("default")(train_set.images)
        labels = train_set.labels.astype(np.int64)
        contender = PyTorch(torch, contender.model, prepared, labels, batch_size)
    contender.epoch()  # warms up
    serve(contender.epoch)


if __name__ == "__main__":
    main(*map(int, sys.argv[2:]))
