"""Convolution along one axis: by central differences, against PyTorch, with the channels last."""

import pytest
from gradient_checks import agree, assert_gradient
from numpy.testing import assert_allclose

from lenet5c import reference

# function, x, weight, options
CASES = [
    ("conv1d", (2, 3, 7), (4, 3, 3), {}),
    ("conv1d", (2, 4, 9), (6, 2, 2), {"stride": 2, "padding": 1, "dilation": 3, "groups": 2}),
    ("conv_transpose1d", (2, 3, 4), (3, 4, 3), {}),
    (
        "conv_transpose1d",
        (2, 4, 4),
        (4, 1, 3),
        {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2, "dilation": 2},
    ),
]
OTHERS = [
    ("conv1d", (2, 3, 7), (4, 3, 4), {"padding": "same", "stride": 2}),
    ("conv1d", (2, 3, 7), (4, 3, 4), {"padding": (0, 2)}),
    ("conv_transpose1d", (2, 3, 4), (3, 4, 3), {"padding": (2, 0)}),
    ("conv_transpose1d", (2, 3, 4), (3, 4, 3), {"padding": "same", "stride": 4}),
]


def draw(rng, name, shape, weight_shape, options):
    """Return x, weight and bias."""
    filters = weight_shape[0]
    if name == "conv_transpose1d":
        filters = weight_shape[1] * options.get("groups", 1)
    return [rng.standard_normal(size) for size in (shape, weight_shape, filters)]


@pytest.mark.parametrize("name, shape, weight_shape, options", CASES + OTHERS)
def test_gradients(rng, name, shape, weight_shape, options):
    f = getattr(reference, name)
    x, weight, bias = draw(rng, name, shape, weight_shape, options)
    dy = rng.standard_normal(f(x, weight, bias, **options).shape)
    dx, dweight, dbias = getattr(reference, f"{name}_backward")(dy, x, weight, **options)
    assert_gradient(dx, lambda x: f(x, weight, bias, **options), x, dy)
    assert_gradient(dweight, lambda weight: f(x, weight, bias, **options), weight, dy)
    assert_gradient(dbias, lambda bias: f(x, weight, bias, **options), bias, dy)


@pytest.mark.parametrize("name, shape, weight_shape, options", CASES)
def test_against_torch(torch, rng, name, shape, weight_shape, options):
    arrays = draw(rng, name, shape, weight_shape, options)
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = getattr(torch.nn.functional, name)(*leaves, **options)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    agree(getattr(reference, name)(*arrays, **options), y)
    backward = getattr(reference, f"{name}_backward")
    for gradient, leaf in zip(backward(dy, *arrays[:2], **options), leaves, strict=True):
        agree(gradient, leaf.grad)


@pytest.mark.parametrize("name, shape, weight_shape, options", CASES + OTHERS)
def test_channels_last_and_one_sample(rng, name, shape, weight_shape, options):
    f, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
    x, weight, bias = draw(rng, name, shape, weight_shape, options)
    last, weight_last = x.transpose(0, 2, 1), weight.transpose(2, 1, 0)
    y = f(x, weight, bias, **options)
    y_last = f(last, weight_last, bias, **options, data_format="NWC")
    assert_allclose(y_last, y.transpose(0, 2, 1), atol=1e-13)
    one = f(last[0], weight_last, bias, **options, data_format="NWC")
    assert_allclose(one, y_last[0], atol=1e-13)
    dx, dweight, dbias = backward(y, x, weight, **options)
    one, nothing, _ = backward(y[0], x[0], weight, **options, need=["dx", "dbias"])
    assert_allclose(one, dx[0], atol=1e-13)
    assert nothing is None
    gradients = backward(y_last, last, weight_last, **options, data_format="NWC")
    for gradient, expected in zip(
        gradients, (dx.transpose(0, 2, 1), dweight.transpose(2, 1, 0), dbias), strict=True
    ):
        assert_allclose(gradient, expected, atol=1e-13)
