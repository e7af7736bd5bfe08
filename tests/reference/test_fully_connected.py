"""The fully connected layer, and flattening."""

import numpy as np
from gradient_checks import agree, assert_gradient, assert_second
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference


def test_gradients(rng):
    x, weight, bias, dy = map(rng.standard_normal, ((4, 3), (5, 3), 5, (4, 5)))
    dx, dweight, dbias = reference.linear_backward(dy, x, weight)
    assert_gradient(dx, lambda x: reference.linear(x, weight, bias), x, dy)
    assert_gradient(dweight, lambda weight: reference.linear(x, weight, bias), weight, dy)
    assert_gradient(dbias, lambda bias: reference.linear(x, weight, bias), bias, dy)


def test_second_derivatives(rng):
    x, weight, d2y = map(rng.uniform, (0, 0, 0), (1, 1, 1), ((4, 3), (5, 3), (4, 5)))
    assert_second(
        reference.linear_backward_second(d2y, x, weight),
        lambda dy: reference.linear_backward(dy, x, weight),
        d2y,
    )


def test_against_torch(torch, rng):
    arrays = [rng.standard_normal(size) for size in ((4, 3), (5, 3), 5)]
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = torch.nn.functional.linear(*leaves)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    agree(reference.linear(*arrays), y)
    for gradient, leaf in zip(reference.linear_backward(dy, *arrays[:2]), leaves, strict=True):
        agree(gradient, leaf.grad)


def test_by_hand():
    x, weight, bias = np.array([[1.0, 2]]), np.array([[3.0, 4], [5, 6]]), np.array([10.0, 20])
    assert_array_equal(reference.linear(x, weight, bias), [[21, 37]])
    assert_array_equal(reference.linear(x, weight), [[11, 17]])


def test_it_is_a_convolution_as_large_as_its_input(rng):
    x, weight, bias = map(rng.standard_normal, ((2, 3, 4, 5), (6, 3, 4, 5), 6))
    y = reference.linear(reference.flatten(x), weight.reshape(6, 60), bias)
    assert_allclose(y, reference.conv2d(x, weight, bias)[:, :, 0, 0], rtol=1e-12)


def test_flatten(rng):
    x = rng.standard_normal((2, 3, 4, 5))
    y = reference.flatten(x)
    assert y.shape == (2, 60)
    assert y[1, (2 * 4 + 3) * 5 + 1] == x[1, 2, 3, 1]
    dy, d2y = rng.uniform(size=(2, *y.shape))
    assert_gradient(reference.flatten_backward(dy, x.shape), reference.flatten, x, dy)
    assert_second(
        [reference.flatten_backward_second(d2y, x.shape)],
        lambda dy: [reference.flatten_backward(dy, x.shape)],
        d2y,
    )
