"""A training epoch of LeNet-5: lenet5c against PyTorch, same net, batch, optimiser, threads and images.

    python benchmarks/train_epoch.py [--batch-size 128 …] [--threads 2] [--repeats 3]

An epoch is one pass over the 60,000 training images of MNIST with Adam, the last batch included. lenet5c starts from
the bytes of the images, PyTorch from a float32 tensor made beforehand and eager mode; both draw a new order for each
epoch. The first epoch of each warms up and is not counted; then they take turns.
"""

import argparse

import numpy as np
from common import TRAIN_FLOP, best_and_median, fma_peak, interleaved, machine, print_table

import lenet5c
from lenet5c.datasets import Preparation, mnist
from lenet5c.nn import CrossEntropyLoss, LeNet5
from lenet5c.optim import Adam, Constant
from lenet5c.training import Trainer

LEARNING_RATE = 1e-3


def ours(train_set, preparation, batch_size):
    model = LeNet5(rng=0)
    trainer = Trainer(model, Adam(model, LEARNING_RATE), Constant(LEARNING_RATE), CrossEntropyLoss(), preparation,
                      train_set, None, batch_size=batch_size, epochs=1)  # fmt: skip

    def epoch():
        trainer.run()
        trainer.epochs += 1
        return trainer.history[-1]["train_loss"]

    return epoch


def pytorch(train_set, preparation, batch_size, threads):
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    images = torch.from_numpy(preparation(train_set.images))
    labels = torch.from_numpy(train_set.labels.astype(np.int64))
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    criterion = nn.CrossEntropyLoss()

    def epoch():
        total = 0.0
        for batch in torch.randperm(len(images)).split(batch_size):
            optimizer.zero_grad()
            loss = criterion(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        return total / len(images)

    return epoch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[128], metavar="N")
    parser.add_argument("--threads", type=int, default=lenet5c.get_num_threads(), metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    options = parser.parse_args()
    lenet5c.set_num_threads(options.threads)
    try:
        import torch

        versions = f", PyTorch {torch.__version__}"
    except ImportError:
        versions = ", PyTorch is not installed: pip install torch==2.13.0"
    print(f"{machine()}{versions}; {options.threads} threads, {options.repeats} epochs each, in turns\n")

    train_set, _ = mnist()
    preparation = Preparation.named("default")
    peaks = [fma_peak(options.threads)]
    rows = [("", "batch", "best s", "median s", "images/s", "share of FMA peak", "times PyTorch")]
    for batch_size in options.batch_size:
        contenders = {"lenet5c": ours(train_set, preparation, batch_size)}
        if "not installed" not in versions:
            contenders["PyTorch"] = pytorch(train_set, preparation, batch_size, options.threads)
        interleaved(contenders, 1)
        seconds = interleaved(contenders | {"peak": lambda: peaks.append(fma_peak(options.threads))}, options.repeats)
        for name in contenders:
            best, median = best_and_median(seconds[name])
            flops = TRAIN_FLOP * len(train_set) / median
            ratio = f"{best_and_median(seconds['PyTorch'])[1] / median:.2f}" if "PyTorch" in contenders else "-"
            rows.append((name, str(batch_size), f"{best:.2f}", f"{median:.2f}", f"{len(train_set) / median:,.0f}",
                         f"{100 * flops / max(peaks):.0f} %", ratio))  # fmt: skip
    print_table(rows)
    print(f"\nFMA peak on {options.threads} threads: {max(peaks) / 1e9:.0f} GFLOP/s; "
          f"an epoch is {TRAIN_FLOP * len(train_set) / 1e9:.1f} GFLOP.")  # fmt: skip


if __name__ == "__main__":
    main()
