"""`input_gradient`: gradient with respect to the input outside training, for every layer class."""

import copy

import numpy as np
import pytest
from every_layer import LAYERS
from one_test import in_one_test

from lenet5c import nn

CASES = [(name, i) for name, cases in LAYERS.items() for i in range(len(cases))]


def without_training(layer):
    """Return a copy whose training pass equals inference."""
    layer = copy.deepcopy(layer)
    for each in layer.all_layers():
        if isinstance(each, nn.Dropout):
            each.p = 0.0
        if isinstance(each, (nn.BatchNorm1d, nn.BatchNorm2d)):
            each.frozen = True
    return layer


@in_one_test
@pytest.mark.parametrize(("name", "i"), CASES)
@pytest.mark.parametrize("batch", [2, 7])
def test_it_is_backward_without_what_training_does(name, i, batch):
    layer, shape = LAYERS[name][i]
    x = np.random.default_rng(0).standard_normal((batch, *shape)).astype(np.float32)
    counterpart, before = without_training(layer), copy.deepcopy(layer)
    dy = (
        np.random.default_rng(1)
        .standard_normal(counterpart.forward(x, True).shape)
        .astype(np.float32)
    )
    np.testing.assert_array_equal(layer.input_gradient(x, dy), counterpart.backward(dy))
    for kind in ("params", "grads", "buffers"):
        for key, array in getattr(before, kind).items():
            np.testing.assert_array_equal(getattr(layer, kind)[key], array)
    states = [[each.rng_state for each in model.all_layers()] for model in (layer, before)]
    assert states[0] == states[1]


class Doubled(nn.Sequential):
    """A net with a custom forward pass."""

    def forward(self, x, training=False):
        return super().forward(2 * x, training)

    def backward(self, dy):
        return 2 * super().backward(dy)


def test_a_subclass_with_passes_of_its_own():
    model = Doubled(nn.Linear(3, 2, rng=0))
    x, dy = np.ones((2, 3), np.float32), np.ones((2, 2), np.float32)
    expected = 2 * dy @ model.params["0.weight"]
    np.testing.assert_allclose(model.input_gradient(x, dy), expected, rtol=1e-6)


def test_a_gradient_of_another_shape_is_refused():
    model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.Tanh())
    with pytest.raises(
        ValueError, match=r"dy must be float32 with the shape of the output, \(2, 2\)"
    ):
        model.input_gradient(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32))
