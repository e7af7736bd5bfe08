"""LeNet-5 on a CPU: compiled kernels, layers with explicit forward and backward, MNIST inside.

`lenet5c.kernels` has the fast functions on NumPy arrays, `lenet5c.nn` layers and models, `lenet5c.optim` optimisers,
`lenet5c.datasets` the data. ``python -m lenet5c.train`` trains.
"""

from lenet5c.kernels import get_num_threads, set_num_threads

__version__ = "0.1.0"
__all__ = ["__version__", "get_num_threads", "set_num_threads"]
