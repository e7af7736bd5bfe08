"""Optimisers, which step on a model's parameter vector, and learning-rate schedules."""

from lenet5c.optim.optimizer import SDLM, SGD, Adagrad, Adam, RMSprop
from lenet5c.optim.schedule import Constant, Cosine, OneCycle, Piecewise, ReduceOnPlateau, Step

__all__ = [
    "SDLM",
    "SGD",
    "Adagrad",
    "Adam",
    "Constant",
    "Cosine",
    "OneCycle",
    "Piecewise",
    "RMSprop",
    "ReduceOnPlateau",
    "Step",
]
