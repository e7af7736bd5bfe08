"""Settings of every layer class, which reproduce the layer."""

import json

import numpy as np
import pytest
from every_layer import LAYERS
from numpy.testing import assert_array_equal
from one_test import in_one_test

from lenet5c import nn
from lenet5c.nn.registry import TYPES


def test_every_class_of_layers_is_here_and_registered():
    assert set(LAYERS) == set(TYPES) == {kind.__name__ for kind in TYPES.values()}
    kinds = [each for each in vars(nn).values() if isinstance(each, type)]
    assert set(TYPES.values()) == {
        each for each in kinds if issubclass(each, nn.Layer) and each is not nn.Layer
    }


def arrays(layer):
    return {
        f"{name}.{key}": array
        for name, each in layer.named_layers()
        for key, array in {**each.params, **each.buffers}.items()
    }


@in_one_test
@pytest.mark.parametrize("name", LAYERS)
def test_settings_make_the_same_layer(name):
    for layer, shape in LAYERS[name]:
        assert type(layer).__name__ == name
        settings = layer.settings()
        assert json.loads(json.dumps(settings)) == settings
        if name not in ("Sequential", "Residual", "Ensemble"):  # whose layers are no keyword
            assert type(layer)(**settings).settings() == settings
        counterpart = nn.build(json.loads(json.dumps(nn.describe(layer))))
        assert type(counterpart) is type(layer)
        assert counterpart.settings() == settings
        assert repr(counterpart) == repr(layer)
        own, others = arrays(layer), arrays(counterpart)
        assert list(own) == list(others)
        for key, array in own.items():
            assert others[key].shape == array.shape
            others[key][...] = array
        x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
        assert_array_equal(counterpart.forward(x), layer.forward(x))
        assert counterpart.output_shape(shape) == layer.output_shape(shape)


def test_a_layer_of_ones_own_says_what_settings_are():
    class Twice(nn.Layer):
        def forward(self, x, training=False):
            return 2 * x

    with pytest.raises(NotImplementedError, match="Twice has no settings; add a method"):
        Twice().settings()

    class Net(nn.Sequential):
        def __init__(self, width):
            super().__init__(nn.Linear(width, 2))

    with pytest.raises(NotImplementedError, match="Net has no settings; add a method"):
        Net(3).settings()
