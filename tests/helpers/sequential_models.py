"""Models with compiled layers, NumPy layers, and both."""

import numpy as np
import pytest

from lenet5c import nn

CROSS_ENTROPY = nn.CrossEntropyLoss()


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def labels_for(batch, classes=10):
    return np.random.default_rng(1).integers(classes, size=batch)


class Scale(nn.Layer):
    """A custom layer in NumPy."""

    def __init__(self):
        self.params["factor"] = np.full(1, 1.5)

    def forward(self, x, training=False):
        self.x = x if training else None
        return x * self.params["factor"]

    def backward(self, dy):
        self.grads["factor"] = [np.sum(dy * self.x)]
        return dy * self.params["factor"]


class Normalize(nn.Layer):
    """Batch normalization of images in NumPy, with the parameters and buffers of `BatchNorm2d`."""

    def __init__(self, num_features):
        self.params["weight"] = np.ones(num_features)
        self.params["bias"] = np.zeros(num_features)
        self.buffers["running_mean"] = np.zeros(num_features)
        self.buffers["running_var"] = np.ones(num_features)
        self.buffers["num_batches_tracked"] = np.array(0)

    def forward(self, x, training=False):
        mean, var = self.buffers["running_mean"], self.buffers["running_var"]
        if training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            count = x.size // x.shape[1]
            unbiased = var * (count / (count - 1))
            for name, value in (("running_mean", mean), ("running_var", unbiased)):
                self.buffers[name] += np.float32(0.1) * (value - self.buffers[name])
            self.buffers["num_batches_tracked"] += 1
        self.scale = self._spread(1 / np.sqrt(var + np.float32(1e-5)))
        self.normal = (x - self._spread(mean)) * self.scale
        weight, bias = map(self._spread, (self.params["weight"], self.params["bias"]))
        return self.normal * weight + bias

    def backward(self, dy):
        self.grads["weight"] = (dy * self.normal).sum((0, 2, 3))
        self.grads["bias"] = dy.sum((0, 2, 3))
        count = np.float32(dy.size // dy.shape[1])
        shared = self._spread(self.grads["bias"] / count)
        shared = shared + self.normal * self._spread(self.grads["weight"] / count)
        return (dy - shared) * self._spread(self.params["weight"]) * self.scale

    @staticmethod
    def _spread(values):
        return np.asarray(values, np.float32).reshape(-1, 1, 1)


def lenet5(**options):
    return nn.LeNet5(input_size=16, **options)


def with_numpy_layers():
    """Return a model with alternating compiled and NumPy layers."""
    return nn.Sequential(
        {
            "conv": nn.Conv2d(1, 4, 3, rng=0),
            "norm": Normalize(4),
            "act": nn.ReLU(),
            "pool": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "drop": nn.Dropout(0.3, rng=1),
            "scale": Scale(),
            "fc": nn.Linear(196, 10, rng=2),
        }
    )


def starting_with_numpy():
    return nn.Sequential(
        Normalize(1), nn.Conv2d(1, 3, 5, rng=0), nn.Tanh(), nn.Flatten(), nn.Linear(432, 10, rng=1)
    )


def ending_with_numpy():
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10, rng=1), nn.Tanh(), Scale())


def nested():
    features = nn.Sequential(
        {"conv": nn.Conv2d(1, 4, 3, rng=0), "act": nn.ReLU(), "pool": nn.MaxPool2d(2)}
    )
    head = nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(196, 12, rng=1), nn.Sigmoid()),
        nn.Linear(12, 10, rng=2),
    )
    return nn.Sequential({"features": features, "head": head})


def lenet5_1998():
    return nn.LeNet5_1998(input_size=16)


def with_groups():
    """Make a net that cannot take few samples one by one, though all its layers but one can."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=0),
        nn.Tanh(),
        nn.Conv2d(4, 4, 3, groups=2, rng=1),
        nn.Flatten(),
        nn.Linear(576, 10, rng=2),
    )


MODELS = [lenet5, lenet5_1998, with_numpy_layers, starting_with_numpy, ending_with_numpy, nested]
each_model = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)


def step_by_hand(model, x, labels, loss=CROSS_ENTROPY):
    logits = model.forward(x, training=True)
    value, dy = loss(logits, labels)
    dx = model.backward(dy)
    return value, int(np.sum(model.classes(logits) == labels)), dx


def leaves(model):
    """Return the layers in order, without those that hold others."""
    return [layer for layer in model.all_layers() if not isinstance(layer, nn.Sequential)]
