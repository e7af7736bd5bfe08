"""Losses: by hand, by central differences, and against PyTorch."""

import numpy as np
import pytest
from gradient_checks import IMAGES, MATRICES, agree, assert_gradient
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference

LABELS = np.array([0, 5, 2, 2])


def second_differences(derivative, at):
    """Differentiate a derivative once more, each element by itself: the diagonal."""
    diagonal, h = np.zeros(at.shape), 1e-5
    for i in np.ndindex(at.shape):
        step = np.zeros(at.shape)
        step[i] = h
        diagonal[i] = (derivative(at + step)[i] - derivative(at - step)[i]) / (2 * h)
    return diagonal


class TestCrossEntropy:
    @pytest.mark.parametrize("label_smoothing", [0, 0.1, 1])
    def test_derivatives(self, rng, label_smoothing):
        logits = 3 * rng.standard_normal((4, 6))
        _, dlogits = reference.cross_entropy(logits, LABELS, label_smoothing)
        loss = lambda logits: reference.cross_entropy(logits, LABELS, label_smoothing)  # noqa: E731
        assert_gradient(dlogits, lambda logits: loss(logits)[0], logits)
        expected = second_differences(lambda logits: loss(logits)[1], logits)
        assert_allclose(reference.cross_entropy_second(logits), expected, rtol=1e-7, atol=1e-9)

    @pytest.mark.parametrize("label_smoothing", [0, 0.1, 1])
    def test_against_torch(self, torch, rng, label_smoothing):
        logits, labels = 30 * rng.standard_normal((5, 7)), rng.integers(7, size=5)
        leaf = torch.tensor(logits, requires_grad=True)
        expected = torch.nn.functional.cross_entropy(
            leaf, torch.tensor(labels), label_smoothing=label_smoothing
        )
        expected.backward()
        loss, dlogits = reference.cross_entropy(logits, labels, label_smoothing)
        agree(loss, expected)
        agree(dlogits, leaf.grad)
        agree(reference.softmax(logits), torch.softmax(leaf, 1))
        agree(reference.log_softmax(logits), torch.log_softmax(leaf, 1))

    def test_by_hand(self):
        loss, dlogits = reference.cross_entropy(np.zeros((2, 4)), np.array([1, 3]))
        assert_allclose(loss, np.log(4))
        assert_allclose(dlogits, np.array([[1, -3, 1, 1], [1, 1, 1, -3]]) / 8)

    def test_does_not_overflow(self):
        loss, dlogits = reference.cross_entropy(np.array([[1e4, 0.0]]), np.array([1]))
        assert loss == 1e4
        assert_array_equal(dlogits, [[1, -1]])


class TestMeanSquaredError:
    @pytest.mark.parametrize("shape", MATRICES + IMAGES)
    def test_derivatives(self, rng, shape):
        outputs, target = map(rng.standard_normal, (shape, shape))
        _, doutputs = reference.mse_loss(outputs, target)
        assert_gradient(doutputs, lambda y: reference.mse_loss(y, target)[0], outputs)
        expected = second_differences(lambda y: reference.mse_loss(y, target)[1], outputs)
        assert_allclose(reference.mse_loss_second(outputs), expected, rtol=1e-7)

    def test_against_torch(self, torch, rng):
        outputs, target = rng.standard_normal((2, 4, 3))
        leaf = torch.tensor(outputs, requires_grad=True)
        expected = torch.nn.functional.mse_loss(leaf, torch.tensor(target))
        expected.backward()
        loss, doutputs = reference.mse_loss(outputs, target)
        agree(loss, expected)
        agree(doutputs, leaf.grad)

    def test_by_hand(self):
        loss, doutputs = reference.mse_loss(np.array([[1.0, 2]]), np.array([[0.0, 4]]))
        assert loss == 2.5
        assert_array_equal(doutputs, [[1, -2]])


class TestPenalties:
    @pytest.mark.parametrize("j", [0.1, 3, 30])
    def test_derivatives(self, rng, j):
        penalties = rng.uniform(0, 10, (4, 6))
        _, dpenalties = reference.mle_loss(penalties, LABELS)
        assert_gradient(dpenalties, lambda y: reference.mle_loss(y, LABELS)[0], penalties)
        assert_array_equal(reference.mle_loss_second(penalties), np.zeros((4, 6)))
        _, dpenalties = reference.map_loss(penalties, LABELS, j)
        assert_gradient(dpenalties, lambda y: reference.map_loss(y, LABELS, j)[0], penalties)
        expected = second_differences(lambda y: reference.map_loss(y, LABELS, j)[1], penalties)
        assert_allclose(reference.map_loss_second(penalties, j), expected, rtol=1e-6, atol=1e-9)

    def test_by_hand(self):
        loss, dpenalties = reference.mle_loss([[1.0, 2, 3], [4, 5, 6]], [2, 0])
        assert loss == 3.5
        assert_array_equal(dpenalties, [[0, 0, 0.5], [0.5, 0, 0]])

    def test_maximum_a_posteriori_as_printed(self, rng):
        """Equation 9, without the shift that keeps exp from overflowing."""
        y, j = rng.uniform(0, 5, (4, 6)), 0.7
        expected = y[np.arange(4), LABELS] + np.log(np.exp(-j) + np.exp(-y).sum(axis=1))
        assert_allclose(reference.map_loss(y, LABELS, j)[0], expected.mean(), rtol=1e-12)

    def test_does_not_overflow(self):
        loss, dpenalties = reference.map_loss([[-1e4, 0.0]], [0], j=1.0)
        assert loss == 0
        assert_array_equal(dpenalties, [[0, 0]])
