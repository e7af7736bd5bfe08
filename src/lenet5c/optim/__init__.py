"""Optimisers, which step on a model's parameter vector, and learning-rate schedules."""

from lenet5c.optim.optimizer import SGD, Adagrad, Adam, RMSprop
from lenet5c.optim.schedule import Constant, Cosine, OneCycle, ReduceOnPlateau, Step

__all__ = ["SGD", "Adagrad", "Adam", "Constant", "Cosine", "OneCycle", "RMSprop", "ReduceOnPlateau", "Step"]
