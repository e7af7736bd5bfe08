"""Models with every kind of layer and perturbed weights, for tests of exports."""

import copy

import numpy as np

from lenet5c import nn
from lenet5c.datasets import Preparation
from lenet5c.training import TrainedModel

LENETS = {
    "relu-avg": {"pooling": "avg"},
    "tanh-max": {"activation": "tanh"},
    "sigmoid-c5-conv": {"activation": "sigmoid", "c5": "conv"},
    "padding-dropout": {"input_size": 28, "padding": (2, 0), "dropout": 0.5},
    "batch-norm": {"batch_norm": True},
    "batch-norm-c5-conv": {
        "batch_norm": True,
        "c5": "conv",
        "pooling": "avg",
        "activation": "tanh",
    },
    "kernel-3": {"input_size": 28, "kernel_size": 3, "padding": 1},
    "rgb-3-classes-64": {
        "input_size": (64, 48),
        "in_channels": 3,
        "num_classes": 3,
        "without_activation": ["conv2"],
    },
}


def shaken(model, seed=0):
    """Return the model with all parameters and running statistics moved at random."""
    rng = np.random.default_rng(seed)
    for _, layer in model.named_layers():
        for array in layer.params.values():
            array += (0.05 * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in layer.buffers.items():
            if name.startswith("running"):
                array += rng.uniform(0.05, 0.5, array.shape).astype(np.float32)
    return model


def trained(model, image_shape=None, **preparation):
    size = model.input_shape[1:]
    names = tuple(map(str, range(model.settings()["num_classes"])))
    return TrainedModel(
        model,
        Preparation(**{"size": size, "mean": 0.13, "std": 0.31} | preparation),
        names,
        image_shape,
    )


def variants():
    """TrainedModel by name: each option of the nets, each way to prepare images."""
    made = {
        name: trained(shaken(nn.LeNet5(**options, rng=1)), (options.get("in_channels", 1), 28, 28))
        for name, options in LENETS.items()
    }
    made["1998"] = trained(shaken(nn.LeNet5_1998(rng=1)))
    made["1998-rgb-4-classes"] = trained(shaken(nn.LeNet5_1998(4, 3, (20, 24), rng=1)), (3, 20, 24))
    mean_image = np.random.default_rng(2).uniform(0, 200, (1, 32, 32)).astype(np.float32)
    made["mean-image"] = trained(nn.LeNet5(rng=2), mean=0.0, std=1 / 255, mean_image=mean_image)
    made["enlarged"] = trained(nn.LeNet5(rng=3), (1, 8, 11), fit="resize")
    made["shrunk"] = trained(nn.LeNet5(rng=4, in_channels=2), (2, 75, 40), fit="resize")
    small = nn.Sequential(
        nn.Tanh(), nn.BatchNorm2d(1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3, rng=5)
    )
    made["no-convolution"] = TrainedModel(
        shaken(small), Preparation((12, 12), std=0.3), ("a", "b", "c"), (1, 10, 9)
    )
    return made


def odd_model():
    """Return a net of strides, dilations, groups, overlapping pools and normalization."""
    table = np.random.default_rng(3).random((6, 5)) < 0.5
    table[0] = True
    features = nn.Sequential(
        {
            "conv": nn.Conv2d(
                2, 6, (3, 4), stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=2, rng=0
            ),
            "tanh": nn.Tanh(),
            "overlapping": nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0)),
            "norm": nn.BatchNorm2d(6),
            "relu": nn.ReLU(),
            "table": nn.Conv2d(6, 5, 3, padding=1, bias=False, rng=1, connection_table=table),
            "squash": nn.ScaledTanh(1.2, -0.7),
            "subsample": nn.Subsample2d(5, (2, 3), rng=2),
        }
    )
    return shaken(
        nn.Sequential(
            {
                "first": nn.Sigmoid(),
                "features": features,
                "wide": nn.Conv2d(5, 7, (1, 9), padding=(0, 4), rng=3),
                "whole": nn.AvgPool2d(2),
                "edges": nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False),
                "subsample": nn.Subsample2d(7, 1, rng=4),
                'flat */ " ?? \\ é': nn.Flatten(),
                "drop": nn.Dropout(0.5),
                "norm": nn.BatchNorm1d(42),
                "fc": nn.Linear(42, 9, bias=False, rng=5),
                "norm2": nn.BatchNorm1d(9),
                "code": nn.RBF(np.random.default_rng(6).standard_normal((6, 9))),
            }
        )
    )


ODD_INPUT = (2, 17, 24)


def model_of_windows(uneven=True, dilation=(2, 1), beyond=False):
    """Return a net of convolutions and pools with all forms of padding, dilation and ceil_mode.

    Paddings differ on opposite sides if `uneven`; a mean counts padding in windows `beyond` it.
    """
    pads = [((0, 2), (1, 0)), "same", ((1, 0), (0, 1)), ((1, 0), (1, 1))]
    pads = pads if uneven else [1] * 4
    layers = {
        "same": nn.Conv2d(2, 4, (4 if uneven else 5, 3), padding="same", rng=0),
        "ceil": nn.MaxPool2d(2, ceil_mode=True),
        "uneven": nn.Conv2d(4, 5, 3, stride=(1, 2), padding=pads[0], rng=1),
        "relu": nn.ReLU(),
        "max": nn.MaxPool2d(3, stride=2, padding=pads[1]),
        "dilated": nn.MaxPool2d(2, stride=1, padding=1, dilation=dilation),
        "inside": nn.AvgPool2d(3, 2, pads[2], ceil_mode=True, count_include_pad=False),
        "whole": nn.AvgPool2d(2, 1 + beyond, pads[3], ceil_mode=beyond),
        "flatten": nn.Flatten(),
    }
    (features,) = nn.Sequential(copy.deepcopy(layers)).output_shape(WINDOWS_INPUT)
    return shaken(nn.Sequential(layers | {"fc": nn.Linear(features, 4, rng=2)}))


WINDOWS_INPUT = (2, 13, 15)


def images(trained_model, count, seed=0):
    """uint8 (count, *image_shape)."""
    return np.random.default_rng(seed).integers(
        0, 256, (count, *trained_model.image_shape), np.uint8
    )
