"""Optimisers, which step on a model's parameter vector, and learning-rate schedules."""

from lenet5c.optim.optimizer import SDLM, SGD, Adam
from lenet5c.optim.schedule import Constant, Cosine, OneCycle, Piecewise, Step

__all__ = ["SDLM", "SGD", "Adam", "Constant", "Cosine", "OneCycle", "Piecewise", "Step"]
