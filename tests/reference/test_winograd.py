"""Winograd's convolution compared with the definition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lenet5c import reference

# Taps and outputs of the eight points: 9 of both.
each_split = pytest.mark.parametrize("taps, outputs", [(5, 4), (3, 6), (4, 5), (8, 1)])


@each_split
def test_sums_are_those_of_the_definition(rng, taps, outputs):
    T, G, S = reference.winograd_matrices(outputs)
    assert (T.shape, G.shape, S.shape) == ((8, 8), (8, taps), (outputs, 8))
    d, g = rng.standard_normal(8), rng.standard_normal(taps)
    assert_allclose(S @ ((T @ d) * (G @ g)), np.correlate(d, g), rtol=1e-12)


def test_other_points(rng):
    T, G, S = reference.winograd_matrices(4, points=(0, 1, -1, 0.5, -0.5, 3))
    d, g = rng.standard_normal(7), rng.standard_normal(4)
    assert_allclose(S @ ((T @ d) * (G @ g)), np.correlate(d, g), rtol=1e-12)


@each_split
@pytest.mark.parametrize("rows, more", [(1, 0), (3, 1), (5, -1)])
def test_convolution_and_its_gradients(rng, taps, outputs, rows, more):
    W = taps - 1 + 3 * outputs + more
    x, weight = rng.standard_normal((2, 3, 6, W)), rng.standard_normal((4, 3, rows, taps))
    y = reference.winograd_conv2d(x, weight, outputs)
    assert_allclose(y, reference.conv2d(x, weight), rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    expected_dx, expected_dweight, _ = reference.conv2d_backward(dy, x, weight)
    dx, dweight = reference.winograd_conv2d_backward(dy, x, weight, outputs)
    assert_allclose(dx, expected_dx, rtol=1e-12, atol=1e-12)
    assert_allclose(dweight, expected_dweight, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("outputs, points", [(2, (0, 1, -1)), (4, (0, 1, -1, 2, -2)), (1, (0, 1))])
@pytest.mark.parametrize("image", [(3, 3), (6, 9), (8, 8)])
def test_squares_and_their_gradients(rng, outputs, points, image):
    x, weight = rng.standard_normal((2, 3, *image)), rng.standard_normal((4, 3, 3, 3))
    y = reference.winograd_square_conv2d(x, weight, outputs, points)
    assert_allclose(y, reference.conv2d(x, weight), rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    expected_dx, expected_dweight, _ = reference.conv2d_backward(dy, x, weight)
    results = reference.winograd_square_conv2d_backward(dy, x, weight, outputs, points)
    assert_allclose(results[0], expected_dx, rtol=1e-11, atol=1e-11)
    assert_allclose(results[1], expected_dweight, rtol=1e-11, atol=1e-11)
