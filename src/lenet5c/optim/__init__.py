"""Optimisers, which step on a model's parameter vector, and learning-rate schedules."""

from lenet5c.optim.optimizer import SGD, Adam
from lenet5c.optim.schedule import Constant, Cosine, OneCycle, Step

__all__ = ["SGD", "Adam", "Constant", "Cosine", "OneCycle", "Step"]
