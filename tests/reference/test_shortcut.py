"""Residuals: definition, gradients, second derivatives."""

import numpy as np
import pytest
from gradient_checks import agree, assert_gradient
from numpy.testing import assert_allclose

from lenet5c import reference


@pytest.fixture
def branches(rng):
    """Return the layers, a shortcut and the gradients of both."""
    first, second = rng.standard_normal((4, 2, 3, 3)), rng.standard_normal((3, 4, 3, 3))
    across, x = rng.standard_normal((3, 2, 1, 1)), rng.standard_normal((2, 2, 5, 6))
    hidden = reference.tanh(reference.conv2d(x, first, stride=2, padding=1))

    def layers(x):
        y = reference.tanh(reference.conv2d(x, first, stride=2, padding=1))
        return reference.conv2d(y, second, padding=1)

    def layers_backward(dy):
        dy = reference.conv2d_backward(dy, hidden, second, padding=1)[0]
        dy = reference.tanh_backward(dy, hidden)
        return reference.conv2d_backward(dy, x, first, stride=2, padding=1)[0]

    def shortcut(x):
        return reference.conv2d(x, across, stride=2)

    def shortcut_backward(dy):
        return reference.conv2d_backward(dy, x, across, stride=2)[0]

    return x, layers, shortcut, layers_backward, shortcut_backward


def test_the_sum_of_both(branches):
    x, layers, shortcut, *_ = branches
    assert_allclose(reference.residual(x, layers, shortcut), layers(x) + shortcut(x))
    assert_allclose(reference.residual(x, np.negative), np.zeros_like(x))


def test_gradients(branches, rng):
    x, layers, shortcut, *backward = branches
    dy = rng.standard_normal((2, 3, 3, 3))
    assert_gradient(
        reference.residual_backward(dy, *backward),
        lambda x: reference.residual(x, layers, shortcut),
        x,
        dy,
    )
    dy = rng.standard_normal(x.shape)
    y = reference.tanh(x)
    assert_gradient(
        reference.residual_backward(dy, lambda dy: reference.tanh_backward(dy, y)),
        lambda x: reference.residual(x, reference.tanh),
        x,
        dy,
    )


def test_second_derivatives_leave_out_what_mixes_both(rng):
    """One input with weights a in the layers and b in the shortcut: a^2 + b^2, not (a + b)^2."""
    d2y = rng.standard_normal((4, 1))
    d2x = reference.residual_backward_second(d2y, lambda d2y: 9 * d2y, lambda d2y: 4 * d2y)
    assert_allclose(d2x, 13 * d2y)


def test_torch(branches, torch):
    x = branches[0]
    functional, a = torch.nn.functional, torch.tensor(x)
    agree(
        reference.residual(x, lambda x: reference.max_pool2d(x, 3, 1, 1)),
        functional.max_pool2d(a, 3, 1, 1) + a,
    )
