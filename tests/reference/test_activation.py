"""Activations: by central differences, at the ends, and against PyTorch."""

import numpy as np
import pytest
from gradient_checks import IMAGES, MATRICES, agree, assert_gradient, assert_second, distinct
from numpy.testing import assert_array_equal
from one_test import in_one_test

from lenet5c import reference

CASES = [
    ("relu", {}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("scaled_tanh", {}),
    ("scaled_tanh", {"amplitude": -0.5, "slope": 3}),
]

each_case = pytest.mark.parametrize("name, options", CASES)
each_shape = pytest.mark.parametrize("shape", MATRICES + IMAGES)


@in_one_test
@each_shape
@each_case
def test_gradient(rng, name, options, shape):
    forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
    x, dy = 10 * distinct(rng, shape), rng.standard_normal(shape)
    dx = backward(dy, forward(x, **options), **options)
    assert_gradient(dx, lambda x: forward(x, **options), x, dy)


@in_one_test
@each_shape
@each_case
def test_second_derivatives(rng, name, options, shape):
    y = getattr(reference, name)(10 * distinct(rng, shape), **options)
    backward, second = (getattr(reference, f"{name}_{p}") for p in ("backward", "backward_second"))
    d2y = rng.uniform(size=shape)
    assert_second([second(d2y, y, **options)], lambda dy: [backward(dy, y, **options)], d2y)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_against_torch(torch, rng, name):
    x, dy = rng.standard_normal((2, 20))
    x[0] = 0
    leaf = torch.tensor(x, requires_grad=True)
    y = getattr(torch, name)(leaf)
    y.backward(torch.tensor(dy))
    agree(getattr(reference, name)(x), y)
    agree(getattr(reference, f"{name}_backward")(dy, getattr(reference, name)(x)), leaf.grad)


def test_far_out():
    x = np.array([-1e4, 0, 1e4])
    assert_array_equal(reference.relu(x), [0, 0, 1e4])
    assert_array_equal(reference.sigmoid(x), [0, 0.5, 1])
    assert_array_equal(reference.tanh(x), [-1, 0, 1])
    assert_array_equal(reference.scaled_tanh(x), [-1.7159, 0, 1.7159])


def test_rectified_at_zero():
    assert_array_equal(reference.relu_backward([1, 1, 1], reference.relu([-1, 0, 1])), [0, 0, 1])
