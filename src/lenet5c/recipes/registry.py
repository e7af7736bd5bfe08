"""Optimizers, schedules and losses by name (until lenet5c.optim and lenet5c.nn offer them)."""

from typing import Any, NamedTuple

from lenet5c import nn, optim


class Entry(NamedTuple):
    cls: Any
    lr: float
    weight_decay: float
    fixed: dict[str, Any] = {}


OPTIMIZERS = {
    "adam": Entry(optim.Adam, 4e-3, 0.0),
    "adamw": Entry(optim.Adam, 4e-3, 0.1, {"decoupled": True}),
    "sgd": Entry(optim.SGD, 0.05, 5e-4),
    "adagrad": Entry(optim.Adagrad, 0.05, 0.0),
    "rmsprop": Entry(optim.RMSprop, 4e-3, 0.0),
    "sdlm": Entry(optim.SDLM, 5e-4, 0.0),
}
SCHEDULES = {
    "constant": optim.Constant,
    "step": optim.Step,
    "cosine": optim.Cosine,
    "one-cycle": optim.OneCycle,
    "reduce-on-plateau": optim.ReduceOnPlateau,
    "piecewise": optim.Piecewise,
}
LOSSES = {
    "cross_entropy": nn.CrossEntropyLoss,
    "mse": nn.MSELoss,
    "mle": nn.MLELoss,
    "map": nn.MAPLoss,
}
