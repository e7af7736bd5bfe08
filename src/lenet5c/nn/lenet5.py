"""LeNet-5 in its modern form."""

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import numpy as np

from lenet5c.kernels.shapes import pair
from lenet5c.nn.activation import ACTIVATIONS
from lenet5c.nn.batch_norm import BatchNorm1d, BatchNorm2d
from lenet5c.nn.convolution import Conv2d
from lenet5c.nn.dropout import Dropout
from lenet5c.nn.layer import Layer, Rng
from lenet5c.nn.linear import Flatten, Linear
from lenet5c.nn.net_options import (
    C5,
    C5_FORMS,
    GLOBAL_POOLINGS,
    NETS,
    POOLINGS,
    Activation,
    Channels,
    Classes,
    ConvWeights,
    DropoutOption,
    GlobalPooling,
    InChannels,
    InputSize,
    KernelSize,
    Normalization,
    PaddingOption,
    Pooling,
    Units,
    Weights,
    WithoutActivation,
    weight_shapes,
    windows,
)
from lenet5c.nn.options import Option, with_options
from lenet5c.nn.sequential import Sequential

__all__ = ["C5_FORMS", "NETS", "POOLINGS", "LeNet5"]


@with_options
class LeNet5(Sequential):
    """LeNet-5 of LeCun et al. (1998) in its modern form: all maps connected, logits as outputs.

    The default net has two 5 by 5 convolutions (6 and 16 maps), each followed by an activation and
    2 by 2 pooling, and fully connected layers of 120, 84 and `num_classes` units. It has 61,706
    parameters for 32 by 32 gray images and 10 classes.

    Recipes and the command line have the same options, as in ``lenet5c train --channels 12 32
    --kernel-size 3``. An option of the convolutions is one number for all of them, or a list.

    Parameters
    ----------
    rng : int or numpy.random.Generator
        Seed or generator for the weights and the seeds of dropout.

    Attributes
    ----------
    config : dict of str to object
        Arguments that create the same net, ``LeNet5(**model.config)``, except initializers.

    Notes
    -----
    The layers are 'conv1', 'conv2', ..., 'fc1', 'fc2', ...; with ``c5='conv'``, the first fully
    connected layer is another convolution. Depending on the options, each layer but the last is
    followed by 'norm', 'act', 'pool' and 'dropout' with the number of the layer. Batch
    normalization: Ioffe and Szegedy (2015); dropout: Srivastava et al. (2014).

    Reference: `lenet5c.reference.lenet5`, for the default options.

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
    >>> nn.LeNet5(5, 3, (48, 64), channels=(16, 32, 64), units=(), kernel_size=(5, 3, 3)).num_params
    32037
    """

    options: ClassVar[dict[str, Option]]  # of the constructor, by name
    config: dict[str, Any]

    def __init__(
        self,
        num_classes: Classes = 10,
        in_channels: InChannels = 1,
        input_size: InputSize = 32,
        *,
        channels: Channels = (6, 16),
        units: Units = (120, 84),
        kernel_size: KernelSize = 5,
        padding: PaddingOption = 0,
        pooling: Pooling = "avg",
        global_pooling: GlobalPooling = "none",
        activation: Activation = "relu",
        dropout: DropoutOption = 0.0,
        batch_norm: Normalization = False,
        c5: C5 = "linear",
        without_activation: WithoutActivation = (),
        init: Weights = None,
        conv_init: ConvWeights = None,
        rng: Rng = 0,
    ) -> None:
        options = {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "input_size": input_size,
            "channels": channels,
            "units": units,
            "kernel_size": kernel_size,
            "padding": padding,
            "global_pooling": global_pooling,
            "c5": c5,
        }
        shapes, blocks = weight_shapes(options), windows(options)
        *names, last = shapes
        without_activation = _choose("without_activation", without_activation, names)
        act, pool = ACTIVATIONS[activation], POOLINGS[pooling]
        rng = np.random.default_rng(rng)
        init = act.init if init is None else init
        conv_init = init if conv_init is None else conv_init
        trained: dict[str, Conv2d | Linear] = {}
        for name, (outputs, inputs, *window) in shapes.items():
            if not window:
                trained[name] = Linear(inputs, outputs, init=init, rng=rng)
            elif len(trained) < len(blocks):
                side, pad = blocks[len(trained)]
                trained[name] = Conv2d(inputs, outputs, side, padding=pad, init=conv_init, rng=rng)
            else:  # C5
                height, width = window
                trained[name] = Conv2d(inputs, outputs, (height, width), init=init, rng=rng)

        layers: dict[str, Layer] = {}

        def add_dropout(name: str) -> None:
            if dropout:
                layers[name] = Dropout(dropout, int(rng.integers(2**63)))

        for number, name in enumerate(names, start=1):
            layer = trained[name]
            if name == "fc1":
                layers["flatten"] = Flatten()
            layers[name] = layer
            if batch_norm:
                norm = BatchNorm2d if isinstance(layer, Conv2d) else BatchNorm1d
                layers[f"norm{number}"] = norm(shapes[name][0])
            if name not in without_activation:
                layers[f"act{number}"] = act()
            if number <= len(blocks):
                layers[f"pool{number}"] = pool(2)
                if number == len(blocks) and global_pooling != "none":
                    layers["global_pool"] = GLOBAL_POOLINGS[global_pooling]()
                continue
            if isinstance(layer, Conv2d):
                layers["flatten"] = Flatten()
            add_dropout(f"dropout{number}")
        if not units:
            layers["flatten"] = Flatten()
            add_dropout("dropout")
        layers[last] = trained[last]
        super().__init__(layers, input_shape=(in_channels, *pair(input_size, "input_size", 1)))

    def settings(self) -> dict[str, Any]:
        return dict(self.config)


NETS["lenet5"] = LeNet5


def _choose(name: str, values: Collection[str], choices: Sequence[str]) -> list[str]:
    """Return `values` as a list, in the order of `choices`."""
    if any(value not in choices for value in values):
        raise ValueError(
            f"{name} must be a list of names among {', '.join(choices)}, got {values!r}"
        )
    return [choice for choice in choices if choice in values]
