"""Training epoch of LeNet-5: lenet5c, PyTorch and NumPy on the same net, batches and threads.

    python benchmarks/train_epoch.py [--batch-size 128 …] [--threads 2] [--repeats 3]

An epoch is one pass over the 60,000 training images of MNIST with Adam, the last batch included.
lenet5c starts from the bytes of the images, PyTorch (eager mode) and NumPy from float32 made
beforehand; all draw a new order for each epoch. NumPy takes a part of the epoch's steps, and its
time is scaled to the whole. Before anything is timed, loss and gradient of the first batch, from
the same weights, are compared. The first epoch warms up and is not counted.
"""

import numpy as np
from common import (
    NUMPY,
    OURS,
    TRAIN_FLOP,
    Comparison,
    Peak,
    check_agreement,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
)
from numpy_lenet5 import NumpyAdam, NumpyLeNet5

from lenet5c.datasets import Preparation, mnist
from lenet5c.nn import CrossEntropyLoss, LeNet5
from lenet5c.optim import Adam, Constant
from lenet5c.training import Trainer

LEARNING_RATE = 1e-3
TOLERANCE = 1e-4


class Ours:
    def __init__(self, train_set, batch_size):
        self.model = LeNet5(pooling="max", rng=0)
        self.trainer = Trainer(
            self.model,
            Adam(self.model, LEARNING_RATE),
            Constant(LEARNING_RATE),
            CrossEntropyLoss(),
            Preparation.named("default"),
            train_set,
            None,
            batch_size=batch_size,
            epochs=1,
        )

    def first_batch(self, count):
        """Return the loss and the gradients, by parameter, of the first `count` images."""
        trainer = self.trainer
        loss, _ = self.model.train_step(
            trainer.preparation.samples(trainer.train_set.images, np.arange(count)),
            trainer.train_set.labels[:count],
            trainer.loss,
        )
        return [np.float32(loss), *self.model.grads.values()]

    def epoch(self):
        self.trainer.run()
        self.trainer.epochs += 1


class PyTorch:
    def __init__(self, torch, state, images, labels, batch_size):
        self.torch, self.batch_size = torch, batch_size
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)
        self.model = pytorch_lenet5(torch, state)
        self.optimizer = torch.optim.Adam(self.model.parameters(), LEARNING_RATE)
        self.criterion = torch.nn.CrossEntropyLoss()

    def first_batch(self, count):
        loss = self.gradient(slice(count))
        return [np.float32(loss.item()), *(param.grad.numpy() for param in self.model.parameters())]

    def gradient(self, batch):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(self.images[batch]), self.labels[batch])
        loss.backward()
        return loss

    def epoch(self):
        total = 0.0
        for batch in self.torch.randperm(len(self.images)).split(self.batch_size):
            loss = self.gradient(batch)
            self.optimizer.step()
            total += loss.item() * len(batch)


class Numpy:
    def __init__(self, state, images, labels, batch_size, steps):
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.model = NumpyLeNet5(state)
        self.optimizer = NumpyAdam(self.model.params, LEARNING_RATE)
        self.samples = min(steps * batch_size, len(images))
        self.rng = np.random.default_rng(0)

    def first_batch(self, count):
        loss, grads = self.model.loss_and_gradient(self.images[:count], self.labels[:count])
        return [np.float32(loss), *grads.values()]

    def epoch(self):
        """Train on the first `samples` of an epoch's order only."""
        order = self.rng.permutation(len(self.images))[: self.samples]
        total = 0.0
        for start in range(0, self.samples, self.batch_size):
            batch = order[start : start + self.batch_size]
            loss, grads = self.model.loss_and_gradient(self.images[batch], self.labels[batch])
            self.optimizer.step(grads)
            total += loss * len(batch)


def pytorch_lenet5(torch, state, activation="relu", pooling="max"):
    """Return the same net with the same weights."""
    nn = torch.nn
    act = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    pool = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}[pooling]
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5),
        act(),
        pool(2),
        nn.Conv2d(6, 16, 5),
        act(),
        pool(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        act(),
        nn.Linear(120, 84),
        act(),
        nn.Linear(84, 10),
    )
    values = (torch.from_numpy(array) for array in state.values())
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    return model


def contenders_for(train_set, batch_size, peers, numpy_steps):
    ours = Ours(train_set, batch_size)
    state = ours.model.state_dict()
    images = Preparation.named("default")(train_set.images)
    labels = train_set.labels.astype(np.int64)
    contenders = {OURS: ours}
    if torch := peers.get("PyTorch"):
        contenders["PyTorch"] = PyTorch(torch, state, images, labels, batch_size)
    if numpy_steps:
        contenders[NUMPY] = Numpy(state, images, labels, batch_size, numpy_steps)
    return contenders


def main():
    parser = make_parser(__doc__, repeats=3)
    add = parser.add_argument
    add("--batch-size", type=positive, nargs="+", default=[32, 64, 128, 192, 256], metavar="N")
    add(
        "--images",
        type=positive,
        default=60000,
        metavar="N",
        help="the first N images are the epoch (default: all)",
    )
    add(
        "--numpy-steps",
        type=int,
        default=100,
        metavar="N",
        help="steps of NumPy's part of the epoch; 0 leaves it out (default: %(default)s)",
    )
    options = parser.parse_args()

    peers = load_peers("PyTorch")
    set_threads(options.threads, peers)
    train_set, _ = mnist()
    train_set = train_set.take(np.arange(min(options.images, len(train_set))))
    print_header(
        options.threads,
        peers,
        f"An epoch is {len(train_set):,} images, {TRAIN_FLOP * len(train_set) / 1e9:.1f} GFLOP; "
        f"{options.repeats} epochs each, in turns; NumPy: {options.numpy_steps} steps, scaled. "
        f"{Comparison.NOTE}",
        f"Checked before: loss and gradient of the first batch agree within {TOLERANCE:.0e} "
        "of the largest value.",
    )
    peak = Peak(options.threads)
    table = None
    for batch_size in options.batch_size:
        contenders = contenders_for(train_set, batch_size, peers, options.numpy_steps)
        count = min(batch_size, len(train_set))
        first = {name: contender.first_batch(count) for name, contender in contenders.items()}
        check_agreement(f"batch {batch_size}", first, TOLERANCE)

        runs = {name: contender.epoch for name, contender in contenders.items()}
        times = interleaved(runs | {"peak": peak}, options.repeats)
        if NUMPY in contenders:
            scale = len(train_set) / contenders[NUMPY].samples
            times[NUMPY] = [seconds * scale for seconds in times[NUMPY]]
        table = table or Comparison({"batch": 5}, list(contenders))
        table.row([batch_size], times, peak.share(TRAIN_FLOP * len(train_set), min(times[OURS])))
    print(f"\n{peak}")


if __name__ == "__main__":
    main()
