"""Layers, losses and models, with explicit forward and backward passes over NumPy arrays.

Computation is in float32. Inputs may also have a dtype that float32 represents exactly: float16,
bool, and integers of 8 or 16 bits, such as uint8 images; they are converted but not scaled.
float64, larger integers and masked arrays are rejected, because conversion would silently lose
information.

`ACTIVATIONS`, `LOSSES`, `POOLINGS` and `NETS` map the names used in recipes to classes.
"""

# ruff: noqa: F403
from lenet5c.nn import (
    activation,
    batch_norm,
    convolution,
    cross_entropy,
    dropout,
    ensemble,
    global_pooling,
    gradient_check,
    layer,
    lenet5,
    lenet5_1998,
    linear,
    loss,
    penalty_loss,
    pooling,
    rbf,
    registry,
    residual,
    sequential,
    small_color,
)
from lenet5c.nn.activation import *
from lenet5c.nn.batch_norm import *
from lenet5c.nn.convolution import *
from lenet5c.nn.cross_entropy import *
from lenet5c.nn.dropout import *
from lenet5c.nn.ensemble import *
from lenet5c.nn.global_pooling import *
from lenet5c.nn.gradient_check import *
from lenet5c.nn.layer import *
from lenet5c.nn.lenet5 import *
from lenet5c.nn.lenet5_1998 import *
from lenet5c.nn.linear import *
from lenet5c.nn.loss import *
from lenet5c.nn.penalty_loss import *
from lenet5c.nn.pooling import *
from lenet5c.nn.rbf import *
from lenet5c.nn.registry import *
from lenet5c.nn.residual import *
from lenet5c.nn.sequential import *
from lenet5c.nn.small_color import *

__all__ = [
    *activation.__all__,
    *batch_norm.__all__,
    *convolution.__all__,
    *cross_entropy.__all__,
    *dropout.__all__,
    *ensemble.__all__,
    *global_pooling.__all__,
    *gradient_check.__all__,
    *layer.__all__,
    *lenet5.__all__,
    *lenet5_1998.__all__,
    *linear.__all__,
    *loss.__all__,
    *penalty_loss.__all__,
    *pooling.__all__,
    *rbf.__all__,
    *registry.__all__,
    *residual.__all__,
    *sequential.__all__,
    *small_color.__all__,
]

for _name in __all__:
    _kind = globals()[_name]
    if isinstance(_kind, type) and issubclass(_kind, layer.Layer) and _kind is not layer.Layer:
        registry.register(_kind)
