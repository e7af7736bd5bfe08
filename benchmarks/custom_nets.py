"""Time training steps of custom nets: lenet5c and PyTorch on the same net, batches and threads.

    python benchmarks/custom_nets.py [--nets lenet5-norm-dropout three-conv] [--batch-size 128]

A step is forward, loss, backward and the optimizer's update, on batches of random float32 images.
PyTorch (eager mode) uses the layout (channels first or last) and the optimizer (fused or not) that
are fastest in a trial. Before the measurements, loss and gradient of the first batch are compared
from the same weights; without dropout, because masks differ.
"""

from itertools import product

import numpy as np
from common import (
    OURS,
    Comparison,
    check_agreement,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
    timed,
)
from nets import pytorch_net

from lenet5c import nn, optim

LEARNING_RATE = 1e-3
TOLERANCE = 1e-3
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}
IMAGES = {"lenet5-norm-dropout": (1, 32, 32), "three-conv": (3, 32, 32)}


def make_net(name, dropout=0.5):
    if name == "lenet5-norm-dropout":
        return nn.LeNet5(batch_norm=True, dropout=dropout, rng=0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, rng=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1, rng=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 10, rng=3),
    )


class Ours:
    def __init__(self, model, images, labels, batch_size, optimizer):
        self.model, self.batch_size = model, batch_size
        self.images, self.labels = images, labels
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = getattr(optim, OPTIMIZERS[optimizer])(model, LEARNING_RATE)
        self.rates = [LEARNING_RATE] * (len(images) // batch_size)

    def first_batch(self):
        """Return the loss and the whole gradient of the first batch.

        Of a bias before batch normalization it is 0, but for rounding: no figure to compare alone.
        """
        first = slice(self.batch_size)
        loss, _ = self.model.train_step(self.images[first], self.labels[first], self.loss)
        return [np.float32(loss), self.model.grad_vector]

    def __call__(self):
        self.model.train_steps(
            *(self.images, self.labels, self.loss, self.optimizer, self.rates),
            batch_size=self.batch_size,
        )


class PyTorch:
    def __init__(
        self, torch, model, images, labels, batch_size, optimizer, channels_last=False, fused=False
    ):
        self.torch, self.batch_size = torch, batch_size
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = pytorch_net(torch, model).to(memory_format=layout).train()
        self.images = torch.from_numpy(images).contiguous(memory_format=layout)
        self.labels = torch.from_numpy(labels)
        kind = getattr(torch.optim, OPTIMIZERS[optimizer])
        self.optimizer = kind(self.model.parameters(), LEARNING_RATE, fused=fused)
        self.criterion = torch.nn.CrossEntropyLoss()
        self.name = f"channels {'last' if channels_last else 'first'}{', fused' if fused else ''}"

    def first_batch(self):
        loss = self.gradient(slice(self.batch_size))
        grads = [param.grad.flatten() for param in self.model.parameters()]
        return [np.float32(loss.item()), self.torch.cat(grads).numpy()]

    def gradient(self, batch):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(self.images[batch]), self.labels[batch])
        loss.backward()
        return loss

    def __call__(self):
        for first in range(0, len(self.images), self.batch_size):
            self.gradient(slice(first, first + self.batch_size))
            self.optimizer.step()


def fastest(torch, *arguments):
    """Return the fastest contender of PyTorch in a trial."""
    candidates = [
        PyTorch(torch, *arguments, channels_last, fused)
        for channels_last, fused in product((False, True), repeat=2)
    ]
    for each in candidates:
        each()
    seconds = [[timed(each, 1) for each in candidates] for _ in range(3)]
    return candidates[int(np.min(seconds, axis=0).argmin())]


def main():
    parser = make_parser(__doc__, repeats=9)
    add = parser.add_argument
    add("--nets", nargs="+", choices=IMAGES, default=list(IMAGES), metavar="NET")
    add("--batch-size", type=positive, default=128, metavar="N")
    add(
        "--steps",
        type=positive,
        default=20,
        metavar="N",
        help="steps per turn (default: %(default)s)",
    )
    add("--optimizer", choices=OPTIMIZERS, default="sgd", help="(default: %(default)s)")
    options = parser.parse_args()

    peers = load_peers("PyTorch")
    set_threads(options.threads, peers)
    print_header(
        options.threads,
        peers,
        f"A step is a batch of {options.batch_size} with {options.optimizer}; {options.repeats} "
        f"turns of {options.steps} steps each. {Comparison.NOTE}",
        f"Checked before: loss and gradient of the first batch agree within {TOLERANCE:.0e} "
        "of the largest value.",
    )
    table, notes = None, []
    for name in options.nets:
        rng = np.random.default_rng(0)
        count = options.batch_size * options.steps
        images = rng.standard_normal((count, *IMAGES[name])).astype(np.float32)
        data = images, rng.integers(10, size=count), options.batch_size, options.optimizer
        contenders = {OURS: Ours(make_net(name), *data)}
        if torch := peers.get("PyTorch"):
            plain = Ours(make_net(name, dropout=0.0), *data)
            other = PyTorch(torch, plain.model, *data)
            first = {OURS: plain.first_batch(), "PyTorch": other.first_batch()}
            check_agreement(name, first, TOLERANCE)
            contenders["PyTorch"] = fastest(torch, contenders[OURS].model, *data)
            notes.append(f"{name}: PyTorch with {contenders['PyTorch'].name}")
        times = interleaved(contenders, options.repeats)
        steps = {who: [each / options.steps for each in times[who]] for who in times}
        table = table or Comparison({"net": 20}, list(contenders))
        table.row([name], steps)
    print("", *notes, sep="\n")


if __name__ == "__main__":
    main()
