"""Losses: by hand, by central differences, and against PyTorch."""

from itertools import product

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


def draw(rng):
    """Return outputs, labels with some to ignore, probabilities, weights of classes and samples."""
    labels = np.array([0, 5, 2, 2, 1])
    weights = rng.uniform(0.1, 2, 6), np.array([1, 0, 0.5, 2, 3])
    return 3 * rng.standard_normal((5, 6)), labels, rng.dirichlet(np.ones(6), 5), *weights


REDUCTIONS = ["mean", "sum", "none"]
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


class TestWeights:
    @each_reduction
    @pytest.mark.parametrize("label_smoothing", [0, 0.1])
    def test_derivatives_of_cross_entropy(self, rng, label_smoothing, reduction):
        logits, labels, soft, weight, sample_weight = draw(rng)
        options = {"weight": weight, "reduction": reduction, "sample_weight": sample_weight}
        for target, ignored in product((labels, soft), (-100, 2)):
            options["ignore_index"] = ignored

            def loss(z, target=target):
                value, dz = reference.cross_entropy(z, target, label_smoothing, **options)
                return np.sum(value), dz

            assert_gradient(loss(logits)[1], lambda z, loss=loss: loss(z)[0], logits)
            second = reference.cross_entropy_second(logits, target, label_smoothing, **options)
            expected = second_differences(lambda z, loss=loss: loss(z)[1], logits)
            assert_allclose(second, expected, rtol=1e-6, atol=1e-9)

    @each_reduction
    def test_derivatives_of_others(self, rng, reduction):
        outputs, labels, soft, weight, sample_weight = draw(rng)
        options = {"reduction": reduction, "sample_weight": sample_weight}
        for loss, second in (
            (
                lambda z: reference.nll_loss(z, labels, weight=weight, ignore_index=2, **options),
                reference.nll_loss_second(outputs),
            ),
            (
                lambda z: reference.mse_loss(z, soft, **options),
                reference.mse_loss_second(outputs, **options),
            ),
            (
                lambda z: reference.mle_loss(z, labels, **options),
                reference.mle_loss_second(outputs),
            ),
            (
                lambda z: reference.map_loss(z, labels, 2.0, **options),
                reference.map_loss_second(outputs, 2.0, **options),
            ),
        ):
            assert_gradient(loss(outputs)[1], lambda z, loss=loss: np.sum(loss(z)[0]), outputs)
            expected = second_differences(lambda z, loss=loss: loss(z)[1], outputs)
            assert_allclose(second, expected, rtol=1e-6, atol=1e-9)

    @each_reduction
    @pytest.mark.parametrize("label_smoothing", [0, 0.1, 1])
    def test_cross_entropy_against_torch(self, torch, rng, label_smoothing, reduction):
        logits, labels, soft, weight, _ = draw(rng)
        for target, by_class, ignored in product((labels, soft), (None, weight), (-100, 2)):
            if target is soft and ignored >= 0:
                continue  # PyTorch refuses it
            leaf = torch.tensor(logits, requires_grad=True)
            expected = torch.nn.functional.cross_entropy(
                leaf,
                torch.tensor(target),
                None if by_class is None else torch.tensor(by_class),
                ignore_index=ignored,
                reduction=reduction,
                label_smoothing=label_smoothing,
            )
            expected.sum().backward()
            loss, dlogits = reference.cross_entropy(
                logits,
                target,
                label_smoothing,
                weight=by_class,
                ignore_index=ignored,
                reduction=reduction,
            )
            agree(loss, expected)
            agree(dlogits, leaf.grad)

    @each_reduction
    def test_negative_log_likelihood_against_torch(self, torch, rng, reduction):
        log_p, labels, _, weight, _ = draw(rng)
        leaf = torch.tensor(log_p, requires_grad=True)
        expected = torch.nn.functional.nll_loss(
            leaf, torch.tensor(labels), torch.tensor(weight), ignore_index=2, reduction=reduction
        )
        expected.sum().backward()
        loss, dlog_p = reference.nll_loss(
            log_p, labels, weight=weight, ignore_index=2, reduction=reduction
        )
        agree(loss, expected)
        agree(dlog_p, leaf.grad)

    def test_by_hand(self):
        """The mean of 3, counted once, and 1, counted three times."""
        options = {"sample_weight": [0.5, 1.5]}
        loss, gradient = reference.mle_loss([[3.0, 9], [7, 1]], [0, 1], **options)
        assert loss == 1.5
        assert_array_equal(gradient, [[0.25, 0], [0, 0.75]])
        options["weight"] = [3, 1]
        loss, gradient = reference.nll_loss([[-3.0, -9], [-7, -1]], [0, 1], **options)
        assert loss == (1.5 * 3 + 1.5 * 1) / 3
        assert_array_equal(gradient, [[-0.5, 0], [0, -0.5]])

    def test_nothing(self):
        loss, gradient = reference.cross_entropy(np.zeros((1, 2)), [-100])
        assert np.isnan(loss)
        assert_array_equal(gradient, [[0, 0]])
