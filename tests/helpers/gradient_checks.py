"""Common checks of the reference's backward passes."""

import numpy as np
from numpy.testing import assert_allclose

from lenet5c import reference


def assert_gradient(actual, f, x, dy=1.0):
    """Compare a gradient with central differences of sum(f(x) * dy) along every element of x."""
    expected = reference.numeric_gradient(f, x, dy)
    assert actual.dtype == np.float64
    assert actual.shape == x.shape
    assert_allclose(actual, expected, rtol=1e-7, atol=1e-8 * max(1, np.abs(expected).max()))


def assert_second(actual, backward, d2y):
    """Compare second derivatives with those by the definition, from a backward pass."""
    expected = reference.backward_second(backward, d2y)
    for one, other in zip(actual, expected, strict=True):
        assert (one.dtype, one.shape) == (np.float64, other.shape)
        assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def agree(actual, expected):
    """Compare with a tensor of the same values, up to the rounding of float64."""
    expected = expected.detach().numpy()
    assert np.shape(actual) == expected.shape
    assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def distinct(rng, shape):
    """Draw values further apart than a difference step, none 0: no maximum or sign changes."""
    count = np.prod(shape)
    return 0.01 * (rng.permutation(count).reshape(shape) - count // 2 + 0.5)


MATRICES = [(5, 3), (2, 7)]
IMAGES = [(4, 3, 2, 3), (2, 1, 5, 2)]
