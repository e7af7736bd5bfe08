"""Trainers with shared settings, and their state as bytes."""

from functools import partial
from types import SimpleNamespace

import numpy as np

from lenet5c.datasets import Preparation
from lenet5c.nn import (
    AvgPool2d,
    BatchNorm1d,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Layer,
    LeNet5,
    Linear,
    MaxPool2d,
    MSELoss,
    ReLU,
    Sequential,
    Tanh,
)
from lenet5c.nn.tile_layer import TileChain
from lenet5c.optim import (
    SDLM,
    SGD,
    Adagrad,
    Adam,
    Constant,
    OneCycle,
    Piecewise,
    ReduceOnPlateau,
    RMSprop,
)
from lenet5c.training import Trainer


def lenet_trainer(data, epochs=2, lr=3e-3, loss=None, **options):
    model = LeNet5(rng=1)
    return Trainer(
        model,
        Adam(model, lr),
        OneCycle(lr, epochs * 32),
        loss or CrossEntropyLoss(),
        Preparation.named("default"),
        data,
        None,
        batch_size=64,
        epochs=epochs,
        **{"seed": 3} | options,
    )


class Noise(Layer):
    """A custom layer that draws from a NumPy generator."""

    def __init__(self, rng):
        self.rng = np.random.default_rng(rng)

    def forward(self, x, training=False):
        return x + self.rng.random(x.shape, np.float32) / 8 if training else x

    def backward(self, dy):
        return dy


def random_layers_trainer(data, epochs=2):
    """Make a trainer of a model with random layers and buffers, in the compiled core and not."""
    model = Sequential(
        Conv2d(1, 4, 5, rng=0),
        ReLU(),
        MaxPool2d(4),
        Flatten(),
        BatchNorm1d(196),
        Dropout(0.3, rng=7),
        Noise(rng=8),
        Linear(196, 10, rng=1),
    )
    return Trainer(
        model,
        SGD(model, 0.05, 0.9),
        Constant(0.05),
        CrossEntropyLoss(),
        Preparation.named("default"),
        data,
        None,
        batch_size=50,
        epochs=epochs,
        seed=3,
    )


def sdlm_trainer(data, epochs=2, order="constant", rate=1.0):
    """Make a trainer like the paper's: one of 150 images a step.

    A layer is random, and one has statistics.
    """
    model = Sequential(
        Conv2d(1, 3, 5, rng=0),
        Tanh(),
        AvgPool2d(4),
        Flatten(),
        Linear(147, 12, rng=1),
        Tanh(),
        Dropout(0.2, rng=7),
        Linear(12, 10, rng=2),
    )
    schedule = Piecewise((0.002 * rate, 0.001 * rate), (150,))
    return Trainer(
        model,
        SDLM(model, 1.0, samples=60),
        schedule,
        MSELoss(),
        Preparation.named("default"),
        data.take(np.arange(150)),
        None,
        batch_size=1,
        epochs=epochs,
        seed=3,
        order=order,
    )


def selective_trainer(data, epochs=4, **options):
    """Make a trainer with held-out images that keeps the best weights.

    It has an average, a rate that falls on a plateau, random layers and buffers.
    """
    model = LeNet5(rng=1, batch_norm=True, dropout=0.2)
    rest, held_out = data.split(200, 0)
    options = {"average": 0.9, "keep": "best"} | options
    return Trainer(
        model,
        RMSprop(model, 2e-3),
        ReduceOnPlateau(2e-3, factor=0.5, patience=0),
        CrossEntropyLoss(),
        Preparation.named("default"),
        rest,
        held_out,
        batch_size=50,
        epochs=epochs,
        seed=3,
        **options,
    )


def averaging_trainer(data, epochs=2):
    model = LeNet5(rng=1)
    return Trainer(
        model,
        Adagrad(model, 0.01),
        Constant(0.01),
        CrossEntropyLoss(),
        Preparation.named("default"),
        data,
        data.take(np.arange(100)),
        batch_size=70,
        epochs=epochs,
        seed=3,
        average=0.95,
    )


def all_bytes(trainer):
    values, arrays = trainer.state()
    return {name: array.tobytes() for name, array in arrays.items()}, values


MAKE = [lenet_trainer, random_layers_trainer, selective_trainer, averaging_trainer, sdlm_trainer]


class Countdown:
    def __init__(self, steps):
        self.steps = steps

    def __call__(self):
        self.steps -= 1
        return self.steps == 0


def replace_train_steps(monkeypatch, replacement):
    """Let programs call ``replacement(train_steps, **arguments)`` in place of `train_steps`."""
    prepare_step = TileChain.prepare_step

    def prepare(chain, *arguments):
        program, step = prepare_step(chain, *arguments)
        return SimpleNamespace(train_steps=partial(replacement, program.train_steps)), step

    monkeypatch.setattr(TileChain, "prepare_step", prepare)
