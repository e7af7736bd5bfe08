"""Models of each kind supported by the page."""

import numpy as np

from lenet5c import nn
from lenet5c.datasets import Preparation
from lenet5c.nn import LeNet5, LeNet5_1998
from lenet5c.training import TrainedModel

TEN = tuple("0123456789")


def of(model, names, shape, reading="ink", **preparation):
    return TrainedModel(
        model, Preparation(**{"size": (32, 32), **preparation}), tuple(names), shape, reading
    )


MODELS = {
    "tanh, average": of(LeNet5(activation="tanh", pooling="avg"), TEN, (1, 28, 28)),
    "three classes": of(LeNet5(num_classes=3), ("<b>cat</b>", "höchst", ""), (1, 28, 28)),
    "C5 as a convolution": of(LeNet5(c5="conv", without_activation=["conv2"]), TEN, (1, 28, 28)),
    "batch norm, dropout": of(LeNet5(batch_norm=True, dropout=0.5), TEN, (1, 28, 28)),
    "28 x 28": of(LeNet5(input_size=28, kernel_size=3, padding=1), TEN, (1, 28, 28), size=(28, 28)),
    "whole": of(LeNet5(num_classes=2), "ab", (1, 60, 40), "whole", fit="resize"),
    "color": of(LeNet5(in_channels=3), TEN, (3, 32, 32), "whole"),
    "large": of(
        LeNet5(input_size=150, num_classes=40), map(str, range(40)), (1, 100, 140), size=(150, 150)
    ),
    "mean image": of(LeNet5(), TEN, (1, 28, 28), mean_image=np.full((1, 32, 32), 30, np.float32)),
    "1998": of(LeNet5_1998(), TEN, (1, 28, 28), mean=0.1, std=0.8),
    "1998, four classes": of(LeNet5_1998(num_classes=4), "abcd", (1, 28, 28)),
    "layers of one's own": of(
        nn.Sequential(
            {
                "first": nn.Tanh(),
                "block": nn.Sequential(
                    nn.Conv2d(3, 40, 5, stride=3, rng=0), nn.BatchNorm2d(40), nn.ReLU()
                ),
                "pool": nn.AvgPool2d((3, 2), padding="same"),
                "flat": nn.Flatten(),
                "out": nn.Linear(40 * 5 * 10, 12, rng=1),
            }
        ),
        map(str, range(12)),
        (3, 48, 64),
        "whole",
        size=(48, 64),
    ),
    "activations alone": of(
        nn.Sequential(nn.Flatten(), nn.ScaledTanh()), "abcd", (1, 2, 2), size=(2, 2)
    ),
}
