import os
from typing import Any

from lenet5c import datasets as datasets
from lenet5c import errors as errors
from lenet5c import export as export
from lenet5c import kernels as kernels
from lenet5c import nn as nn
from lenet5c import optim as optim
from lenet5c import recipes as recipes
from lenet5c import recognition as recognition
from lenet5c import reference as reference
from lenet5c import report as report
from lenet5c import sklearn as sklearn
from lenet5c import training as training
from lenet5c.kernels import get_num_threads as get_num_threads
from lenet5c.kernels import set_num_threads as set_num_threads

__version__: str
__all__ = [
    "__version__",
    "datasets",
    "errors",
    "export",
    "get_num_threads",
    "kernels",
    "nn",
    "optim",
    "recipes",
    "recognition",
    "reference",
    "report",
    "set_num_threads",
    "trainer",
    "training",
]

def trainer(
    name: str = "default",
    data: str | os.PathLike[str] | datasets.Source | datasets.Dataset = "mnist",
    seed: int = 0,
    **changes: Any,
) -> training.Trainer: ...
