"""Steps of every optimizer, as passed to a program."""

from types import SimpleNamespace
from unittest import mock

import numpy as np

from lenet5c import optim
from lenet5c.kernels.simd import dispatch

KINDS = tuple(optim.OPTIMIZERS)
ARGUMENTS = {
    "adamw": {"weight_decay": 1e-2},
    "rmsprop": {"momentum": 0.5, "weight_decay": 1e-3},
    "sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
}


class Steps:
    """Steps of an optimizer of a flat parameter vector, and its state.

    `update` is for the tile kernels `tiles`; `vectors` are those that it reads and writes.
    """

    def __init__(self, kind, params, rates, tiles):
        choice = optim.OPTIMIZERS[kind]
        arguments = ARGUMENTS.get(kind, {})
        if "weight_decay" in choice.arguments:
            arguments = {"weight_decay": 1e-3} | arguments
        model = SimpleNamespace(vector=params, grad_vector=np.zeros_like(params))
        self.optimizer = choice.make(model, lr=rates[0] if len(rates) else 0.0, **arguments)
        if kind == "sdlm":
            self.optimizer.set_curvature(abs(params))
        with mock.patch.object(dispatch, "tiles", tiles):
            self.update = self.optimizer.describe_steps(model, list(rates))

    @property
    def vectors(self):
        return [getattr(self.optimizer, name) for name in self.optimizer.vectors]
