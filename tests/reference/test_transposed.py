"""Transposed convolution: by hand, as a data gradient, by central differences, against PyTorch."""

import numpy as np
import pytest
from gradient_checks import agree, assert_gradient
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference

# (x, weight, options)
CASES = [
    ((2, 1, 3, 3), (1, 1, 1, 1), {}),
    ((2, 3, 3, 2), (3, 4, 3, 2), {}),
    ((1, 2, 3, 4), (2, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((2, 4, 3, 2), (4, 2, 2, 3), {"groups": 2, "stride": (1, 3), "output_padding": (0, 2)}),
    ((1, 2, 2, 3), (2, 1, 3, 2), {"dilation": (2, 3), "padding": (1, 0), "output_padding": (1, 2)}),
    ((1, 3, 1, 1), (3, 2, 4, 3), {}),
]
OTHERS = [
    ((1, 2, 3, 4), (2, 3, 3, 2), {"padding": "same", "stride": (2, 3)}),
    ((1, 2, 3, 4), (2, 3, 2, 1), {"padding": "same", "stride": (3, 2), "output_padding": (1, 0)}),
    ((1, 2, 3, 4), (2, 3, 3, 2), {"padding": ((2, 0), (0, 1))}),
    ((1, 2, 3, 4), (2, 3, 3, 2), {"padding": "valid"}),
]


@pytest.mark.parametrize("shape, weight_shape, options", CASES + OTHERS)
def test_gradients(rng, shape, weight_shape, options):
    filters = weight_shape[1] * options.get("groups", 1)
    x, weight, bias = map(rng.standard_normal, (shape, weight_shape, filters))
    dy = rng.standard_normal(reference.conv_transpose2d(x, weight, bias, **options).shape)
    dx, dweight, dbias = reference.conv_transpose2d_backward(dy, x, weight, **options)
    f = reference.conv_transpose2d
    assert_gradient(dx, lambda x: f(x, weight, bias, **options), x, dy)
    assert_gradient(dweight, lambda weight: f(x, weight, bias, **options), weight, dy)
    assert_gradient(dbias, lambda bias: f(x, weight, bias, **options), bias, dy)


@pytest.mark.parametrize("shape, weight_shape, options", CASES)
def test_against_torch(torch, rng, shape, weight_shape, options):
    filters = weight_shape[1] * options.get("groups", 1)
    arrays = [rng.standard_normal(size) for size in (shape, weight_shape, filters)]
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = torch.nn.functional.conv_transpose2d(*leaves, **options)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    agree(reference.conv_transpose2d(*arrays, **options), y)
    gradients = reference.conv_transpose2d_backward(dy, *arrays[:2], **options)
    for gradient, leaf in zip(gradients, leaves, strict=True):
        agree(gradient, leaf.grad)


def test_is_the_data_gradient_of_a_convolution(rng):
    options = {"stride": (2, 1), "padding": ((1, 0), (0, 2)), "dilation": (1, 2), "groups": 2}
    x, weight = rng.standard_normal((2, 4, 6, 7)), rng.standard_normal((6, 2, 3, 2))
    dy = rng.standard_normal(reference.conv2d(x, weight, **options).shape)
    dx, _, _ = reference.conv2d_backward(dy, x, weight, **options)
    assert_allclose(reference.conv_transpose2d(dy, weight, **options), dx, atol=1e-13)


def test_by_hand():
    x, weight = np.array([[[[1.0, 2], [3, 4]]]]), np.array([[[[1.0, 10]]]])
    y = reference.conv_transpose2d(x, weight, [0.5])
    assert_array_equal(y, [[[[1.5, 12.5, 20.5], [3.5, 34.5, 40.5]]]])
    y = reference.conv_transpose2d(x, weight, stride=(1, 2), padding="same")
    assert_array_equal(y, [[[[1, 10, 2, 20], [3, 30, 4, 40]]]])
    y = reference.conv_transpose2d(x, weight, stride=(1, 3), padding="same")  # nothing every third
    assert_array_equal(y, [[[[1, 10, 0, 2, 20, 0], [3, 30, 0, 4, 40, 0]]]])
    y = reference.conv_transpose2d(x, weight, padding=((1, 0), (0, 1)))
    assert_array_equal(y, [[[[3, 34]]]])


def test_channels_last_and_one_sample(rng):
    x, weight = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((2, 3, 1, 4))
    options = {"groups": 2, "stride": 2, "output_padding": (1, 0)}
    first = x.transpose(0, 3, 1, 2), weight.transpose(3, 2, 0, 1)
    y = reference.conv_transpose2d(x, weight, np.ones(2), **options, data_format="NHWC")
    expected = reference.conv_transpose2d(*first, np.ones(2), **options)
    assert_array_equal(y, expected.transpose(0, 2, 3, 1))
    one = reference.conv_transpose2d(x[0], weight, np.ones(2), **options, data_format="NHWC")
    assert_array_equal(one, y[0])
    backward = reference.conv_transpose2d_backward
    dx, dweight, dbias = backward(y, x, weight, **options, data_format="NHWC")
    expected = backward(y.transpose(0, 3, 1, 2), *first, **options)
    assert_array_equal(dx, expected[0].transpose(0, 2, 3, 1))
    assert_array_equal(dweight, expected[1].transpose(2, 3, 1, 0))
    assert_array_equal(dbias, expected[2])
    one, _, nothing = backward(
        y[0], x[0], weight, **options, data_format="NHWC", need=["dx", "dweight"]
    )
    assert_array_equal(one, dx[0])
    assert nothing is None
