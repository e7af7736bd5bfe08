"""Radial basis functions."""

import numpy as np
from gradient_checks import assert_gradient, assert_second
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference


def test_gradient(rng):
    x, codes, dy = map(rng.standard_normal, ((4, 3), (5, 3), (4, 5)))
    dx = reference.rbf_backward(dy, x, codes)
    assert_gradient(dx, lambda x: reference.rbf(x, codes), x, dy)


def test_second_derivatives(rng):
    x, codes = map(rng.standard_normal, ((4, 3), (5, 3)))
    d2y = rng.uniform(size=(4, 5))
    assert_second(
        [reference.rbf_backward_second(d2y, x, codes)],
        lambda dy: [reference.rbf_backward(dy, x, codes)],
        d2y,
    )


def test_second_derivatives_with_the_first_are_exact(rng):
    """For the loss sum of a y + b y^2 / 2, whose derivatives by y are a + b y and b."""
    x, codes, a, b = map(rng.standard_normal, ((1, 1), (5, 1), (1, 5), (1, 5)))

    def dloss(x):
        y = reference.rbf(x, codes)
        return reference.rbf_backward(a + b * y, x, codes)

    dy = a + b * reference.rbf(x, codes)
    d2x = reference.rbf_backward_second(b, x, codes, dy)
    assert_allclose(d2x, reference.numeric_gradient(dloss, x), rtol=1e-7)


def test_by_hand():
    assert_array_equal(reference.rbf([[1, 0]], [[1, 1], [-1, 1]]), [[1, 5]])
    assert_array_equal(reference.rbf_backward([[1, 10]], [[1, 0]], [[1, 1], [-1, 1]]), [[40, -22]])


def test_the_smallest_is_the_nearest(rng):
    x, codes = map(rng.standard_normal, ((20, 3), (5, 3)))
    nearest = [np.linalg.norm(codes - each, axis=1).argmin() for each in x]
    assert_array_equal(reference.rbf(x, codes).argmin(axis=1), nearest)
