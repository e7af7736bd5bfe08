"""Layers and models in float64, based on `lenet5c.reference`.

`to_float64` is used for gradient checks, for which float32 has too few digits. The forward pass of
convolution and pooling uses the float64 kernels of `lenet5c.kernels`, which are faster.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c import kernels, reference
from lenet5c.nn.activation import GELU, Activation, LeakyReLU
from lenet5c.nn.batch_norm import BatchNorm
from lenet5c.nn.composite import InOrder
from lenet5c.nn.convolution import Conv2d
from lenet5c.nn.dropout import Dropout
from lenet5c.nn.global_pooling import GlobalAvgPool2d, GlobalMaxPool2d
from lenet5c.nn.layer import Array, Arrays, Layer, Shape
from lenet5c.nn.linear import Flatten, Linear
from lenet5c.nn.pooling import AvgPool2d, MaxPool2d, Subsample2d
from lenet5c.nn.rbf import RBF
from lenet5c.nn.residual import Residual
from lenet5c.nn.sequential import Sequential

Doubles = NDArray[np.float64]
# Maps dy to dx, and to the gradients of the parameters, if any, in the order of their names.
Backward = Callable[[Doubles], Any]
# Maps a layer and its input to the training output and the backward function.
Passes = Callable[[Any, Doubles], tuple[Doubles, Backward]]


def to_float64(layer: Layer) -> Layer:
    """Return a copy of a layer or model with float64 parameters, passes and gradients.

    Custom layers written in NumPy are used unchanged, and the layers in their attributes are
    converted. A compiled layer without a reference implementation still computes in float32.
    """
    return _convert(copy.deepcopy(layer))


class Gradients(Arrays):
    """Gradients set by a layer, of any shape, in float64."""

    def __setitem__(self, name: str, value: Any) -> None:
        self.data[name] = np.array(value, np.float64)


class Counterpart(Layer):
    """A layer of the package that runs on functions of `lenet5c.reference`."""

    _back: Backward | None = None

    def __init__(self, layer: Layer, passes: Passes) -> None:
        self.layer, self.passes = layer, passes
        self.params, self.grads, self.buffers = layer.params, layer.grads, layer.buffers

    def forward(self, x: Array, training: bool = False) -> Array:
        self.layer.output_shape(x.shape[1:])
        y, back = self.passes(self.layer, x)
        self._back = back if training else None
        return y

    def backward(self, dy: Array) -> Array:
        if self._back is None:
            raise RuntimeError("backward must be called after forward(x, training=True)")
        found = self._back(dy)
        dx, *gradients = found if isinstance(found, tuple) else (found,)
        for name, gradient in zip(self.params, gradients, strict=False):
            self.grads[name] = gradient
        return np.asarray(dx)

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.layer.output_shape(input_shape)

    def __getattr__(self, name: str) -> Any:
        if name == "layer":  # missing while a copy is created
            raise AttributeError(name)
        return getattr(self.layer, name)

    def __repr__(self) -> str:
        return f"{self.layer!r} in float64"


class Chain(InOrder):
    """A `Sequential` in float64."""

    def __init__(self, layers: dict[str, Layer]) -> None:
        self.layers = layers
        #: Input of each layer in the last `forward`.
        self.inputs: dict[str, Array] = {}

    def forward(self, x: Array, training: bool = False) -> Array:
        for name, layer in self.layers.items():
            self.inputs[name] = x
            x = np.asarray(layer.forward(x, training))
        return x

    def forward_from(self, first: str, x: Array) -> Array:
        """Return the training output, given the input x of the layer `first`."""
        names = list(self.layers)
        for name in names[names.index(first) :]:
            x = np.asarray(self.layers[name].forward(x, True))
        return x

    def backward(self, dy: Array) -> Array:
        for name, layer in reversed(self.layers.items()):
            dx, shape = layer.backward(dy), self.inputs[name].shape
            if np.shape(dx) != shape:
                found = "None" if dx is None else f"the shape {np.shape(dx)}"
                raise ValueError(
                    f"backward of layer {name!r} must return an array with the shape of its input, "
                    f"{shape}, got {found}; check the gradients of that layer separately"
                )
            dy = np.asarray(dx)
        return dy


class Branches(Layer):
    """A `Residual` in float64."""

    def __init__(self, layers: Layer, shortcut: Layer | None) -> None:
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x: Array, training: bool = False) -> Array:
        ways = (partial(chain.forward, training=training) for chain in self.chains())
        return reference.residual(x, *ways)

    def backward(self, dy: Array) -> Array:
        return reference.residual_backward(dy, *(chain.backward for chain in self.chains()))

    def chains(self) -> list[Layer]:
        """Return the main branch, and the shortcut if there is one."""
        return [self.layers] if self.shortcut is None else [self.layers, self.shortcut]

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        for name, chain in zip(("layers", "shortcut"), self.chains(), strict=False):
            yield from chain.named_layers(f"{prefix}{name}.")


def _convert(layer: Layer) -> Layer:
    if isinstance(layer, Sequential) and _runs_as(layer, Sequential):
        return Chain({name: _convert(each) for name, each in layer.layers.items()})
    if isinstance(layer, Residual) and _runs_as(layer, Residual):
        shortcut = None if layer.shortcut is None else _convert(layer.shortcut)
        return Branches(_convert(layer.layers), shortcut)
    for arrays in (layer.params, layer.buffers):
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                arrays.bind(name, array.astype(np.float64))
    layer.grads = Gradients()
    for kind, passes in COUNTERPARTS.items():
        if isinstance(layer, kind) and _runs_as(layer, kind):
            return Counterpart(layer, passes)
    for name, value in list(vars(layer).items()):
        setattr(layer, name, _convert_within(value))
    layer.gather()
    return layer


def _convert_within(value: Any) -> Any:
    """Convert the layers in an attribute."""
    if isinstance(value, Layer):
        return _convert(value)
    if type(value) is dict:
        return {key: _convert_within(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_convert_within(each) for each in value)
    return value


def _runs_as(layer: Layer, kind: type[Layer]) -> bool:
    """Return True if the layer's passes are those of this class, not overridden by a subclass."""
    own = type(layer)
    return own.forward is kind.forward and own.backward is kind.backward


def _linear(layer: Linear, x: Doubles) -> tuple[Doubles, Backward]:
    weight, bias = layer.params["weight"], layer.params.get("bias")
    y = reference.linear(x, weight, bias)
    return y, lambda dy: reference.linear_backward(dy, x, weight)


def _flatten(layer: Flatten, x: Doubles) -> tuple[Doubles, Backward]:
    return reference.flatten(x), lambda dy: reference.flatten_backward(dy, x.shape)


def _conv2d(layer: Conv2d, x: Doubles) -> tuple[Doubles, Backward]:
    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    weight, table = layer.params["weight"], layer.connection_table
    if table is not None:
        weight = reference.scatter_filters(weight, table)
    y = kernels.conv2d(x, weight, layer.params.get("bias"), *settings)

    def back(dy: Doubles) -> Any:
        dx, dweight, dbias = reference.conv2d_backward(dy, x, weight, *settings)
        return dx, dweight if table is None else reference.gather_filters(dweight, table), dbias

    return y, back


def _max_pool2d(layer: MaxPool2d, x: Doubles) -> tuple[Doubles, Backward]:
    settings = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
    y = kernels.max_pool2d(x, *settings)
    return y, lambda dy: reference.max_pool2d_backward(dy, x, *settings)


def _avg_pool2d(layer: AvgPool2d, x: Doubles) -> tuple[Doubles, Backward]:
    settings = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
    counted = layer.count_include_pad
    y = kernels.avg_pool2d(x, *settings, counted)
    return y, lambda dy: reference.avg_pool2d_backward(dy, x.shape, *settings, counted)


def _global_avg_pool2d(layer: GlobalAvgPool2d, x: Doubles) -> tuple[Doubles, Backward]:
    y = reference.global_avg_pool2d(x)
    return y, lambda dy: reference.global_avg_pool2d_backward(dy, x.shape)


def _global_max_pool2d(layer: GlobalMaxPool2d, x: Doubles) -> tuple[Doubles, Backward]:
    y = reference.global_max_pool2d(x)
    return y, lambda dy: reference.global_max_pool2d_backward(dy, x)


def _subsample2d(layer: Subsample2d, x: Doubles) -> tuple[Doubles, Backward]:
    weight, size = layer.params["weight"], layer.kernel_size
    y = reference.subsample2d(x, weight, layer.params["bias"], size)
    return y, lambda dy: reference.subsample2d_backward(dy, x, weight, size)


def _rbf(layer: RBF, x: Doubles) -> tuple[Doubles, Backward]:
    codes = layer.buffers["codes"]
    return reference.rbf(x, codes), lambda dy: reference.rbf_backward(dy, x, codes)


def _leaky_relu(layer: LeakyReLU, x: Doubles) -> tuple[Doubles, Backward]:
    slope = layer.negative_slope
    y = reference.leaky_relu(x, slope)
    return y, lambda dy: reference.leaky_relu_backward(dy, x, slope)


def _gelu(layer: GELU, x: Doubles) -> tuple[Doubles, Backward]:
    approximate = layer.approximate
    return reference.gelu(x, approximate), lambda dy: reference.gelu_backward(dy, x, approximate)


def _activation(layer: Activation, x: Doubles) -> tuple[Doubles, Backward]:
    """Run an activation whose reference derivative is a function of its output."""
    y = getattr(reference, layer.kind)(x, *layer.constants)
    backward = getattr(reference, f"{layer.kind}_backward")
    return y, lambda dy: backward(dy, y, *layer.constants)


def _batch_norm(layer: BatchNorm, x: Doubles) -> tuple[Doubles, Backward]:
    weight, bias, eps = layer.params["weight"], layer.params["bias"], layer.eps
    if not layer.frozen:
        y = reference.batch_norm(x, weight, bias, eps)
        return y, lambda dy: reference.batch_norm_backward(dy, x, weight, eps)
    mean, var = layer.buffers["running_mean"], layer.buffers["running_var"]
    y = reference.batch_norm_inference(x, weight, bias, mean, var, eps)
    normal = reference.batch_norm_inference(x, np.ones_like(mean), 0 * mean, mean, var, eps)

    def back(dy: Doubles) -> Any:
        axes = (0, *range(2, x.ndim))
        slope = (weight / np.sqrt(var + eps)).reshape(-1, *[1] * (x.ndim - 2))
        return slope * dy, (dy * normal).sum(axes), dy.sum(axes)

    return y, back


def _dropout(layer: Dropout, x: Doubles) -> tuple[Doubles, Backward]:
    mask = reference.draw_dropout_mask(x.shape, layer.p, layer.seed, layer.passes)
    return reference.dropout(x, mask), lambda dy: reference.dropout_backward(dy, mask)


#: Reference implementation of each layer class; subclasses come before their base class.
COUNTERPARTS: dict[type[Layer], Passes] = {
    Linear: _linear,
    Flatten: _flatten,
    Conv2d: _conv2d,
    MaxPool2d: _max_pool2d,
    AvgPool2d: _avg_pool2d,
    GlobalAvgPool2d: _global_avg_pool2d,
    GlobalMaxPool2d: _global_max_pool2d,
    Subsample2d: _subsample2d,
    RBF: _rbf,
    LeakyReLU: _leaky_relu,
    GELU: _gelu,
    Activation: _activation,
    BatchNorm: _batch_norm,
    Dropout: _dropout,
}
