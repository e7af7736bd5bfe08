"""LeNet-5 as it is commonly built today."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from lenet5c.kernels.shapes import pair
from lenet5c.nn.activation import ACTIVATIONS
from lenet5c.nn.batch_norm import BatchNorm1d, BatchNorm2d
from lenet5c.nn.convolution import Conv2d
from lenet5c.nn.dropout import Dropout
from lenet5c.nn.initialize import Init
from lenet5c.nn.layer import Layer, Pair, Rng, positive
from lenet5c.nn.linear import Flatten, Linear
from lenet5c.nn.pooling import AvgPool2d, MaxPool2d
from lenet5c.nn.sequential import Sequential

__all__ = ["C5_FORMS", "NETS", "POOLINGS", "LeNet5"]

POOLINGS = {"max": MaxPool2d, "avg": AvgPool2d}
#: Classes of nets by the name that recipes use.
NETS: dict[str, type[Any]] = {}
C5_FORMS = ("linear", "conv")
UNITS = (6, 16, 120, 84)  # maps or units of the layers before the last


class LeNet5(Sequential):
    """LeNet-5 after LeCun et al. (1998), in today's form: all maps connected, logits at the end.

    Two convolutions of 5 by 5 (6 and 16 maps), each with an activation and a 2 by 2 pooling, then
    fully connected layers of 120, 84 and `num_classes` units. For 32 by 32 gray images and 10
    classes: 61,706 parameters.

    Parameters
    ----------
    num_classes : int
    in_channels : int
        1 for gray images, 3 for color.
    input_size : int or (int, int)
        Height and width of the input, at least 16 (12 with ``padding=2``).
    padding : int
        Of the first convolution; 2 gives 28 by 28 images the same maps as 32 by 32 ones.
    activation : str
        A name of `ACTIVATIONS`.
    pooling : {'max', 'avg'}
    init : str, dict or callable, optional
        Initializer of the weights, or its name, or for one of a number ``{'normal': 0.01}`` or
        ``{'uniform': 0.05}``; by default the usual one for the activation.
    rng : int or numpy.random.Generator
        Draws the weights, and the seeds of dropout.
    kernel_size : int
        Of both convolutions.
    conv2_padding : int
        Of the second convolution.
    c5 : {'linear', 'conv'}
        The layer of 120 units: fully connected, or, as in the paper, a convolution as large as its
        maps. Both compute the same.
    without_activation : sequence of str
        Those of 'conv1', 'conv2', 'fc1' ('conv3' with ``c5='conv'``) and 'fc2' without an
        activation after the layer.
    dropout : float
        Probability, after the activations of 'fc1' and 'fc2' (Srivastava et al., 2014).
    batch_norm : bool
        Batch normalization between each of these four layers and its activation (Ioffe and
        Szegedy, 2015).
    conv_init : str, dict or callable, optional
        Initializer of 'conv1' and 'conv2', if another than `init`.

    Notes
    -----
    Reference: `lenet5c.reference.lenet5`, the net with the default options.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> model = nn.LeNet5(rng=0)
    >>> model.num_params
    61706
    >>> model.forward(np.zeros((2, 1, 32, 32), np.float32)).shape
    (2, 10)
    >>> list(nn.LeNet5(c5="conv", without_activation=["conv2"], dropout=0.5).layers)[3:]
    ['conv2', 'pool2', 'conv3', 'act3', 'flatten', 'dropout3', 'fc2', 'act4', 'dropout4', 'fc3']
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        input_size: Pair = 32,
        padding: Pair = 0,
        activation: str = "relu",
        pooling: str = "max",
        init: Init | None = None,
        rng: Rng = 0,
        *,
        kernel_size: int = 5,
        conv2_padding: Pair = 0,
        c5: str = "linear",
        without_activation: Sequence[str] = (),
        dropout: float = 0.0,
        batch_norm: bool = False,
        conv_init: Init | None = None,
    ) -> None:
        for name, value, choices in (
            ("activation", activation, ACTIVATIONS),
            ("pooling", pooling, POOLINGS),
            ("c5", c5, C5_FORMS),
        ):
            if not isinstance(value, str) or value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        if not isinstance(batch_norm, bool):
            raise ValueError(f"batch_norm must be True or False, got {batch_norm!r}")
        num_classes = positive("num_classes", num_classes)
        in_channels = positive("in_channels", in_channels)
        size = pair(input_size, "input_size", 1)
        padding = _check_padding("padding", padding)
        conv2_padding = _check_padding("conv2_padding", conv2_padding)
        kernel_size = positive("kernel_size", kernel_size)
        maps = last_maps(size, padding, kernel_size, conv2_padding)
        names = ("conv1", "conv2", "fc1" if c5 == "linear" else "conv3", "fc2")
        without_activation = _choose("without_activation", without_activation, names)
        act, pool = ACTIVATIONS[activation], POOLINGS[pooling]
        rng = np.random.default_rng(rng)
        init = act.init if init is None else init
        conv_init = init if conv_init is None else conv_init
        trained: list[Conv2d | Linear] = [
            Conv2d(in_channels, 6, kernel_size, padding=padding, init=conv_init, rng=rng),
            Conv2d(6, 16, kernel_size, padding=conv2_padding, init=conv_init, rng=rng),
            Linear(16 * maps[0] * maps[1], 120, init=init, rng=rng)
            if c5 == "linear"
            else Conv2d(16, 120, maps, init=init, rng=rng),
            Linear(120, 84, init=init, rng=rng),
            Linear(84, num_classes, init=init, rng=rng),
        ]
        layers: dict[str, Layer] = {}
        for number, (name, layer) in enumerate(zip(names, trained, strict=False), start=1):
            if name == "fc1":
                layers["flatten"] = Flatten()
            layers[name] = layer
            if batch_norm:
                norm = BatchNorm2d if isinstance(layer, Conv2d) else BatchNorm1d
                layers[f"norm{number}"] = norm(UNITS[number - 1])
            if name not in without_activation:
                layers[f"act{number}"] = act()
            if number <= 2:
                layers[f"pool{number}"] = pool(2)
                continue
            if name == "conv3":
                layers["flatten"] = Flatten()
            if dropout:
                layers[f"dropout{number}"] = Dropout(dropout, int(rng.integers(2**63)))
        layers["fc3"] = trained[-1]

        #: Arguments of the same model, ``LeNet5(**model.config)``; later ones only if not default.
        self.config: dict[str, Any] = {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "input_size": list(size),
            "padding": padding,
            "activation": activation,
            "pooling": pooling,
        }
        later = {
            "kernel_size": (kernel_size, 5),
            "conv2_padding": (conv2_padding, 0),
            "c5": (c5, "linear"),
            "without_activation": (without_activation, []),
            "dropout": (float(dropout), 0.0),
            "batch_norm": (batch_norm, False),
        }
        self.config |= {name: value for name, (value, usual) in later.items() if value != usual}
        super().__init__(layers, input_shape=(in_channels, *size))

    @staticmethod
    def count_params(
        num_classes: int = 10,
        in_channels: int = 1,
        input_size: Pair = 32,
        padding: Pair = 0,
        activation: str = "relu",
        pooling: str = "max",
        *,
        kernel_size: int = 5,
        conv2_padding: Pair = 0,
        c5: str = "linear",
        without_activation: Sequence[str] = (),
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> int:
        """Return the number of parameters of such a model, without making it."""
        size, padding = pair(input_size, "input_size", 1), _check_padding("padding", padding)
        window = positive("kernel_size", kernel_size) ** 2
        conv2_padding = _check_padding("conv2_padding", conv2_padding)
        maps = last_maps(size, padding, kernel_size, conv2_padding)
        inputs = (in_channels * window, 6 * window, 16 * maps[0] * maps[1], 120, 84)
        sizes = zip(inputs, (*UNITS, num_classes), strict=True)
        return sum((i + 1) * o for i, o in sizes) + (2 * sum(UNITS) if batch_norm else 0)

    @staticmethod
    def count_buffers(batch_norm: bool = False, **_: Any) -> int:
        """Return the number of values in the buffers of such a model, without making it."""
        # A running mean and variance for each channel, and for each layer a count of batches.
        return 2 * sum(UNITS) + len(UNITS) if batch_norm else 0

    def settings(self) -> dict[str, Any]:
        return dict(self.config)


NETS["lenet5"] = LeNet5


def _check_padding(name: str, padding: Pair) -> int:
    vertical, horizontal = pair(padding, name, 0)
    if vertical != horizontal:
        raise ValueError(f"{name} must be one integer of at least 0, got {padding!r}")
    return vertical


def _choose(name: str, values: Collection[str], choices: Sequence[str]) -> list[str]:
    """Return `values` as a list, in the order of `choices`."""
    listed = isinstance(values, Collection) and not isinstance(values, str)
    if not listed or any(value not in choices for value in values):
        raise ValueError(f"{name} must be a list of some of {', '.join(choices)}, got {values!r}")
    return [choice for choice in choices if choice in values]


def last_maps(
    size: tuple[int, int], padding: int = 0, kernel_size: int = 5, conv2_padding: int = 0
) -> tuple[int, int]:
    """Return height and width of the maps after the second pooling."""
    less1, less2 = kernel_size - 1 - 2 * padding, kernel_size - 1 - 2 * conv2_padding
    pooled = [(side - less1) // 2 for side in size]
    height, width = ((side - less2) // 2 for side in pooled)
    if min(*pooled, height, width) < 1:
        least = max(1, 2 * max(1, 2 + less2) + less1)
        raise ValueError(f"input_size must be at least {least} pixels a side, got {tuple(size)}")
    return height, width
