"""Weights in one byte each."""

from copy import deepcopy
from dataclasses import replace

import numpy as np

from lenet5c import nn
from lenet5c.export.network import Step, fold_batch_norm, to_network
from lenet5c.training import TrainedModel


def quantize_int8(trained: TrainedModel) -> TrainedModel:
    """Return the model that a C file with int8 weights computes, to measure what rounding costs.

    Parameters
    ----------
    trained : TrainedModel

    Returns
    -------
    TrainedModel
        Its weights are int8 times a scale for each output channel, with batch normalization
        folded into them.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.export import quantize_int8
    >>> from lenet5c.training import open_model
    >>> _, test = mnist()
    >>> trained = open_model()
    >>> logits = trained.logits(test.images[:100])
    >>> abs(quantize_int8(trained).logits(test.images[:100]) - logits).max() < 0.5
    np.True_
    """
    model = round_weights(fold_batch_norm(to_network(trained).steps))
    return replace(trained, model=model, path=None)


def quantize(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a weight (O, ...) as int8 of its shape, and float32 scales (O,).

    The largest weight of each output becomes 127.
    """
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    scale = (np.abs(flat).max(axis=1) / 127).astype(np.float32)
    scale[scale == 0] = 1
    values = np.clip(np.rint(flat / scale[:, None].astype(np.float64)), -127, 127)
    return values.astype(np.int8).reshape(weight.shape), scale


def round_weights(steps: list[Step]) -> nn.Sequential:
    """Return a model of the steps, with weights rounded to what int8 can represent."""
    return nn.Sequential([_rounded(step) for step in steps])


def _rounded(step: Step) -> nn.Layer:
    old = step.layer
    layer: nn.Layer
    if step.branches:
        layers, shortcut = ([_rounded(each) for each in branch] for branch in step.branches)
        beside = nn.Sequential(shortcut) if shortcut else None
        return nn.Residual(layers or [nn.Dropout(0.0)], shortcut=beside)
    if step.kind == "Linear":
        layer = nn.Linear(old.in_features, old.out_features)
    elif step.kind == "Conv2d":
        options = (old.kernel_size, old.stride, old.padding, old.dilation, old.groups)
        layer = nn.Conv2d(old.in_channels, old.out_channels, *options)
    else:
        layer = deepcopy(old)
        return layer
    values, scale = quantize(step.arrays["weight"])
    layer.params["weight"] = values * scale.reshape(-1, *[1] * (values.ndim - 1))
    layer.params["bias"] = step.arrays["bias"]
    return layer
