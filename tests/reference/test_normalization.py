"""Batch normalization."""

import numpy as np
import pytest
from gradient_checks import IMAGES, MATRICES, agree, assert_gradient
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import nn, reference

each_shape = pytest.mark.parametrize("shape", [(5, 3), (7, 2), *IMAGES])


@pytest.mark.parametrize("eps", [1e-5, 0.1])
@each_shape
def test_gradients(rng, shape, eps):
    x, weight, bias, dy = map(rng.standard_normal, (shape, shape[1], shape[1], shape))
    dx, dweight, dbias = reference.batch_norm_backward(dy, x, weight, eps)
    assert_gradient(dx, lambda x: reference.batch_norm(x, weight, bias, eps), x, dy)
    assert_gradient(dweight, lambda weight: reference.batch_norm(x, weight, bias, eps), weight, dy)
    assert_gradient(dbias, lambda bias: reference.batch_norm(x, weight, bias, eps), bias, dy)


@each_shape
def test_second_derivatives_take_statistics_as_constants(rng, shape):
    """The layer is then that of inference, with one slope per channel."""
    x, weight, bias = map(rng.standard_normal, (shape, shape[1], shape[1]))
    d2y, axes = rng.uniform(size=shape), (0, *range(2, len(shape)))
    statistics = x.mean(axis=axes), x.var(axis=axes)

    def slope(dx=0, dweight=0, dbias=0):
        """Differentiate each output by the one input, weight or bias that it depends on."""
        above, below = (
            reference.batch_norm_inference(
                x + sign * dx, weight + sign * dweight, bias + sign * dbias, *statistics
            )
            for sign in (1, -1)
        )
        return (above - below) / 2

    d2x, d2weight, d2bias = reference.batch_norm_backward_second(d2y, x, weight)
    assert_allclose(d2x, slope(dx=1) ** 2 * d2y, rtol=1e-10)
    assert_allclose(d2weight, (slope(dweight=1) ** 2 * d2y).sum(axis=axes), rtol=1e-10)
    assert_allclose(d2bias, (slope(dbias=1) ** 2 * d2y).sum(axis=axes), rtol=1e-10)


@pytest.mark.parametrize("shape", MATRICES + IMAGES)
def test_against_torch(torch, rng, shape):
    arrays = [rng.standard_normal(size) for size in (shape, shape[1], shape[1])]
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    options = {"training": True, "eps": 1e-3}
    y = torch.nn.functional.batch_norm(leaves[0], None, None, *leaves[1:], **options)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    agree(reference.batch_norm(*arrays, eps=1e-3), y)
    gradients = reference.batch_norm_backward(dy, *arrays[:2], eps=1e-3)
    for gradient, leaf in zip(gradients, leaves, strict=True):
        agree(gradient, leaf.grad)


@pytest.mark.parametrize("shape", MATRICES + IMAGES)
def test_running_statistics_against_torch(torch, rng, shape):
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    layer = kind(shape[1], momentum=0.3, dtype=torch.float64)
    mean, var = np.zeros(shape[1]), np.ones(shape[1])
    for _ in range(3):
        x = rng.standard_normal(shape)
        layer(torch.tensor(x))
        mean, var = reference.update_running_statistics(mean, var, x, momentum=0.3)
        agree(mean, layer.running_mean)
        agree(var, layer.running_var)
    layer.eval()
    ones, zeros = np.ones(shape[1]), np.zeros(shape[1])
    agree(reference.batch_norm_inference(x, ones, zeros, mean, var), layer(torch.tensor(x)))


@pytest.mark.parametrize("kind, shape", [(nn.BatchNorm1d, (5, 3)), (nn.BatchNorm2d, (4, 3, 2, 3))])
def test_against_the_layer(rng, kind, shape):
    layer = kind(3, eps=1e-3, momentum=0.2)
    layer.params["weight"], layer.params["bias"] = weight, bias = rng.uniform(1, 2, (2, 3))
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = rng.standard_normal(shape).astype(np.float32)
        y = layer.forward(x, training=True)
        assert_allclose(y, reference.batch_norm(x, weight, bias, 1e-3), rtol=1e-5, atol=1e-6)
        mean, var = reference.update_running_statistics(mean, var, x, momentum=0.2)
        assert_allclose(layer.buffers["running_mean"], mean, rtol=1e-5, atol=1e-7)
        assert_allclose(layer.buffers["running_var"], var, rtol=1e-5)
    y = reference.batch_norm_inference(x, weight, bias, mean, var, 1e-3)
    assert_allclose(layer.forward(x), y, rtol=1e-5, atol=1e-6)


def test_by_hand():
    y = reference.batch_norm(np.array([[1.0], [3.0]]), weight=[2.0], bias=[10.0], eps=0)
    assert_array_equal(y, [[8], [12]])
    y = reference.batch_norm_inference([[1.0], [3.0]], [2.0], [10.0], [3.0], [4.0], eps=0)
    assert_array_equal(y, [[8], [10]])
    mean, var = reference.update_running_statistics([0.0], [1.0], [[1.0], [3.0]], momentum=0.5)
    assert_array_equal([mean, var], [[1], [1.5]])
