"""LeNet-5 on a CPU: compiled kernels, layers with explicit forward and backward, MNIST included.

`lenet5c.kernels` has fast functions on NumPy arrays, `lenet5c.nn` layers and models,
`lenet5c.optim` optimizers, `lenet5c.datasets` data sets, `lenet5c.training` the training loop,
`lenet5c.recognition` reading of digits in pictures, `lenet5c.report` pictures and tables of models,
`lenet5c.export` other formats, `lenet5c.sklearn` an estimator for scikit-learn, `lenet5c.reference`
readable float64 implementations of all kernels and layers.

To train, use ``lenet5c train`` or, in a notebook, ``lenet5c.trainer("fast").fit()``.
`lenet5c.run_many` runs many trainings in parallel.
"""

from importlib import import_module

TYPE_CHECKING = False  # instead of importing typing
if TYPE_CHECKING:
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
    from lenet5c.recipes import distill as distill
    from lenet5c.recipes import run_many as run_many
    from lenet5c.recipes import trainer as trainer

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "datasets",
    "distill",
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
    "run_many",
    "set_num_threads",
    "trainer",
    "training",
]


def __getattr__(name: str) -> object:
    # Imported when used, because a command may set OpenMP's wait policy first, which is read when
    # OpenMP is loaded.
    if name in ("get_num_threads", "set_num_threads"):
        return getattr(import_module("lenet5c.kernels"), name)
    if name in ("distill", "run_many", "trainer"):
        return getattr(import_module("lenet5c.recipes"), name)
    if name in __all__ or name == "sklearn":
        return import_module(f"lenet5c.{name}")
    raise AttributeError(f"module 'lenet5c' has no attribute {name!r}")


def __dir__() -> list[str]:
    from importlib.util import find_spec

    # Not in __all__, because scikit-learn may not be installed.
    return [*__all__, "sklearn"] if find_spec("sklearn") else __all__
