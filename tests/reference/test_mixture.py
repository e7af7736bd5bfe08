"""Ensembles: log of the mean probability, and its derivatives, compared with PyTorch."""

import numpy as np
from numpy.testing import assert_allclose

from lenet5c import reference


def test_it_is_pytorch_s(torch, rng):
    logits, dy = 3 * rng.standard_normal((4, 5, 6)), rng.standard_normal((5, 6))
    z = torch.tensor(logits, requires_grad=True)
    y = torch.softmax(z, dim=2).mean(dim=0).log()
    y.backward(torch.tensor(dy))
    assert_allclose(reference.ensemble(logits), y.detach().numpy(), rtol=1e-12)
    assert_allclose(reference.ensemble_backward(dy, logits), z.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_second_derivatives_are_the_squared_slopes(torch, rng):
    logits, d2y = rng.standard_normal((3, 1, 4)), rng.random((1, 4))
    slopes = torch.autograd.functional.jacobian(
        lambda z: torch.softmax(z, dim=2).mean(dim=0).log()[0], torch.tensor(logits)
    ).numpy()
    expected = (slopes**2 * d2y[0][:, None, None, None]).sum(axis=0)
    assert_allclose(reference.ensemble_backward_second(d2y, logits), expected, rtol=1e-10)


def test_the_softmax_of_it_is_the_mean(rng):
    logits = rng.standard_normal((3, 7, 5))
    mean = reference.softmax(logits).mean(axis=0)
    assert_allclose(reference.softmax(reference.ensemble(logits)), mean, rtol=1e-12)


def test_small_probabilities_do_not_become_zero():
    logits = np.array([[[0.0, -2000.0]], [[0.0, -1000.0]]])
    assert_allclose(reference.ensemble(logits)[0, 1], -1000 - np.log(2))
