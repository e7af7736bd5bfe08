"""Batch normalization (Ioffe and Szegedy, 2015)."""

from collections.abc import Callable, Hashable
from math import prod
from typing import Any, ClassVar

import numpy as np

from lenet5c.kernels.engine import training_ops
from lenet5c.nn.inputs import suggest_channels
from lenet5c.nn.layer import Floats, Shape, check_gradient, check_number, positive
from lenet5c.nn.limits import reserve
from lenet5c.nn.tile_layer import Offset, TileLayer

__all__ = ["BatchNorm1d", "BatchNorm2d"]


class BatchNorm(TileLayer):
    """Base class of batch normalization; `forms` maps numbers of axes to sample shapes."""

    forms: ClassVar[dict[int, str]] = {}
    #: Use the running mean and variance in training too, without updating them.
    frozen = False

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.num_features = positive("num_features", num_features)
        self.eps = check_number("eps", eps, 0)
        self.momentum = check_number("momentum", momentum, 0, 1)
        shape = (self.num_features,)
        reserve(weight=shape, bias=shape, running_mean=shape, running_var=shape, count=())
        self.params["weight"] = np.ones(num_features)
        self.params["bias"] = np.zeros(num_features)
        self.buffers["running_mean"] = np.zeros(num_features)
        self.buffers["running_var"] = np.ones(num_features)
        self.buffers["num_batches_tracked"] = np.array(0)

    def tile_op(self, offset: Offset) -> training_ops.BatchNorm:
        return self._op(offset, batch_stats=False)

    def training_op(self, offset: Offset) -> training_ops.BatchNorm:
        return self._op(offset, batch_stats=not self.frozen)

    def _op(self, offset: Offset, batch_stats: bool) -> training_ops.BatchNorm:
        mean, var, count = (
            self.buffers[name] for name in ("running_mean", "running_var", "num_batches_tracked")
        )
        places = offset("weight"), offset("bias")
        return training_ops.BatchNorm(
            *places, mean, var, count, self.eps, self.momentum, batch_stats
        )

    @property
    def training_settings(self) -> Hashable:
        return bool(self.frozen), self.momentum

    def backward_second(self, d2y: Floats, dy: Floats | None = None) -> Floats:
        """Return d2y times the squared slope of each channel, with constant mean and variance."""
        x = self.chain.saved_input("backward_second")
        check_gradient(d2y, x.shape, "d2y")
        axes, spread = (0, *range(2, x.ndim)), _spread_along(x)
        if self.frozen:
            mean, var = self.buffers["running_mean"], self.buffers["running_var"]
        else:
            mean, var = x.mean(axes), x.var(axes)
        scale = 1 / np.sqrt(var + np.float32(self.eps))
        normal = (x - spread(mean)) * spread(scale)
        self.curvatures["weight"] = (d2y * normal**2).sum(axes)
        self.curvatures["bias"] = d2y.sum(axes)
        return d2y * spread(self.params["weight"] * scale) ** 2

    def settings(self) -> dict[str, Any]:
        return {"num_features": self.num_features, "eps": self.eps, "momentum": self.momentum}

    def output_shape(self, input_shape: Shape) -> Shape:
        forms = " or ".join(self.forms.values())
        if len(input_shape) not in self.forms or input_shape[0] != self.num_features:
            remedy = suggest_channels("num_features", self.num_features, input_shape)
            raise ValueError(
                f"samples must be {forms} with {self.num_features} channels for "
                f"{type(self).__name__}, got {tuple(input_shape)}{remedy}"
            )
        return tuple(input_shape)

    def multiply_adds(self, input_shape: Shape) -> int:
        return prod(self.output_shape(input_shape))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_features})"


class BatchNorm1d(BatchNorm):
    """Normalize each channel of a batch to mean 0 and variance 1, then scale and shift it.

    The batch has shape (N, C), or (N, C, L) with L positions per channel.

    Parameters
    ----------
    num_features : int
    eps : float
        Added to the variance.
    momentum : float
        Weight of the current batch in the running mean and variance.

    Attributes
    ----------
    frozen : bool
        Use the running mean and variance in training too, without updating them, for example in a
        layer whose parameters are frozen.
    params : 'weight' and 'bias' (C,)
    buffers : 'running_mean', 'running_var' (unbiased) (C,), 'num_batches_tracked' ()

    Notes
    -----
    In training, with the mean and variance of each channel over its M values in the batch, and
    ``normal = (x - mean) / sqrt(var + eps)``::

        y = weight * normal + bias
        dweight = sum of dy * normal
        dbias = sum of dy
        dx = weight / sqrt(var + eps) * (dy - dbias / M - normal * dweight / M)

    In evaluation, or if the layer is frozen, the running mean and variance replace the batch
    statistics, and ``dx = weight / sqrt(var + eps) * dy``.

    Reference: `lenet5c.reference.batch_norm`.
    """

    forms: ClassVar = {1: "(C,)", 2: "(C, L)"}


class BatchNorm2d(BatchNorm):
    """Batch normalization of images (N, C, H, W), channel by channel; see `BatchNorm1d`.

    Reference: `lenet5c.reference.batch_norm`.
    """

    forms: ClassVar = {3: "(C, H, W)"}


def _spread_along(x: Floats) -> Callable[[Any], Floats]:
    """Return a function that reshapes values (C,) to broadcast along the channels of x."""
    shape = (-1, *[1] * (x.ndim - 2))
    return lambda values: np.asarray(values, np.float32).reshape(shape)
