"""Models for the tests of explanations: residual nets, and bare nets as trained models."""

from exported_models import shaken

from lenet5c import nn
from lenet5c.datasets import Preparation
from lenet5c.training import TrainedModel

NAMES = tuple("0123456789")


class Halve(nn.Layer):
    def forward(self, x, training=False):
        return x / 2

    def backward(self, dy):
        return dy / 2


def of_net(model, size=16, channels=1):
    return TrainedModel(model, Preparation((size, size), std=0.3), NAMES, (channels, size, size))


def with_residuals(own=False):
    """Return a net of residual layers; with one of one's own in a branch."""
    inner = [nn.Conv2d(4, 4, 3, padding=1, rng=1), nn.BatchNorm2d(4), nn.ReLU()]
    inner += [Halve()] if own else []
    return shaken(
        nn.Sequential(
            {
                "conv": nn.Conv2d(1, 4, 3, rng=0),
                "block": nn.Residual(*inner),
                "down": nn.Residual(
                    nn.Conv2d(4, 6, 3, 2, 1, rng=2),
                    nn.Tanh(),
                    shortcut=nn.Conv2d(4, 6, 1, 2, rng=5),
                ),
                "act": nn.ReLU(),
                "pool": nn.GlobalAvgPool2d(),
                "flatten": nn.Flatten(),
                "drop": nn.Dropout(0.5, rng=3),
                "fc": nn.Linear(6, 10, rng=4),
            }
        )
    )
