"""Numeric gradients, and second derivatives from first derivatives."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference


def test_numeric_gradient_of_polynomials(rng):
    x, dy = rng.standard_normal((2, 3, 4))
    gradient = reference.numeric_gradient(lambda x: x**2, x, dy, h=0.5)  # exact, whatever h
    assert_allclose(gradient, 2 * x * dy, rtol=1e-12)
    assert_allclose(reference.numeric_gradient(lambda x: x**3, x), 3 * x**2, rtol=1e-7, atol=1e-9)


def test_numeric_gradient_of_sums():
    """Each output is weighted by its dy."""
    x = np.array([1.0, 2, 3])
    gradient = reference.numeric_gradient(lambda x: [x.sum(), x.prod()], x, [10, 1])
    assert_allclose(gradient, [10 + 6, 10 + 3, 10 + 2], rtol=1e-9)


def test_numeric_gradient_of_no_elements():
    assert reference.numeric_gradient(np.sum, np.zeros((0, 3))).shape == (0, 3)


def test_backward_second_by_hand():
    """For y = J z: d2z = sum over i of d2y[i] J[i]^2."""
    J, d2y = np.array([[1.0, -2, 0], [3, 0, 4]]), np.array([10.0, 1])
    (d2z,) = reference.backward_second(lambda dy: [dy @ J], d2y)
    assert_array_equal(d2z, [10 + 9, 40, 16])
