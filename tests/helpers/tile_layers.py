"""Tests of every layer with a tile op, and their tolerance."""

import copy
import pickle

import numpy as np
from numpy.testing import assert_array_equal

from lenet5c import reference

EPS = np.finfo(np.float32).eps


def assert_close(actual, expected, eps=16):
    """Compare arrays within `eps` float32 roundings of their norm.

    A sum of 400 terms, the longest here, errs by up to 10.
    """
    assert (actual.shape, actual.dtype) == (expected.shape, np.float32)
    assert np.linalg.norm(actual - expected) <= eps * EPS * np.linalg.norm(expected)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


WITH_PARAMS = ("conv2d", "linear", "connected_conv2d", "subsample2d")


class TileLayerChecks:
    """Comparison with the reference, by cases of layer, input shape and options."""

    def test_matches_reference(self, layer, shape, name, options):
        x = normal(*shape)
        y = layer.forward(x, training=True)
        params = [array.astype(np.float64) for array in layer.params.values()]
        if name == "rbf":
            params = [layer.buffers["codes"].astype(np.float64)]
        forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
        expected = forward(x.astype(np.float64), *params, **options)
        assert_close(y, expected)
        dy = normal(*y.shape, seed=1)
        dx = layer.backward(dy)
        if name in WITH_PARAMS:
            expected_dx, *expected_grads = backward(dy, x, params[0], **options)
            assert layer.grads.keys() == layer.params.keys()
            # The reference has a gradient of the bias also where there is none.
            for grad, expected_grad in zip(layer.grads.values(), expected_grads, strict=False):
                assert_close(grad, expected_grad)
        elif name.endswith("avg_pool2d"):
            expected_dx = backward(dy, x.shape, **options)
        elif name.endswith("max_pool2d"):
            expected_dx = backward(dy, x, **options)
        elif name == "rbf":
            expected_dx = backward(dy, x, params[0])
        else:
            expected_dx = backward(dy, expected, **options)
        assert_close(dx, expected_dx)

    def test_output_shape(self, layer, shape, name, options):
        assert layer.output_shape(shape[1:]) == layer.forward(normal(*shape)).shape[1:]

    def test_backward_sets_gradients(self, layer, shape, name, options):
        """Gradients are replaced, not accumulated."""
        dy = normal(*layer.forward(normal(*shape), training=True).shape)
        first = [layer.backward(dy), *(grad.copy() for grad in layer.grads.values())]
        second = [layer.backward(dy), *layer.grads.values()]
        for a, b in zip(first, second, strict=True):
            assert_array_equal(a, b)

    def test_training_does_not_change_the_output(self, layer, shape, name, options):
        x = normal(*shape)
        assert_array_equal(layer.forward(x), layer(x, training=True))

    def test_no_samples(self, layer, shape, name, options):
        x = np.zeros((0, *shape[1:]), np.float32)
        y = layer.forward(x, training=True)
        assert layer.backward(y).shape == x.shape
        assert not any(grad.any() for grad in layer.grads.values())

    def test_layout_of_the_input_does_not_matter(self, layer, shape, name, options):
        x = normal(*shape)
        expected = layer.forward(x, training=True)
        dy = normal(*expected.shape, seed=1)
        expected_dx = layer.backward(dy)
        assert_array_equal(layer.forward(np.asfortranarray(x), training=True), expected)
        assert_array_equal(layer.backward(np.asfortranarray(dy)), expected_dx)

    def test_pickles_and_copies(self, layer, shape, name, options):
        x = normal(*shape)
        for counterpart in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert_array_equal(counterpart.forward(x), layer.forward(x))
            assert repr(counterpart) == repr(layer)
            for key, array in counterpart.params.items():
                assert not np.shares_memory(array, layer.params[key])
