"""Convolution: by hand, by central differences, and against PyTorch."""

import numpy as np
import pytest
from gradient_checks import agree, assert_gradient, assert_second
from numpy.testing import assert_array_equal

from lenet5c import reference

# (x, weight, options): strides, paddings, dilations, groups, kernels and images that are not square
CASES = [
    ((2, 1, 5, 5), (1, 1, 1, 1), {}),
    ((2, 3, 6, 5), (4, 3, 3, 2), {}),
    ((1, 2, 7, 6), (3, 2, 3, 3), {"stride": 2, "padding": 1}),
    ((2, 2, 6, 8), (2, 2, 2, 3), {"stride": (1, 3), "padding": (2, 0)}),
    ((1, 2, 8, 7), (2, 2, 3, 2), {"dilation": (2, 3), "padding": 1}),
    ((2, 4, 5, 6), (6, 2, 3, 3), {"groups": 2, "stride": (2, 1), "padding": (1, 2)}),
    ((2, 3, 5, 5), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
    ((1, 3, 7, 7), (6, 1, 2, 3), {"groups": 3, "stride": 2, "padding": 1, "dilation": 2}),
    ((1, 2, 5, 5), (1, 2, 1, 2), {"stride": 3, "padding": 2}),
    ((2, 1, 4, 6), (3, 1, 4, 6), {}),
]

# The same in other words: padding in each form, channels last, one sample
FORMS = [
    ((2, 3, 6, 5), {"padding": "valid"}, 0),
    ((2, 3, 6, 5), {"padding": "same"}, ((1, 1), (0, 1))),
    ((2, 3, 7, 5), {"padding": "same", "stride": (2, 3), "dilation": (2, 1)}, ((2, 2), (0, 0))),
    ((2, 3, 6, 5), {"padding": ((0, 2), (1, 0)), "stride": 2}, ((0, 2), (1, 0))),
    ((2, 3, 1, 1), {"padding": ((3, 0), (0, 1))}, ((3, 0), (0, 1))),
]

each_case = pytest.mark.parametrize("shape, weight_shape, options", CASES)

X = np.arange(1.0, 10).reshape(1, 1, 3, 3)
WEIGHT = np.array([[[[1.0, 2], [3, 4]]]])


@each_case
def test_gradients(rng, shape, weight_shape, options):
    x, weight, bias = map(rng.standard_normal, (shape, weight_shape, weight_shape[0]))
    dy = rng.standard_normal(reference.conv2d(x, weight, bias, **options).shape)
    dx, dweight, dbias = reference.conv2d_backward(dy, x, weight, **options)
    assert_gradient(dx, lambda x: reference.conv2d(x, weight, bias, **options), x, dy)
    assert_gradient(
        dweight, lambda weight: reference.conv2d(x, weight, bias, **options), weight, dy
    )
    assert_gradient(dbias, lambda bias: reference.conv2d(x, weight, bias, **options), bias, dy)


@each_case
def test_second_derivatives(rng, shape, weight_shape, options):
    x, weight = map(rng.standard_normal, (shape, weight_shape))
    d2y = rng.uniform(size=reference.conv2d(x, weight, **options).shape)
    assert_second(
        reference.conv2d_backward_second(d2y, x, weight, **options),
        lambda dy: reference.conv2d_backward(dy, x, weight, **options),
        d2y,
    )


@each_case
def test_against_torch(torch, rng, shape, weight_shape, options):
    arrays = [rng.standard_normal(size) for size in (shape, weight_shape, weight_shape[0])]
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = torch.nn.functional.conv2d(*leaves, **options)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    agree(reference.conv2d(*arrays, **options), y)
    gradients = reference.conv2d_backward(dy, *arrays[:2], **options)
    for gradient, leaf in zip(gradients, leaves, strict=True):
        agree(gradient, leaf.grad)


def test_by_hand():
    y = reference.conv2d(X, WEIGHT, np.array([0.5]))
    # Correlation: 1*1 + 2*2 + 4*3 + 5*4 + 0.5, ...
    assert_array_equal(y, [[[[37.5, 47.5], [67.5, 77.5]]]])
    assert_array_equal(reference.conv2d(X, WEIGHT, dilation=2), [[[[1 + 6 + 21 + 36]]]])
    assert_array_equal(reference.conv2d(X, WEIGHT, stride=3, padding=1), [[[[4, 9], [14, 9]]]])


def test_groups_keep_channels_apart():
    x = np.array([1.0, 10, 100, 1000]).reshape(1, 4, 1, 1)
    weight = np.array([[1.0, 2], [3, 4]]).reshape(2, 2, 1, 1)
    assert_array_equal(reference.conv2d(x, weight, groups=2).ravel(), [21, 4300])


def test_backward_by_hand():
    dx, dweight, dbias = reference.conv2d_backward(np.ones((1, 1, 2, 2)), X, WEIGHT)
    assert_array_equal(dx, [[[[1, 3, 2], [4, 10, 6], [3, 7, 4]]]])
    assert_array_equal(dweight, [[[[12, 16], [24, 28]]]])
    assert_array_equal(dbias, [4])


@pytest.mark.parametrize("shape, options, sides", FORMS)
def test_padding_in_each_form(rng, shape, options, sides):
    x, weight = rng.standard_normal(shape), rng.standard_normal((4, 3, 3, 2))
    padded = np.pad(x, ((0, 0), (0, 0), *np.broadcast_to(sides, (2, 2))))
    unpadded = options | {"padding": 0}
    y = reference.conv2d(x, weight, **options)
    assert_array_equal(y, reference.conv2d(padded, weight, **unpadded))
    if options["padding"] == "same":
        assert y.shape[2:] == tuple(
            -(-n // s)
            for n, s in zip(shape[2:], reference.pair(options.get("stride", 1)), strict=True)
        )
    dy = rng.standard_normal(y.shape)
    dx, dweight, dbias = reference.conv2d_backward(dy, x, weight, **options)
    dpadded, *expected = reference.conv2d_backward(dy, padded, weight, **unpadded)
    (top, _), (left, _) = np.broadcast_to(sides, (2, 2))
    assert_array_equal(dx, dpadded[:, :, top : top + shape[2], left : left + shape[3]])
    assert_array_equal(dweight, expected[0])
    assert_array_equal(dbias, expected[1])


def test_channels_last_and_one_sample(rng):
    x, weight = rng.standard_normal((2, 5, 6, 4)), rng.standard_normal((3, 2, 2, 6))
    options = {"groups": 2, "padding": "same", "stride": (1, 2)}
    first = x.transpose(0, 3, 1, 2), weight.transpose(3, 2, 0, 1)
    y = reference.conv2d(x, weight, np.ones(6), **options, data_format="NHWC")
    expected = reference.conv2d(*first, np.ones(6), **options)
    assert_array_equal(y, expected.transpose(0, 2, 3, 1))
    one = reference.conv2d(x[0], weight, np.ones(6), **options, data_format="NHWC")
    assert_array_equal(one, y[0])
    dx, dweight, dbias = reference.conv2d_backward(y, x, weight, **options, data_format="NHWC")
    expected = reference.conv2d_backward(y.transpose(0, 3, 1, 2), *first, **options)
    assert_array_equal(dx, expected[0].transpose(0, 2, 3, 1))
    assert_array_equal(dweight, expected[1].transpose(2, 3, 1, 0))
    assert_array_equal(dbias, expected[2])
    one, nothing, _ = reference.conv2d_backward(
        y[0], x[0], weight, **options, data_format="NHWC", need=["dx", "dbias"]
    )
    assert_array_equal(one, dx[0])
    assert nothing is None
