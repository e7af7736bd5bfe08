"""Deviation of float32 training from float64: lenet5c compared with PyTorch.

    python benchmarks/float64_distance.py [NAME …] [--steps 300] [--seeds 0 1 …]

LeNet-5 is trained on MNIST three times from the same weights and on the same batches: by lenet5c,
by PyTorch in float32, and by PyTorch in float64, which is the reference. The seed determines
weights and batches. Pairs of figures are lenet5c, PyTorch.

Distance: norm of the difference of the weights from the reference after the last step, relative to
their norm. If rounding changes the result of a ReLU or a maximum, two runs diverge by a random
amount; the last columns show the first step with a distance above 1e-5.
Error: error of the gradient at the reference's weights, relative to its norm; the median of every
tenth step. Zeros: elements of these gradients that are zero only in float64.
With several seeds, the last row of a configuration has geometric means and the sum of the zeros.
"""

import argparse
import sys
from dataclasses import dataclass, field

import numpy as np
from nets import pytorch_net

from lenet5c import nn, optim, set_num_threads
from lenet5c.datasets import Preparation, mnist

try:
    import torch
except ImportError:
    sys.exit("PyTorch is what this compares with; install it: pip install torch")

PARTED = 1e-5
EVERY = 10


@dataclass(frozen=True)
class Configuration:
    """A training configuration, with the names of PyTorch's optimizers."""

    optimizer: str
    options: dict = field(default_factory=dict)
    batch_size: int = 128
    activation: str = "relu"
    pooling: str = "max"
    label_smoothing: float = 0.0
    cosine: bool = False

    @property
    def lr(self):
        return {"SGD": 0.05, "Adagrad": 0.01}.get(self.optimizer, 1e-3)

    def ours(self, model):
        options = dict(self.options)
        kind = self.optimizer
        if kind == "AdamW":
            kind, options = "Adam", {"decoupled": True, "weight_decay": 0.01} | options
        return getattr(optim, kind)(model, self.lr, **options)

    def theirs(self, parameters):
        return getattr(torch.optim, self.optimizer)(parameters, lr=self.lr, **self.options)

    def rates(self, steps):
        schedule = optim.Cosine(self.lr, steps) if self.cosine else optim.Constant(self.lr)
        return [schedule(step) for step in range(steps)]


DECAY = {"weight_decay": 5e-4}
MOMENTUM = {"momentum": 0.9}
CONFIGURATIONS = {
    "adam": Configuration("Adam"),
    "adam-32": Configuration("Adam", batch_size=32),
    "adam-decay": Configuration("Adam", DECAY),
    "adam-smoothing": Configuration("Adam", label_smoothing=0.1),
    "adam-smoothing-32": Configuration("Adam", label_smoothing=0.1, batch_size=32),
    "adam-cosine": Configuration("Adam", cosine=True),
    "adam-tanh": Configuration("Adam", activation="tanh"),
    "adam-avg": Configuration("Adam", pooling="avg"),
    "adam-tanh-avg-32": Configuration("Adam", activation="tanh", pooling="avg", batch_size=32),
    "adamw": Configuration("AdamW"),
    "adamw-smoothing-cosine": Configuration("AdamW", label_smoothing=0.1, cosine=True),
    "nadam": Configuration("NAdam"),
    "adagrad": Configuration("Adagrad"),
    "adagrad-decay": Configuration("Adagrad", DECAY),
    "rmsprop": Configuration("RMSprop"),
    "rmsprop-momentum-decay": Configuration("RMSprop", MOMENTUM | DECAY),
    "sgd": Configuration("SGD"),
    "sgd-32": Configuration("SGD", batch_size=32),
    "sgd-decay": Configuration("SGD", DECAY),
    "sgd-momentum": Configuration("SGD", MOMENTUM),
    "sgd-momentum-32": Configuration("SGD", MOMENTUM, batch_size=32),
    "sgd-nesterov-decay": Configuration("SGD", MOMENTUM | DECAY | {"nesterov": True}),
    "sgd-cosine": Configuration("SGD", cosine=True),
    "sgd-momentum-cosine": Configuration("SGD", MOMENTUM | DECAY, cosine=True),
    "sgd-smoothing": Configuration("SGD", MOMENTUM, label_smoothing=0.1),
    "sgd-tanh-avg": Configuration("SGD", MOMENTUM, activation="tanh", pooling="avg"),
}


class Theirs:
    """PyTorch's training in one dtype."""

    def __init__(self, configuration, model, dtype):
        self.model = pytorch_net(torch, model)
        self.model.to(dtype)
        self.dtype = dtype
        self.optimizer = configuration.theirs(self.model.parameters())
        self.loss = torch.nn.CrossEntropyLoss(label_smoothing=configuration.label_smoothing)

    def gradient(self, images, labels):
        self.optimizer.zero_grad()
        logits = self.model(torch.from_numpy(images).to(self.dtype))
        self.loss(logits, torch.from_numpy(labels)).backward()
        return self.flat(parameter.grad for parameter in self.model.parameters())

    def step(self, images, labels, lr):
        self.gradient(images, labels)
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()

    @property
    def vector(self):
        return self.flat(parameter.detach() for parameter in self.model.parameters())

    @vector.setter
    def vector(self, values):
        values = torch.tensor(values, dtype=self.dtype)
        torch.nn.utils.vector_to_parameters(values, self.model.parameters())

    def flat(self, tensors):
        return np.concatenate([tensor.numpy().ravel() for tensor in tensors])


@dataclass
class Course:
    """The course of a training; of each pair, lenet5c's is first, PyTorch's second."""

    distances: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    missed: list = field(default_factory=list)

    @property
    def figures(self):
        """Last distances, median errors, and sums of missed zeros, all (2,)."""
        return (
            np.array(self.distances[-1]),
            np.median(self.errors, axis=0),
            np.sum(self.missed, axis=0),
        )

    @property
    def parted(self):
        """The first step that ended further away than `PARTED`, or '-', for both."""
        beyond = np.array(self.distances) > PARTED
        return [int(column.argmax()) + 1 if column.any() else "-" for column in beyond.T]


def run(configuration, steps, seed=0):
    """Train the three from the same weights on the same batches, and return the course."""
    train, _ = mnist()
    rng = np.random.default_rng(seed)
    prepare = Preparation.named("default")
    settings = {"activation": configuration.activation, "pooling": configuration.pooling}
    ours, our_probe = (nn.LeNet5(**settings, rng=seed) for _ in range(2))
    optimizer = configuration.ours(ours)
    loss = nn.CrossEntropyLoss(label_smoothing=configuration.label_smoothing)
    judge, exact_probe = (Theirs(configuration, ours, torch.float64) for _ in range(2))
    single, probe = (Theirs(configuration, ours, torch.float32) for _ in range(2))
    course = Course()
    for step, lr in enumerate(configuration.rates(steps)):
        batch = rng.choice(len(train.images), configuration.batch_size, replace=False)
        images = prepare(train.images[batch])
        labels = train.labels[batch].astype(np.int64)
        if step % EVERY == 0:
            our_probe.vector[:] = judge.vector
            our_probe.train_step(images, labels, loss)
            for theirs in (exact_probe, probe):
                theirs.vector = our_probe.vector
            exact = exact_probe.gradient(images, labels)
            gradients = our_probe.grad_vector, probe.gradient(images, labels)
            course.errors.append([distance(gradient, exact) for gradient in gradients])
            course.missed.append([np.sum((exact == 0) & (g != 0)) for g in gradients])
        optimizer.lr = lr
        ours.train_step(images, labels, loss)
        optimizer.step()
        single.step(images, labels, lr)
        judge.step(images, labels, lr)
        course.distances.append([distance(each.vector, judge.vector) for each in (ours, single)])
    return course


def distance(vector, exact):
    return np.linalg.norm(vector - exact) / np.linalg.norm(exact)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(CONFIGURATIONS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=300, metavar="N")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    options = parser.parse_args()
    if unknown := set(options.names) - set(CONFIGURATIONS):
        parser.error(
            f"NAME must be of {', '.join(CONFIGURATIONS)}, got {', '.join(sorted(unknown))}"
        )
    torch.set_num_threads(1)
    set_num_threads(1)
    print(f"{'configuration':24} seed   distance         ×    error           zeros    parted")
    for name in options.names:
        courses = []
        for seed in options.seeds:
            course = run(CONFIGURATIONS[name], options.steps, seed)
            courses.append(course.figures)
            print_row(name, seed, *course.figures, course.parted)
        if len(courses) > 1:
            distances, errors, missed = map(np.array, zip(*courses, strict=True))
            means = (np.exp(np.log(values).mean(axis=0)) for values in (distances, errors))
            print_row(name, "all", *means, missed.sum(axis=0), ["", ""])


def print_row(name, seed, distances, errors, missed, parted):
    print(
        f"{name:24} {seed:>4}   {distances[0]:.1e} {distances[1]:.1e}  "
        f"{distances[0] / distances[1]:5.2f}  {errors[0]:.1e} {errors[1]:.1e}  "
        f"{missed[0]:4} {missed[1]:2}  {parted[0]:>4} {parted[1]:>4}",
        flush=True,
    )


if __name__ == "__main__":
    main()
