"""Softmax: by central differences, and against PyTorch."""

import numpy as np
import pytest
from gradient_checks import agree, assert_gradient

from lenet5c import reference


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
class TestSoftmax:
    def test_gradient(self, rng, name, axis):
        function, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
        x, dy = 3 * rng.standard_normal((2, 3, 4)), rng.standard_normal((3, 4))
        dy = np.stack([dy, 2 * dy])
        dx = backward(dy, function(x, axis), axis)
        assert_gradient(dx, lambda x: (dy * function(x, axis)).sum(), x)

    def test_against_torch(self, torch, rng, name, axis):
        x, dy = 30 * rng.standard_normal((2, 2, 3, 4))
        leaf = torch.tensor(x, requires_grad=True)
        expected = getattr(torch, name)(leaf, axis)
        expected.backward(torch.tensor(dy))
        y = getattr(reference, name)(x, axis)
        agree(y, expected)
        agree(getattr(reference, f"{name}_backward")(dy, y, axis), leaf.grad)


def test_extremes():
    np.testing.assert_array_equal(reference.softmax([1e4, 0, -np.inf]), [1, 0, 0])
    np.testing.assert_array_equal(reference.log_softmax([1e4, 0, -np.inf]), [0, -1e4, -np.inf])
