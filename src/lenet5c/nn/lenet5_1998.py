"""LeNet-5 of LeCun et al. (1998)."""

from typing import Annotated, Any, ClassVar

import numpy as np

from lenet5c.kernels.shapes import pair
from lenet5c.nn.activation import ScaledTanh
from lenet5c.nn.convolution import Conv2d
from lenet5c.nn.initialize import constant, fan_in_uniform
from lenet5c.nn.kind import choice
from lenet5c.nn.layer import Rng
from lenet5c.nn.linear import Flatten, Linear
from lenet5c.nn.net_options import NETS, Classes, InChannels, InputSize, last_maps
from lenet5c.nn.options import Option, with_options
from lenet5c.nn.pooling import Subsample2d
from lenet5c.nn.rbf import RBF
from lenet5c.nn.sequential import Sequential

__all__ = ["LeNet5_1998"]

# Table I of the paper: connections of the maps of S2 (rows) to the maps of C3 (columns).
C3_TABLE = np.array(
    [
        [1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1],
        [1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1],
        [1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1],
        [0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 1],
        [0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1],
        [0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1],
    ],
    dtype=bool,
)
FEATURES = 84  # of F6, a bitmap of 7 by 12
WINDOWS = [(5, 0), (5, 0)]  # of C1 and C3: side and padding

# Initializers of weights and of subsampling coefficients.
INITS = {
    "fitted": (fan_in_uniform(1.1), constant(0.55)),
    "printed": (fan_in_uniform(2.4, power=1), fan_in_uniform(2.4, power=1)),
    "lush": (fan_in_uniform(1.0), constant(0.5)),
}


@with_options
class LeNet5_1998(Sequential):
    """LeNet-5 exactly as described by LeCun, Bottou, Bengio and Haffner (1998), section II-B.

    The layers C1, S2, C3, S4, C5 and F6 are each followed by a scaled hyperbolic tangent; the
    output layer has radial basis functions. C3 uses the connections of table I, S2 and S4 have a
    trained coefficient and bias for each map, and the output layer compares F6 with the bitmaps of
    figure 3. For 32 by 32 images and ten classes, there are 60,000 trained parameters and 340,908
    connections.

    The outputs are penalties; `predict` returns the class with the smallest one. The losses are
    `MLELoss` (eq. 8) and `MAPLoss` (eq. 9). For ten classes, the codes are the bitmaps of the
    digits; for other numbers, they are fixed random codes of -1 and 1. The input must have at least
    16 pixels per side; the kernels of C5 are as large as its input maps.

    `init='printed'` draws weights and coefficients as in the paper's appendix A, from U(-2.4 / F,
    2.4 / F) with the fan-in F; with the paper's step sizes, training then fails. 'lush' follows the
    authors' own code (Lush, gblearn2): weights from U(-1 / sqrt(F), 1 / sqrt(F)), coefficients 0.5.
    'fitted' uses 1.1 instead of 1, and coefficients of 0.55; the step sizes of the first epoch are
    then those quoted in the paper. Biases are initialized to 0.

    Parameters
    ----------
    rng : int or numpy.random.Generator

    Notes
    -----
    Reference: `lenet5c.reference.lenet5_1998`.

    Examples
    --------
    >>> from lenet5c import nn
    >>> model = nn.LeNet5_1998(rng=0)
    >>> model.num_params, model.connections((1, 32, 32))
    (60000, 340908)
    """

    options: ClassVar[dict[str, Option]]  # of the constructor, by name
    config: dict[str, Any]

    def __init__(
        self,
        num_classes: Classes = 10,
        in_channels: InChannels = 1,
        input_size: InputSize = 32,
        *,
        init: Annotated[str, Option(choice(INITS), "initializer of the net of 1998")] = "fitted",
        rng: Rng = 0,
    ) -> None:
        size = pair(input_size, "input_size", 1)
        maps = last_maps(size, WINDOWS)
        generator = np.random.default_rng(rng)
        weights: dict[str, Any] = {"init": INITS[init][0], "rng": generator}
        coefficients: dict[str, Any] = {"init": INITS[init][1], "rng": generator}
        super().__init__(
            {
                "c1": Conv2d(in_channels, 6, 5, **weights),
                "act1": ScaledTanh(),
                "s2": Subsample2d(6, **coefficients),
                "act2": ScaledTanh(),
                "c3": Conv2d(6, 16, 5, connection_table=C3_TABLE, **weights),
                "act3": ScaledTanh(),
                "s4": Subsample2d(16, **coefficients),
                "act4": ScaledTanh(),
                "c5": Conv2d(16, 120, maps, **weights),
                "act5": ScaledTanh(),
                "flatten": Flatten(),
                "f6": Linear(120, FEATURES, **weights),
                "act6": ScaledTanh(),
                "output": RBF(classes=num_classes, features=FEATURES),
            },
            input_shape=(in_channels, *size),
        )

    def settings(self) -> dict[str, Any]:
        return dict(self.config)


NETS["lenet5_1998"] = LeNet5_1998
