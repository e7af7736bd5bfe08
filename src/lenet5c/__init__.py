"""LeNet-5 on a CPU: compiled kernels, layers with explicit forward and backward, MNIST inside.

`lenet5c.kernels` has the fast functions on NumPy arrays, `lenet5c.nn` layers and models, `lenet5c.optim` optimisers,
`lenet5c.datasets` the data, `lenet5c.training` the loop, `lenet5c.recognition` reads digits in pictures, `lenet5c.report`
draws what a model does, `lenet5c.export` takes it elsewhere, `lenet5c.sklearn` is an estimator for scikit-learn,
`lenet5c.reference` has readable float64 twins of all kernels and layers.
``python -m lenet5c.train`` trains; in a notebook, ``lenet5c.trainer("fast").fit()`` does.
"""

from importlib import import_module

__version__ = "0.1.0"
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


def __getattr__(name):
    # Imported when used: a command may still have to set how OpenMP's threads wait, which is read at its loading.
    if name in ("get_num_threads", "set_num_threads"):
        return getattr(import_module("lenet5c.kernels"), name)
    if name == "trainer":
        return import_module("lenet5c.recipes").trainer
    if name in __all__ or name == "sklearn":
        return import_module(f"lenet5c.{name}")
    raise AttributeError(f"module 'lenet5c' has no attribute {name!r}")


def __dir__():
    from importlib.util import find_spec

    # Not in __all__, as scikit-learn need not be there.
    return [*__all__, "sklearn"] if find_spec("sklearn") else __all__
