"""Optimizers, which step on a model's flat parameter vector, and learning-rate schedules.

`OPTIMIZERS` and `SCHEDULES` have all of them by the name that recipes use.
"""

from lenet5c.optim.adaptive import *
from lenet5c.optim.momentum import *
from lenet5c.optim.optimizer import *
from lenet5c.optim.schedule import *
from lenet5c.optim.sdlm import *
