"""Convolution with a connection table."""

import numpy as np
from gradient_checks import assert_gradient, assert_second
from numpy.testing import assert_array_equal

from lenet5c import reference

TABLE = [[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0]]
OPTIONS = {"table": TABLE, "stride": (1, 2), "padding": 1}


def arrays(rng):
    return map(rng.standard_normal, ((2, 3, 5, 6), (7, 3, 2), 4))


def test_gradients(rng):
    x, filters, bias = arrays(rng)
    dy = rng.standard_normal(reference.connected_conv2d(x, filters, bias, **OPTIONS).shape)
    dx, dfilters, dbias = reference.connected_conv2d_backward(dy, x, filters, **OPTIONS)
    forward = reference.connected_conv2d
    assert_gradient(dx, lambda x: forward(x, filters, bias, **OPTIONS), x, dy)
    assert_gradient(dfilters, lambda filters: forward(x, filters, bias, **OPTIONS), filters, dy)
    assert_gradient(dbias, lambda bias: forward(x, filters, bias, **OPTIONS), bias, dy)


def test_second_derivatives(rng):
    x, filters, _ = arrays(rng)
    d2y = rng.uniform(size=reference.connected_conv2d(x, filters, **OPTIONS).shape)
    assert_second(
        reference.connected_conv2d_backward_second(d2y, x, filters, **OPTIONS),
        lambda dy: reference.connected_conv2d_backward(dy, x, filters, **OPTIONS),
        d2y,
    )


def test_filters_are_taken_in_order(rng):
    filters = rng.standard_normal((7, 3, 2))
    weight = reference.scatter_filters(filters, TABLE)
    assert weight.shape == (4, 3, 3, 2)
    assert_array_equal(weight[0, 0], filters[0])
    assert_array_equal(weight[0, 2], filters[1])
    assert_array_equal(weight[3, 1], filters[6])
    assert_array_equal((weight != 0).any(axis=(2, 3)), np.array(TABLE, bool).T)
    assert_array_equal(reference.gather_filters(weight, TABLE), filters)


def test_all_connected_is_a_convolution(rng):
    x, weight = map(rng.standard_normal, ((2, 3, 5, 5), (4, 3, 2, 2)))
    y = reference.connected_conv2d(x, weight.reshape(12, 2, 2), table=np.ones((3, 4)))
    assert_array_equal(y, reference.conv2d(x, weight))
