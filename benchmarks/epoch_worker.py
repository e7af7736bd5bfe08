"""Worker of contention.py and guard.py that trains for one epoch per turn (see workers.py).

    python benchmarks/epoch_worker.py {command,library,pytorch} BATCH_SIZE IMAGES THREADS

command: threads wait at barriers as in `lenet5c train`. library: the default settings of OpenMP.
Each needs its own process, because OpenMP reads its settings when it is loaded.
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
