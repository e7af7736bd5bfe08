"""A small net for color images."""

from lenet5c.nn.layer import Rng
from lenet5c.nn.lenet5 import LeNet5
from lenet5c.nn.net_options import (
    NETS,
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
)
from lenet5c.nn.options import with_options

__all__ = ["SmallColor"]


@with_options
class SmallColor(LeNet5):
    """A small net for color or larger images, of 32 to 96 pixels per side.

    Four 3 by 3 convolutions, each with batch normalization, ReLU and max pooling, followed by
    global average pooling and one fully connected layer. For 10 classes, it has 118,058 parameters
    for any image size. It is a `LeNet5` with other defaults.

    Parameters
    ----------
    rng : int or numpy.random.Generator
        Seed or generator for the weights and the seeds of dropout.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn
    >>> model = nn.SmallColor(5, input_size=(48, 64), rng=0)
    >>> model.forward(np.zeros((2, 3, 48, 64), np.float32)).shape, model.num_params
    ((2, 5), 117253)
    """

    def __init__(
        self,
        num_classes: Classes = 10,
        in_channels: InChannels = 3,
        input_size: InputSize = 64,
        *,
        channels: Channels = (16, 32, 64, 160),
        units: Units = (),
        kernel_size: KernelSize = 3,
        padding: PaddingOption = 1,
        pooling: Pooling = "max",
        global_pooling: GlobalPooling = "avg",
        activation: Activation = "relu",
        dropout: DropoutOption = 0.1,
        batch_norm: Normalization = True,
        init: Weights = None,
        conv_init: ConvWeights = None,
        rng: Rng = 0,
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            input_size,
            channels=channels,
            units=units,
            kernel_size=kernel_size,
            padding=padding,
            pooling=pooling,
            global_pooling=global_pooling,
            activation=activation,
            dropout=dropout,
            batch_norm=batch_norm,
            init=init,
            conv_init=conv_init,
            rng=rng,
        )


NETS["small_color"] = SmallColor
