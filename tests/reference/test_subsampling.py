"""Subsampling."""

import numpy as np
import pytest
from gradient_checks import assert_gradient, assert_second
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference

each_case = pytest.mark.parametrize(
    "shape, kernel_size", [((2, 3, 4, 6), 2), ((1, 2, 7, 5), (3, 2)), ((2, 1, 3, 4), (1, 4))]
)


@each_case
def test_gradients(rng, shape, kernel_size):
    x, weight, bias = map(rng.standard_normal, (shape, shape[1], shape[1]))
    forward = reference.subsample2d
    dy = rng.standard_normal(forward(x, weight, bias, kernel_size).shape)
    dx, dweight, dbias = reference.subsample2d_backward(dy, x, weight, kernel_size)
    assert_gradient(dx, lambda x: forward(x, weight, bias, kernel_size), x, dy)
    assert_gradient(dweight, lambda weight: forward(x, weight, bias, kernel_size), weight, dy)
    assert_gradient(dbias, lambda bias: forward(x, weight, bias, kernel_size), bias, dy)


@each_case
def test_second_derivatives(rng, shape, kernel_size):
    x, weight, bias = map(rng.standard_normal, (shape, shape[1], shape[1]))
    d2y = rng.uniform(size=reference.subsample2d(x, weight, bias, kernel_size).shape)
    assert_second(
        reference.subsample2d_backward_second(d2y, x, weight, kernel_size),
        lambda dy: reference.subsample2d_backward(dy, x, weight, kernel_size),
        d2y,
    )


def test_by_hand():
    x = np.arange(1.0, 16).reshape(1, 1, 3, 5)  # of which a row and a column fill no window
    y = reference.subsample2d(x, [2], [0.5])
    assert_array_equal(y, [[[[2 * (1 + 2 + 6 + 7) + 0.5, 2 * (3 + 4 + 8 + 9) + 0.5]]]])
    dx, dweight, dbias = reference.subsample2d_backward([[[[1, 10]]]], x, [2])
    assert_array_equal(dx, [[[[2, 2, 20, 20, 0], [2, 2, 20, 20, 0], [0, 0, 0, 0, 0]]]])
    assert_array_equal(dweight, [16 + 240])
    assert_array_equal(dbias, [11])


def test_with_a_quarter_for_weight_it_is_the_mean(rng):
    x = rng.standard_normal((2, 3, 4, 6))
    y = reference.subsample2d(x, np.full(3, 0.25), np.zeros(3))
    assert_allclose(y, reference.avg_pool2d(x, 2), rtol=1e-12)
