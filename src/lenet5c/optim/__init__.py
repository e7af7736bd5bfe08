"""Optimizers and learning-rate schedules.

Optimizers update the flat parameter vector of a model. `OPTIMIZERS` and `SCHEDULES` map the names
used in recipes to classes.
"""

# ruff: noqa: F403
from lenet5c.optim import adaptive, momentum, optimizer, schedule, sdlm
from lenet5c.optim.adaptive import *
from lenet5c.optim.momentum import *
from lenet5c.optim.optimizer import *
from lenet5c.optim.schedule import *
from lenet5c.optim.sdlm import *

__all__ = [
    *adaptive.__all__,
    *momentum.__all__,
    *optimizer.__all__,
    *schedule.__all__,
    *sdlm.__all__,
]
