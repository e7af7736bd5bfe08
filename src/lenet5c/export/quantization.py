"""Quantization of weights to int8."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from lenet5c import nn
from lenet5c.export.network import Step, fold_batch_norm, to_network
from lenet5c.training import TrainedModel


def quantize_weights(trained: TrainedModel) -> TrainedModel:
    """Return the model computed by a C file with int8 weights, to measure the effect of rounding.

    Parameters
    ----------
    trained : TrainedModel

    Returns
    -------
    TrainedModel
        A model whose weights are int8 times a scale for each output channel, with batch
        normalization folded in.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.export import quantize_weights
    >>> from lenet5c.training import open_model
    >>> _, test = mnist()
    >>> trained = open_model()
    >>> logits = trained.logits(test.images[:100])
    >>> abs(quantize_weights(trained).logits(test.images[:100]) - logits).max() < 0.5
    np.True_
    """
    model = round_weights(fold_batch_norm(to_network(trained).steps))
    return replace(trained, model=model, path=None)


def quantize(weight: np.ndarray, least: Any = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a weight (O, ...) as int8 of its shape, and float32 scales (O,).

    The largest weight of each output becomes 127, or less if its scale would be below `least`.
    """
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    scale = np.maximum(np.abs(flat).max(axis=1) / 127, least).astype(np.float32)
    scale[scale == 0] = 1
    values = np.clip(np.rint(flat / scale[:, None].astype(np.float64)), -127, 127)
    return values.astype(np.int8).reshape(weight.shape), scale


def round_weights(steps: list[Step]) -> nn.Sequential:
    """Return a model of the steps, with weights rounded to what int8 can represent."""
    return nn.Sequential([_rounded(step) for step in steps] or [nn.Dropout(0.0)])


def _rounded(step: Step) -> nn.Layer:
    if step.kind == "Ensemble":
        old: Any = step.layer
        members = (round_weights(branch) for branch in step.branches)
        named = dict(zip(old.members, members, strict=True))
        return nn.Ensemble(named, temperatures=old.temperatures)
    if step.branches:
        layers, shortcut = ([_rounded(each) for each in branch] for branch in step.branches)
        beside = nn.Sequential(shortcut) if shortcut else None
        return nn.Residual(layers or [nn.Dropout(0.0)], shortcut=beside)
    if step.kind not in ("Linear", "Conv2d"):
        return make_layer(step)
    values, scale = quantize(step.arrays["weight"])
    weight = values * scale.reshape(-1, *[1] * (values.ndim - 1))
    return make_layer(replace(step, arrays=step.arrays | {"weight": weight}))


def make_layer(step: Step) -> nn.Layer:
    """Return a layer with the arrays of a step, which are dense."""
    old = step.layer
    layer: nn.Layer
    if step.kind == "Linear":
        layer = nn.Linear(*step.arrays["weight"].shape[::-1])
    elif step.kind == "Conv2d":
        options = (old.kernel_size, old.stride, old.padding, old.dilation, old.groups)
        layer = nn.Conv2d(old.in_channels, old.out_channels, *options)
    else:
        return deepcopy(old)
    layer.params["weight"] = step.arrays["weight"]
    layer.params["bias"] = step.arrays["bias"]
    return layer
