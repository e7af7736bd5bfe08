"""Nets for benchmarks of several engines, and their conversion to PyTorch."""

from dataclasses import dataclass
from functools import partial
from math import prod

from lenet5c import nn
from lenet5c.datasets import Preparation


def mnist_example():
    """Return the net of PyTorch's MNIST example (pytorch/examples/mnist), without its dropout.

    Engines draw different masks; without them, results can be compared. Its log_softmax is part of
    the loss here.
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, rng=0),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, rng=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(9216, 128, rng=2),
        nn.ReLU(),
        nn.Linear(128, 10, rng=3),
    )


@dataclass(frozen=True)
class Net:
    """A net for benchmarks: the function that makes it, and the preparation of images."""

    make: object
    preparation: Preparation

    @property
    def shape(self):
        return 1, *self.preparation.size


AS_IS = Preparation(size=(28, 28), mean=0.1307, std=0.3081)
NETS = {
    # 61,706 parameters, 32 by 32.
    "lenet5": Net(partial(nn.LeNet5, pooling="max", rng=0), Preparation.named("default")),
    # LeNet-5 as SimpleChains.jl trains it: 44,426 parameters, 28 by 28.
    "simplechains": Net(partial(nn.LeNet5, input_size=28, pooling="max", rng=0), AS_IS),
    # 1,199,882 parameters, 28 by 28.
    "mnist-example": Net(mnist_example, AS_IS),
}


def multiply_adds(model, shape):
    """Return the multiply-adds of one sample: (forward, training step).

    A step takes those of the forward pass three times, but for the first dx.
    """
    counts = []
    for layer in model.layers.values():
        if "weight" in layer.params:
            counts.append(layer.params["weight"].size * prod(layer.output_shape(shape)[1:]))
        shape = layer.output_shape(shape)
    return sum(counts), 3 * sum(counts) - counts[0]


def pytorch_net(torch, model):
    """Return the same net with the same weights, layer by layer."""
    layers = []
    for layer in model.layers.values():
        kind = getattr(torch.nn, type(layer).__name__)
        if isinstance(layer, nn.Conv2d):
            out_channels, in_channels, *window = layer.params["weight"].shape
            made = kind(in_channels, out_channels, window, padding=layer.padding)
        elif isinstance(layer, nn.Linear):
            made = kind(*layer.params["weight"].shape[::-1])
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            made = kind(layer.num_features)
        elif isinstance(layer, nn.Dropout):
            made = kind(layer.p)
        else:
            made = kind(2) if isinstance(layer, (nn.AvgPool2d, nn.MaxPool2d)) else kind()
        layers.append(made)
    made = torch.nn.Sequential(*layers)
    values = (torch.from_numpy(array) for array in model.state_dict().values())
    made.load_state_dict(dict(zip(made.state_dict(), values, strict=True)))
    return made


def steps(model):
    """Yield (kind, weight, bias) of each layer: a plain net's, for engines with graphs."""
    for layer in model.layers.values():
        kind = type(layer).__name__
        if kind not in ("Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear"):
            raise ValueError(f"a layer must be of a plain net, got {kind}")
        yield kind, layer.params.get("weight"), layer.params.get("bias")
