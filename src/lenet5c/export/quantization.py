"""Weights in one byte each."""

from dataclasses import replace

import numpy as np

from lenet5c import nn
from lenet5c.export.network import fold_batch_norm, network
from lenet5c.nn.initialize import constant
from lenet5c.training.model_file import TrainedModel

ZEROS = constant(0.0)


def quantize_int8(trained):
    """The model that a C file with int8 weights computes, to see what the rounding costs before it is written.

    Parameters
    ----------
    trained : TrainedModel

    Returns
    -------
    TrainedModel
        Its weights are int8 times a scale for each output channel; batch normalisation is part of them.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.export import quantize_int8
    >>> from lenet5c.training import pretrained
    >>> _, test = mnist()
    >>> trained = pretrained()
    >>> abs(quantize_int8(trained).logits(test.images[:100]) - trained.logits(test.images[:100])).max() < 0.5
    np.True_
    """
    net = network(trained)
    return TrainedModel(
        dequantized_model(fold_batch_norm(net.steps)),
        trained.preparation,
        trained.class_names,
        trained.image_shape,
        trained.reading,
    )


def quantized(weight):
    """Weights (O, ...) as int8 of the same shape and float32 scales (O,): the largest of each output becomes 127."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    scale = (np.abs(flat).max(axis=1) / 127).astype(np.float32)
    scale[scale == 0] = 1
    values = np.clip(np.rint(flat / scale[:, None].astype(np.float64)), -127, 127)
    return values.astype(np.int8).reshape(weight.shape), scale


def dequantized_model(steps):
    """A `Sequential` of the steps, with weights rounded to what int8 can say."""
    rounded = []
    for step in steps:
        if step.kind in ("conv2d", "linear"):
            values, scale = quantized(step.arrays["weight"])
            weight = values * scale.reshape(-1, *[1] * (values.ndim - 1))
            step = replace(step, arrays=step.arrays | {"weight": weight.astype(np.float32)})
        rounded.append(step)
    return nn.Sequential([_LAYERS[step.kind](step) for step in rounded])


def _with(layer, step, names=("weight", "bias")):
    for name in names:
        layer.params[name] = step.arrays[name]
    return layer


def _conv2d(step):
    options = {
        name: step.settings[name]
        for name in ("kernel_size", "stride", "padding", "dilation", "groups")
    }
    return _with(nn.Conv2d(step.shape[0], step.result[0], init=ZEROS, **options), step)


def _linear(step):
    out_features, in_features = step.arrays["weight"].shape
    return _with(nn.Linear(in_features, out_features, init=ZEROS), step)


def _pool(step):
    names = ("kernel_size", "stride", "padding")
    if step.kind == "max_pool2d":
        return nn.MaxPool2d(*(step.settings[name] for name in names))
    return nn.AvgPool2d(
        *(step.settings[name] for name in names), step.settings["count_include_pad"]
    )


def _batch_norm(step):
    layer = (nn.BatchNorm1d if len(step.shape) == 1 else nn.BatchNorm2d)(
        step.shape[0], step.settings["eps"]
    )
    layer.buffers["running_mean"], layer.buffers["running_var"] = (
        step.arrays["mean"],
        step.arrays["var"],
    )
    return _with(layer, step)


_LAYERS = {
    "conv2d": _conv2d,
    "linear": _linear,
    "max_pool2d": _pool,
    "avg_pool2d": _pool,
    "subsample2d": lambda step: _with(
        nn.Subsample2d(step.shape[0], step.settings["kernel_size"], init=ZEROS), step
    ),
    "batch_norm": _batch_norm,
    "rbf": lambda step: nn.RBF(step.arrays["codes"]),
    "flatten": lambda step: nn.Flatten(),
    "relu": lambda step: nn.ReLU(),
    "sigmoid": lambda step: nn.Sigmoid(),
    "tanh": lambda step: nn.Tanh(),
    "scaled_tanh": lambda step: nn.ScaledTanh(**step.settings),
}
