"""LeNet-5 as it is commonly built today."""

import numpy as np

from lenet5c.kernels.shapes import pair
from lenet5c.nn.activation import ReLU, Sigmoid, Tanh
from lenet5c.nn.convolution import Conv2d, positive
from lenet5c.nn.linear import Flatten, Linear
from lenet5c.nn.pooling import AvgPool2d, MaxPool2d
from lenet5c.nn.sequential import Sequential

ACTIVATIONS = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh}
POOLINGS = {"max": MaxPool2d, "avg": AvgPool2d}


class LeNet5(Sequential):
    """LeNet-5 after LeCun et al. (1998), in today's form: every map connected to all maps before it, logits at the end.

    Two convolutions of 5 by 5 (6 and 16 maps), each with an activation and a 2 by 2 pooling, then fully connected
    layers of 120, 84 and `num_classes` units. For 32 by 32 grey images and 10 classes: 61,706 parameters.

    Parameters
    ----------
    num_classes : int
    in_channels : int
        1 for grey images, 3 for colour.
    input_size : int or (int, int)
        Height and width of the input, at least 16 (12 with ``padding=2``).
    padding : int
        Of the first convolution; 2 gives 28 by 28 images the same maps as 32 by 32 ones.
    activation : {'relu', 'tanh', 'sigmoid'}
    pooling : {'max', 'avg'}
    init : str or callable, optional
        Weights' initialiser; He's for ReLU, Glorot's for the others if not given.
    rng : int or numpy.random.Generator
        Draws the weights.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> model = nn.LeNet5(rng=0)
    >>> model.num_params
    61706
    >>> model.forward(np.zeros((2, 1, 32, 32), np.float32)).shape
    (2, 10)
    """

    def __init__(self, num_classes=10, in_channels=1, input_size=32, padding=0, activation="relu", pooling="max",
                 init=None, rng=0):  # fmt: skip
        for name, value, choices in (("activation", activation, ACTIVATIONS), ("pooling", pooling, POOLINGS)):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; it should be one of {', '.join(choices)}")
        size = pair(input_size, "input_size", 1)
        padding = _padding(padding)
        maps = maps_behind(size, padding)
        #: What rebuilds this model: ``LeNet5(**model.config)``.
        self.config = {
            "num_classes": positive("num_classes", num_classes),
            "in_channels": positive("in_channels", in_channels),
            "input_size": list(size),
            "padding": padding,
            "activation": activation,
            "pooling": pooling,
        }
        self.input_shape = (in_channels, *size)
        act, pool = ACTIVATIONS[activation], POOLINGS[pooling]
        weights = {"init": init or ("he_normal" if activation == "relu" else "glorot_uniform"),
                   "rng": np.random.default_rng(rng)}  # fmt: skip
        super().__init__(
            {
                "conv1": Conv2d(in_channels, 6, 5, padding=padding, **weights),
                "act1": act(),
                "pool1": pool(2),
                "conv2": Conv2d(6, 16, 5, **weights),
                "act2": act(),
                "pool2": pool(2),
                "flatten": Flatten(),
                "fc1": Linear(16 * maps[0] * maps[1], 120, **weights),
                "act3": act(),
                "fc2": Linear(120, 84, **weights),
                "act4": act(),
                "fc3": Linear(84, num_classes, **weights),
            }
        )

    @staticmethod
    def count_params(num_classes=10, in_channels=1, input_size=32, padding=0, activation="relu", pooling="max"):
        """How many parameters a model of this configuration has, without making it."""
        maps = maps_behind(pair(input_size, "input_size", 1), _padding(padding))
        layers = [(in_channels * 25, 6), (150, 16), (16 * maps[0] * maps[1], 120), (120, 84), (84, num_classes)]
        return sum((inputs + 1) * outputs for inputs, outputs in layers)

    def summary(self, input_shape=None):
        return super().summary(input_shape or self.input_shape)


def _padding(padding):
    vertical, horizontal = pair(padding, "padding", 0)
    if vertical != horizontal:
        raise ValueError(f"padding is {padding!r}; it should be one integer of at least 0")
    return vertical


def maps_behind(size, padding=0):
    """Height and width of the maps behind the second pooling."""
    maps = [((side + 2 * padding - 4) // 2 - 4) // 2 for side in size]
    if min(maps) < 1:
        raise ValueError(f"input_size is {tuple(size)}; LeNet-5 needs at least {16 - 2 * padding} pixels a side")
    return maps
